"""Who may attend to whom: True where a query may see a key. B batch, H heads, T query length, S key length."""

from __future__ import annotations

import tensorflow as tf


def causal_mask(query_length: int | tf.Tensor, key_length: int | tf.Tensor, start: int | tf.Tensor, window: int | None = None) -> tf.Tensor:
    """Key s is seen by query t where s <= start + t; `start` tokens came before the first query. Shape (1, 1, T, S).

    window: and where s > start + t - window (Longformer, Beltagy et al. 2020, 3.1): a token sees itself and the window - 1 before it.
    """
    query_T1 = tf.range(query_length)[:, None] + start
    key_1S = tf.range(key_length)[None, :]
    seen_TS = key_1S <= query_T1
    if window is not None:
        seen_TS = seen_TS & (key_1S > query_T1 - window)
    return seen_TS[None, None]


def window_mask(length: int | tf.Tensor, window: int) -> tf.Tensor:
    """Each token sees the window // 2 tokens on either side (Longformer, 3.1). Shape (1, 1, T, T)."""
    distance_TS = tf.range(length)[:, None] - tf.range(length)[None, :]
    return (tf.abs(distance_TS) <= window // 2)[None, None]


def padding_mask(attention_mask_BS: tf.Tensor) -> tf.Tensor:
    """Keys that are tokens (1) and not padding (0). Shape (B, 1, 1, S)."""
    return tf.cast(attention_mask_BS, tf.bool)[:, None, None, :]


def additive_mask(bias_BHTS: tf.Tensor, mask_B1TS: tf.Tensor) -> tf.Tensor:
    """Numbers to be added to the scores: the bias where a query may see a key, and the least number there is where it may not."""
    return tf.where(mask_B1TS, bias_BHTS, bias_BHTS.dtype.min)
