"""Who may attend to whom: True where a query may see a key. B batch, H heads, T query length, S key length."""

from __future__ import annotations

import tensorflow as tf


def causal_mask(query_T: tf.Tensor, key_S: tf.Tensor, window: int | None = None) -> tf.Tensor:
    """A query sees the keys at its own position and before it. query_T, key_S: positions. Shape (1, 1, T, S).

    window: of these the last `window` (Mistral 7B, Jiang et al. 2023, 2). A negative key position stands for no key.
    """
    query_T1, key_1S = query_T[:, None], key_S[None, :]
    seen_TS = key_1S <= query_T1
    if window is not None:
        seen_TS = seen_TS & (key_1S > query_T1 - window) & (key_1S >= 0)
    # One new axis at a time: LiteRT has no two of them at once.
    return seen_TS[None][None]


def window_mask(query_T: tf.Tensor, key_S: tf.Tensor, window: int) -> tf.Tensor:
    """A query sees the keys at most window // 2 positions away, on either side (Longformer, Beltagy et al. 2020, 3.1). Shape
    (1, 1, T, S)."""
    distance_TS = query_T[:, None] - key_S[None, :]
    return (tf.abs(distance_TS) <= window // 2)[None][None]


def padding_mask(attention_mask_BS: tf.Tensor) -> tf.Tensor:
    """Keys that are tokens (1) and not padding (0). Shape (B, 1, 1, S)."""
    return tf.cast(attention_mask_BS, tf.bool)[:, None][:, None]


def additive_mask(bias_BHTS: tf.Tensor, mask_B1TS: tf.Tensor) -> tf.Tensor:
    """Numbers to be added to the scores: the bias where a query may see a key, and the least number there is where it may not."""
    return tf.where(mask_B1TS, bias_BHTS, bias_BHTS.dtype.min)
