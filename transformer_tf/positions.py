"""Positions: fixed sines, rotary angles, relative biases. "Attention Is All You Need", 3.5, and what came after.

B batch, T query length, S key length, H heads, K head size, J rotary pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from configs import ModelConfig, dynamic_frequencies, relative_buckets, rotary_cosines, rotary_sines, sinusoidal_table
from configs.positions import DynamicScaling, RelativePositions
from configs.positions import RotaryPositions as Rotary
from transformer_tf.module import Module


class Table(Module):
    """One row of fixed numbers for each position. Nothing here is trained, and nothing is in a checkpoint."""

    def __init__(self, make: Callable[[], np.ndarray]) -> None:
        super().__init__()
        # A NumPy array and not a variable: it becomes a constant of whatever graph uses it.
        self.rows = make().astype(self.compute_dtype)

    def call(self, position_ids_BT: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(self.rows), position_ids_BT)


class SinusoidalPositions(Table):
    """Sines and cosines of the position ("Attention Is All You Need", 3.5), to be added to the embeddings."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(partial(sinusoidal_table, config))


class RotaryPositions(Module):
    """Cosines and sines of the angles by which each position rotates queries and keys (RoFormer, Su et al. 2021, equation 15)."""

    def __init__(self, config: ModelConfig, windowed: bool) -> None:
        super().__init__()
        self.cosines = Table(partial(rotary_cosines, config, windowed))
        self.sines = Table(partial(rotary_sines, config, windowed))

    def call(self, position_ids_BT: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cosines_B1TJ = self.cosines(position_ids_BT)[:, None]
        sines_B1TJ = self.sines(position_ids_BT)[:, None]
        return cosines_B1TJ, sines_B1TJ


class DynamicRotaryPositions(Module):
    """`RotaryPositions` with dynamic scaling: a call takes all frequencies from one row of the table, that of its largest position."""

    def __init__(self, config: ModelConfig, windowed: bool) -> None:
        super().__init__()
        self.frequencies = dynamic_frequencies(config)

    def call(self, position_ids_BT: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # In float64, whatever the model's type: float32 would round an angle of thousands too coarsely.
        frequencies_1J = tf.gather(tf.constant(self.frequencies), tf.reduce_max(position_ids_BT)[None])
        angles_B1TJ = (tf.cast(position_ids_BT[..., None], frequencies_1J.dtype) * frequencies_1J)[:, None]
        return tf.cast(tf.cos(angles_B1TJ), self.compute_dtype), tf.cast(tf.sin(angles_B1TJ), self.compute_dtype)


def rotate(heads_BHTK: tf.Tensor, rotary: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Rotate each pair of values i and i + J of a head by its angle (RoFormer, equation 34, with pairs as in Llama's files). Values beyond
    2 J stay as they are."""
    cosines_B1TJ, sines_B1TJ = rotary
    size = cosines_B1TJ.shape[-1]
    first_BHTJ, second_BHTJ, rest = tf.split(heads_BHTK, [size, size, heads_BHTK.shape[-1] - 2 * size], axis=-1)
    rotated_first_BHTJ = first_BHTJ * cosines_B1TJ - second_BHTJ * sines_B1TJ
    rotated_second_BHTJ = second_BHTJ * cosines_B1TJ + first_BHTJ * sines_B1TJ
    return tf.concat([rotated_first_BHTJ, rotated_second_BHTJ, rest], axis=-1)


def build_rotary(config: ModelConfig, windowed: bool) -> keras.layers.Layer | None:
    """The rotation of queries and keys, or None. windowed: that of layers with a sliding window."""
    positions = config.positions
    if not isinstance(positions, Rotary):
        return None
    is_scaled = not (windowed and positions.window_base)
    is_dynamic = is_scaled and isinstance(positions.scaling, DynamicScaling)
    return (DynamicRotaryPositions if is_dynamic else RotaryPositions)(config, windowed)


class RelativeBias(Module):
    """A trained number for each head and each bucket of distances, added to the scores (T5, Raffel et al. 2020, 2.1)."""

    def __init__(self, config: ModelConfig, bidirectional: bool) -> None:
        assert isinstance(config.positions, RelativePositions)
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=(config.positions.num_buckets, config.attention.num_heads))
        self.max_distance = config.positions.max_distance
        self.buckets = relative_buckets(config, bidirectional)

    def call(self, query_T: tf.Tensor, key_S: tf.Tensor) -> tf.Tensor:
        """The bias (1, H, T, S) of queries and keys at these positions."""
        distances_TS = key_S[None, :] - query_T[:, None]
        places_TS = tf.clip_by_value(distances_TS, -self.max_distance, self.max_distance) + self.max_distance
        buckets_TS = tf.gather(tf.constant(self.buckets), places_TS)
        bias_TSH = tf.gather(tf.convert_to_tensor(self.weight), buckets_TS)
        return tf.transpose(bias_TSH, (2, 0, 1))[None]
