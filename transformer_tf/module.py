"""What PyTorch has as `nn.Module`, on top of a Keras layer. PyTorch has no such file."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from configs import UserError

# Keras writes a page around what is raised inside a layer, unless it bears this mark; a user's mistake gets one line.
UserError._keras_call_info_injected = True  # type: ignore[attr-defined]


class Module(keras.layers.Layer):
    """A Keras layer that makes its weights in its constructor, so that there is nothing left to build at the first call."""

    def add_weight(self, *arguments: Any, **settings: Any) -> keras.Variable:
        """A weight whose numbers are not set: they come from a checkpoint or from a seed, all at once."""
        return super().add_weight(*arguments, **{"initializer": unset, **settings})

    def build(self, *shapes: Any, **more_shapes: Any) -> None:
        self.built = True


def unset(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
    """Memory that nobody has touched yet."""
    return tf.raw_ops.Empty(shape=shape, dtype=dtype)


def shape_of(tensor: tf.Tensor) -> list[int | tf.Tensor]:
    """The shape, as numbers where a graph knows them and as tensors where it does not."""
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if length is None else length for axis, length in enumerate(tensor.shape)]
