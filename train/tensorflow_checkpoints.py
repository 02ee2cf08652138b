"""Checkpoints of a TensorFlow run, in the same files as `train.checkpoints`: canonical names and layouts, safetensors and JSON only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from configs import UserError, dump
from train.run_folder import saved
from train.saved import MODEL, OPTIMIZER, RANDOM, STATE, check_conditions
from transformer_tf import Transformer
from transformer_tf.optimizer import AdamW
from transformer_tf.weights import assign, from_canonical, named_weights, reader, to_canonical
from weight_mapping import canonical_tensors, whole_folder, write_json
from weight_mapping.checkpoint import MODEL as DESCRIPTION


def save(folder: Path, model: Transformer, optimizer: AdamW, state: dict[str, Any]) -> None:
    """Write step_N as a whole folder. state: the fields of `train.checkpoints.Progress`, where processes are devices."""
    weight, kinds = reader(model), _kinds(model)
    with whole_folder(folder / f"step_{state['step']}", overwrite=True) as path:
        save_file({name: np.ascontiguousarray(weight(name)) for name in named_weights(model)}, str(path / MODEL))
        moments = {
            f"{name}.{key}": np.ascontiguousarray(to_canonical(keras.ops.convert_to_numpy(moment), kinds[name]))
            for name, key, moment in _moments(model, optimizer)
        }
        steps = {f"{name}.step": np.array(keras.ops.convert_to_numpy(optimizer.iterations), np.float32) for name in named_weights(model)}
        save_file(moments | steps, str(path / OPTIMIZER))
        save_file({name: keras.ops.convert_to_numpy(seed) for name, seed in _seeds(model).items()}, str(path / RANDOM))
        # With it beside the weights, a checkpoint is a folder that `load` reads.
        dump(model.config, path / DESCRIPTION)
        write_json(path / STATE, state)


def load(folder: Path, model: Transformer, optimizer: AdamW, conditions: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Go back to the last checkpoint. How far it is (step, tokens, seconds, first_loss; nothing where there is none), and how many devices
    shared a step, 0 where that is not known.

    Raises UserError where the run goes on under other conditions than it was saved under, or where a file is damaged.
    """
    if not (checkpoints := saved(folder)):
        return {}, 0
    path = checkpoints[-1]
    state = check_conditions(path, conditions)
    try:
        weights, moments, seeds = (load_file(path / name) for name in (MODEL, OPTIMIZER, RANDOM))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it to go on from the checkpoint before") from None
    assign(model, weights.items())
    kinds = _kinds(model)
    for name, key, moment in _moments(model, optimizer):
        moment.assign(tf.cast(from_canonical(moments[f"{name}.{key}"], kinds[name]), moment.dtype))
    optimizer.iterations.assign(state["step"])
    for name, seed in _seeds(model).items():
        seed.assign(seeds[name])
    return {name: state.get(name) for name in ("step", "tokens", "seconds", "first_loss")}, state["processes"]


def _moments(model: Transformer, optimizer: AdamW) -> list[tuple[str, str, keras.Variable]]:
    """AdamW's moving means, each with its weight's canonical name and the name that PyTorch gives it."""
    places = {id(variable): place for place, variable in enumerate(model.trainable_variables)}
    found = []
    for name, variable in named_weights(model).items():
        place = places[id(variable)]
        found += [(name, "exp_avg", optimizer.means[place]), (name, "exp_avg_sq", optimizer.squares[place])]
    return found


def _seeds(model: Transformer) -> dict[str, keras.Variable]:
    """What Keras's dropout draws from, in the order in which the model was made."""
    return {f"seed.{place}": variable for place, variable in enumerate(model.non_trainable_variables)}


def _kinds(model: Transformer) -> dict[str, str]:
    return {tensor.name: tensor.kind for tensor in canonical_tensors(model.config)}
