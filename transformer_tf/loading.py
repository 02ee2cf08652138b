"""Models from checkpoints and back."""

from __future__ import annotations

import os
from typing import Literal

from configs import UserError
from transformer_tf.model import Transformer
from transformer_tf.weights import assign, reader
from weight_mapping import Checkpoint
from weight_mapping import save as save_checkpoint

DTYPES = ("float64", "float32", "bfloat16", "float16")


def load(source: str | os.PathLike[str], dtype: str = "float32", attention: str = "plain", architecture: str | None = None) -> Transformer:
    """A model with its weights, ready to infer: from a Hugging Face folder, a run of this project, or a hub name.

    dtype: the type of weights and arithmetic, whatever the file holds. architecture: the Hugging Face class whose head is wanted, such
    as BertModel, default the one that config.json names. Raises UserError where the checkpoint and the model do not
    fit tensor for tensor. What the folder's generation_config.json says, or an old config.json, stays with the model.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype!r} is not known; choose one of: {', '.join(DTYPES)}")
    with Checkpoint(source, architecture) as checkpoint:
        model = Transformer(checkpoint.config, seed=None, attention=attention, dtype=dtype)
        assign(model, checkpoint.tensors())
        model.generation_config = checkpoint.generation_config
    return model


def save(model: Transformer, destination: str | os.PathLike[str], to: Literal["run", "hf"] = "run") -> None:
    """Write a model into a new folder, in this project's form or Hugging Face's. The folder appears whole or not at all."""
    save_checkpoint(destination, model.config, reader(model), to, dtype=model.variable_dtype, generation_config=model.generation_config)
