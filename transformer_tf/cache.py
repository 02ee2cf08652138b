"""Keys and values of past tokens, in arrays of fixed size that XLA writes in place.

B batch, G key/value heads, T query length (the new tokens), S key length, N longest length, K head size,
R rows (some for each of the batch).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig
from transformer_tf.module import shape_of

KeyValue = tuple[tf.Tensor, tf.Tensor]
# The most tokens that are read at once behind a text: its last one, and guesses.
AHEAD = 32


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

    def positions(self, start: int | tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
        """Where each key that `update` gives stands in the text (S), if there are `length` new ones."""
        return tf.range(self.key_BGNK.shape[2])

    def reorder(self, order_R: tf.Tensor) -> None:
        """Put row `order_R[r]` in the place of row r."""
        self.key_BGNK = tf.gather(self.key_BGNK, order_R)
        self.value_BGNK = tf.gather(self.value_BGNK, order_R)


class RollingCache(LayerCache):
    """The last keys and values of a layer with a window: token p is in place p modulo the size N ("rolling buffer cache", Mistral 7B,
    Jiang et al. 2023, section 2).

    ahead: room beyond the window: so many tokens can be read at once before the first of them misses a key, and so many taken back.
    """

    def __init__(self, key_BGNK: tf.Tensor, value_BGNK: tf.Tensor, ahead: int) -> None:
        super().__init__(key_BGNK, value_BGNK)
        self.size = key_BGNK.shape[2]
        self.ahead = ahead

    def update(self, key_BGTK: tf.Tensor, value_BGTK: tf.Tensor, start: int | tf.Tensor) -> KeyValue:
        """Write new keys and values over the oldest ones, and give all that the new tokens may see."""
        length = shape_of(key_BGTK)[2]
        key_BGSK, value_BGSK = key_BGTK, value_BGTK
        if self.is_beside(start, length) and not is_zero(start):
            key_BGSK = tf.concat([self.key_BGNK, key_BGTK], 2)
            value_BGSK = tf.concat([self.value_BGNK, value_BGTK], 2)
        self.key_BGNK = self.write(self.key_BGNK, key_BGTK, start, length)
        self.value_BGNK = self.write(self.value_BGNK, value_BGTK, start, length)
        return (key_BGSK, value_BGSK) if self.is_beside(start, length) else (self.key_BGNK, self.value_BGNK)

    def write(self, old_BGNK: tf.Tensor, new_BGTK: tf.Tensor, start: int | tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
        if isinstance(length, int) and length == 1:
            return keras.ops.slice_update(old_BGNK, (0, 0, start % self.size, 0), new_BGTK)
        number_N = self.held(start + length) - start
        written_BGNK = tf.gather(new_BGTK, tf.maximum(number_N, 0), axis=2)
        return tf.where(number_N[:, None] >= 0, written_BGNK, old_BGNK)

    def positions(self, start: int | tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
        new_T = tf.range(length) + start
        if not self.is_beside(start, length):
            return self.held(start + length)
        return new_T if is_zero(start) else tf.concat([self.held(start), new_T], 0)

    def is_beside(self, start: int | tf.Tensor, length: int | tf.Tensor) -> bool:
        """Whether new tokens are read beside what is held, because they would write over what the first of them may see."""
        return is_zero(start) or not isinstance(length, int) or length > self.ahead

    def held(self, end: int | tf.Tensor) -> tf.Tensor:
        """The position in each place, once there are `end` tokens: the last that belongs there, negative where nothing does."""
        place_N = tf.range(self.size)
        return end - 1 - (end - 1 - place_N) % self.size


def is_zero(start: int | tf.Tensor) -> bool:
    """Whether nothing was read before, as far as is known: in a graph, something was."""
    return isinstance(start, int) and start == 0


class Cache:
    """The caches of all layers of a decoder. It holds `length` tokens, has room for `max_length`, and forgets the last where `length` is
    lowered.

    ahead: in layers with a window, how many tokens it may forget (beyond that, begin anew), and how many it reads at once without copies.
    cross: the encoder's keys and values (B, G, S, K), layer by layer, once the decoder's first call has computed them.
    """

    def __init__(self, config: ModelConfig, batch_size: int, max_length: int, dtype: tf.DType, ahead: int = AHEAD) -> None:
        self.max_length = max_length
        self.length: int | tf.Tensor = 0
        self.layers: list[LayerCache] = []
        for index in range(config.layers_of("decoder")):
            window = config.window_of(index)
            size = max_length if window is None else min(max_length, window - 1 + ahead)
            shape = (batch_size, config.num_key_value_heads, size, config.head_size)
            key_BGNK, value_BGNK = (tf.zeros(shape, dtype) for _ in range(2))
            rolls = size < max_length
            self.layers.append(RollingCache(key_BGNK, value_BGNK, ahead) if rolls else LayerCache(key_BGNK, value_BGNK))
        self.cross: list[KeyValue] = []

    def repeat(self, times: int) -> None:
        """Repeat each row `times` times; the copies follow it."""
        for layer in self.layers:
            layer.key_BGNK = tf.repeat(layer.key_BGNK, times, 0)
            layer.value_BGNK = tf.repeat(layer.value_BGNK, times, 0)
        self.cross = [(tf.repeat(key_BGSK, times, 0), tf.repeat(value_BGSK, times, 0)) for key_BGSK, value_BGSK in self.cross]

    def reorder(self, order_R: tf.Tensor, shared: int | tf.Tensor) -> None:
        """Put row `order_R[r]` in the place of row r. Rows change places only with those that have the same first `shared` tokens and the
        same encoder's keys and values: the latter are not moved, all tokens are."""
        for layer in self.layers:
            layer.reorder(order_R)

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
