"""Keys and values of past tokens, in arrays of fixed size that XLA writes in place.

B batch, G key/value heads, T new tokens, E encoder length, N longest length, K head size, R rows (some for each of the batch).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig

KeyValue = tuple[tf.Tensor, tf.Tensor]


class LayerCache:
    """The keys and values of one layer."""

    def __init__(self, key_BGNK: tf.Tensor, value_BGNK: tf.Tensor) -> None:
        self.key_BGNK = key_BGNK
        self.value_BGNK = value_BGNK

    def update(self, key_BGTK: tf.Tensor, value_BGTK: tf.Tensor, start: int | tf.Tensor) -> KeyValue:
        """Write new keys and values behind the `start` old ones, and give all there is room for: a graph's shapes are fixed."""
        self.key_BGNK = keras.ops.slice_update(self.key_BGNK, (0, 0, start, 0), key_BGTK)
        self.value_BGNK = keras.ops.slice_update(self.value_BGNK, (0, 0, start, 0), value_BGTK)
        return self.key_BGNK, self.value_BGNK


class Cache:
    """The caches of all layers of a decoder. `length` tokens are in it; `max_length` fit.

    cross: the encoder's keys and values (B, G, E, K), layer by layer, once the first token has asked for them.
    """

    def __init__(self, config: ModelConfig, batch_size: int, max_length: int, dtype: tf.DType) -> None:
        shape = (batch_size, config.num_key_value_heads, max_length, config.head_size)
        self.max_length = max_length
        self.length: int | tf.Tensor = 0
        self.layers = [LayerCache(tf.zeros(shape, dtype), tf.zeros(shape, dtype)) for _ in range(config.layers_of("decoder"))]
        self.cross: list[KeyValue] = []

    def repeat(self, times: int) -> None:
        """Several rows for each one, one behind the other."""
        for layer in self.layers:
            layer.key_BGNK = tf.repeat(layer.key_BGNK, times, 0)
            layer.value_BGNK = tf.repeat(layer.value_BGNK, times, 0)
        self.cross = [(tf.repeat(key_BGEK, times, 0), tf.repeat(value_BGEK, times, 0)) for key_BGEK, value_BGEK in self.cross]

    def reorder(self, order_R: tf.Tensor, shared: int | tf.Tensor) -> None:
        """Row `order_R[r]` in the place of row r. Rows change places only with those that have the same first `shared` tokens and the
        same encoder's keys and values: the latter are not moved."""
        for layer in self.layers:
            layer.key_BGNK = tf.gather(layer.key_BGNK, order_R)
            layer.value_BGNK = tf.gather(layer.value_BGNK, order_R)

    def tensors(self) -> list[tf.Tensor]:
        """All keys and values in a flat list, as a graph takes and gives them."""
        own = [tensor for layer in self.layers for tensor in (layer.key_BGNK, layer.value_BGNK)]
        return own + [tensor for key_value in self.cross for tensor in key_value]

    def set_tensors(self, tensors: list[tf.Tensor]) -> None:
        """The inverse of `tensors`."""
        pairs = list(zip(tensors[::2], tensors[1::2], strict=True))
        self.cross = pairs[len(self.layers) :]
        for layer, (key_BGNK, value_BGNK) in zip(self.layers, pairs, strict=False):
            layer.key_BGNK, layer.value_BGNK = key_BGNK, value_BGNK
