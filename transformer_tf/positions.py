"""Positions inside attention: rotary. B batch, T query length, H heads, K head size, N longest length, R rotary pairs."""

from __future__ import annotations

import tensorflow as tf

from configs import ModelConfig, rotary_tables
from transformer_tf.module import Module


class RotaryPositions(Module):
    """Cosines and sines by position (RoFormer, Su et al. 2021). Nothing here is trained."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        cosines_NR, sines_NR = rotary_tables(config)
        # NumPy arrays and not variables: they become constants of whatever graph uses them.
        self.cosines_NR = cosines_NR.astype(self.variable_dtype)
        self.sines_NR = sines_NR.astype(self.variable_dtype)

    def call(self, position_ids_BT: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cosines_B1TR = tf.gather(tf.constant(self.cosines_NR), position_ids_BT)[:, None]
        sines_B1TR = tf.gather(tf.constant(self.sines_NR), position_ids_BT)[:, None]
        return cosines_B1TR, sines_B1TR


def rotate(heads_BHTK: tf.Tensor, rotary: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Turn value i of each head together with value i + R (RoFormer, equation 34, in the order of Llama's files)."""
    cosines_B1TR, sines_B1TR = rotary
    size = cosines_B1TR.shape[-1]
    first_BHTR, second_BHTR, rest = tf.split(heads_BHTK, [size, size, heads_BHTK.shape[-1] - 2 * size], axis=-1)
    turned_first_BHTR = first_BHTR * cosines_B1TR - second_BHTR * sines_B1TR
    turned_second_BHTR = second_BHTR * cosines_B1TR + first_BHTR * sines_B1TR
    return tf.concat([turned_first_BHTR, turned_second_BHTR, rest], axis=-1)
