"""The two parts with large weights. B batch, T query length, I inputs, O outputs, V vocabulary, D model width."""

from __future__ import annotations

import tensorflow as tf

from transformer_tf.module import Module


class Linear(Module):
    """y = x W + b. `weight` has shape (inputs, outputs): the transpose of PyTorch's."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=(inputs, outputs), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(outputs,), initializer="zeros") if bias else None

    def call(self, hidden_BTI: tf.Tensor) -> tf.Tensor:
        hidden_BTO = tf.tensordot(hidden_BTI, self.weight, 1)
        return hidden_BTO if self.bias is None else hidden_BTO + self.bias


class Embedding(Module):
    """One vector for each id. `weight` has shape (ids, width)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=(size, width), initializer="zeros")

    def call(self, ids_BT: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.convert_to_tensor(self.weight), ids_BT)
