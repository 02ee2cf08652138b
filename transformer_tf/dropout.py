"""Dropout ("Attention Is All You Need", 5.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import keras
import tensorflow as tf


class Dropout(keras.layers.Dropout):
    """In training a value becomes 0 with probability p, else x / (1 - p); otherwise it stays as it is (Srivastava et al. 2014, 10)."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not Seeds.fixed or not training or not self.rate:
            return super().call(inputs, training)
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, Seeds.fixed[-1].next())


class Seeds:
    """Seeds that follow from a first one: the same first seed drops the same values.

    fixed: those in use, the innermost last; none where every layer draws its own.
    """

    fixed: ClassVar[list[Seeds]] = []

    def __init__(self, first: Any) -> None:
        self.first = tf.cast(first, tf.int32)
        self.count = 0

    def next(self) -> tf.Tensor:
        self.count += 1
        return self.first + tf.constant([self.count, 0])


@contextmanager
def fixed_seeds(first: Any) -> Iterator[None]:
    """Inside the block, `first` (2 integers) alone decides what is dropped: a layer that is computed again drops the same values."""
    Seeds.fixed.append(Seeds(first))
    try:
        yield
    finally:
        Seeds.fixed.pop()
