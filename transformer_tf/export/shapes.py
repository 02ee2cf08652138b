"""The shapes of an exported model: any batch and length, or one set of them, which is what browsers and accelerators take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from configs import ModelConfig, UserError

# Of what is read where shapes are fixed and nobody has named a length.
LENGTH = 128


def static_length(config: ModelConfig, length: int | None, room: int | None) -> int:
    """The length of a fixed shape, checked. room: tokens of a prompt and its answer, of models that generate."""
    # What a decoder reads first stands in the room of what it says.
    is_read_first = room is not None and (config.architecture == "decoder" or config.inputs.kind == "audio")
    limit = room - 1 if room is not None and is_read_first else config.longest
    if limit is not None and limit < 1:
        raise UserError(f"max_length={room} leaves no room for a prompt and an answer; make it larger")
    if length is None and config.inputs.kind == "audio":
        raise UserError("length is missing: how many tokens the decoder is told first, 4 for most models of speech, or 2")
    if length is None:
        length = room // 2 if room is not None and is_read_first else min(LENGTH, limit or LENGTH)
    if not 1 <= length <= (limit or length):
        most = "or more" if limit is None else f"to {limit}"
        raise UserError(f"length={length} does not fit: expected 1 {most}, so that the model can read it and answer")
    return length


def concrete(run: Callable[..., Any], specs: dict[str, tf.TensorSpec], batch_size: int, length: int | None) -> Any:
    """A graph for the shapes of `specs`, or for one set of shapes with integers of 32 bits."""
    if length is None:
        return tf.function(run, autograph=False).get_concrete_function(**specs)

    def narrow(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        found = run(**{name: tf.cast(value, specs[name].dtype) for name, value in inputs.items()})
        return {name: tf.cast(value, tf.int32) if value.dtype.is_integer else value for name, value in found.items()}

    fixed = {
        name: tf.TensorSpec(filled(spec.shape, batch_size, length), tf.int32 if spec.dtype.is_integer else spec.dtype, name)
        for name, spec in specs.items()
    }
    return tf.function(narrow, autograph=False).get_concrete_function(**fixed)


def filled(shape: tf.TensorShape, batch_size: int, length: int) -> list[int]:
    """A shape with numbers where it has none."""
    return [size or given for size, given in zip(shape, (batch_size, length), strict=False)] + list(shape[2:])
