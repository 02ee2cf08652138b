"""Who may attend to whom: True where a query may see a key. B batch, T query length, S key length."""

from __future__ import annotations

import tensorflow as tf


def causal_mask(query_length: int | tf.Tensor, key_length: int | tf.Tensor, start: int | tf.Tensor) -> tf.Tensor:
    """Key s is seen by query t where s <= start + t; `start` tokens came before the first query. Shape (1, 1, T, S)."""
    query_T1 = tf.range(query_length)[:, None] + start
    key_1S = tf.range(key_length)[None, :]
    return (key_1S <= query_T1)[None, None]


def padding_mask(attention_mask_BS: tf.Tensor) -> tf.Tensor:
    """Keys that are tokens (1) and not padding (0). Shape (B, 1, 1, S)."""
    return tf.cast(attention_mask_BS, tf.bool)[:, None, None, :]
