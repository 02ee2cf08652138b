"""The weights that a run starts from: drawn by its seed, or those of a checkpoint and, where that has none, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from configs import ModelConfig, RunConfig, UserError
from weight_mapping import Checkpoint, canonical_tensors, initial_tensors

# What a new task may bring along, and what changes no weights.
OWN = {"head", "pooler", "dropout", "initialization", "special_tokens", "max_length"}
NEW = ("head.", "pooler.")


def starting_tensors(config: RunConfig, resumed: bool = False) -> Iterator[tuple[str, np.ndarray]]:
    """Canonical names and weights. Raises UserError for a checkpoint of another model: only head and pooler may be others.

    resumed: the run has a checkpoint of its own, whose weights replace these; nothing is read.
    """
    drawn = initial_tensors(config.model, config.seed)
    if config.initial is None or resumed:
        yield from drawn
        return
    with Checkpoint(config.initial) as checkpoint:
        check_same_body(config.model, checkpoint.config, config.initial)
        found = {tensor.name: tensor.shape for tensor in canonical_tensors(checkpoint.config)}
        checkpoint.check()
        for name, array in drawn:
            yield name, checkpoint.read(name) if comes_along(config.model, checkpoint.config, found, name, array.shape) else array


def comes_along(model: ModelConfig, checkpoint: ModelConfig, found: dict[str, tuple[int, ...]], name: str, shape: tuple[int, ...]) -> bool:
    """Whether the checkpoint has a tensor that means the same: that of a classifier does not where its classes are others."""
    mine, theirs = model.head.labels, checkpoint.head.labels
    return found.get(name) == shape and not (name.startswith("head.") and mine and theirs and mine != theirs)


def check_same_body(model: ModelConfig, checkpoint: ModelConfig, where: str) -> None:
    """Raises UserError where the two differ in anything but head and pooler."""
    # Where a head's weights come along, what it makes of their logits must, too.
    of_head = ("scale", "soft_cap") if model.head.is_language_model and checkpoint.head.is_language_model else ()
    mine, theirs = (body_of(config, of_head) for config in (model, checkpoint))
    for key, value in mine.items():
        if value != theirs[key]:
            inner = [name for name in value if value[name] != theirs[key].get(name)] if isinstance(value, dict) else []
            path, found, wanted = (f"{key}.{inner[0]}", value[inner[0]], theirs[key].get(inner[0])) if inner else (key, value, theirs[key])
            raise UserError(f"initial={where} has {path}={wanted}, and the run's model has {found}; set model.{path} to the checkpoint's")
    shapes = {tensor.name: tensor.shape for tensor in canonical_tensors(checkpoint)}
    for tensor in canonical_tensors(model):
        if shapes.get(tensor.name) != tensor.shape and not tensor.name.startswith(NEW):
            found = f"has {tensor.name} of shape {list(shapes[tensor.name])}" if tensor.name in shapes else f"has no {tensor.name}"
            raise UserError(f"initial={where} {found}, and the run's model needs {list(tensor.shape)}")


def body_of(config: ModelConfig, of_head: tuple[str, ...]) -> dict[str, Any]:
    """All values but those that a new task may bring along; of the head those with these names."""
    values = config.spelled_out()
    return {key: value for key, value in values.items() if key not in OWN} | {"head": {name: values["head"][name] for name in of_head}}


def told(config: RunConfig) -> tuple[str, ...]:
    """What is to be told of it before the run, a line each. Raises UserError as `starting_tensors` does."""
    if config.initial is None:
        return ()
    with Checkpoint(config.initial) as checkpoint:
        check_same_body(config.model, checkpoint.config, config.initial)
        checkpoint.check()
        found = {tensor.name: tensor.shape for tensor in canonical_tensors(checkpoint.config)}
        drawn = [
            tensor.name
            for tensor in canonical_tensors(config.model)
            if not comes_along(config.model, checkpoint.config, found, tensor.name, tensor.shape)
        ]
    return (f"starts from {config.initial}" + (f"; drawn anew: {', '.join(drawn)}" if drawn else ""),)
