"""What training makes small. B batch, T length, V vocabulary."""

from __future__ import annotations

import tensorflow as tf

IGNORED = -100


def cross_entropy(logits_BTV: tf.Tensor, labels_BT: tf.Tensor) -> tf.Tensor:
    """Sum over all targets of -log softmax(logits)[label], in float32 or better; labels of -100 count for nothing. In nats.

    A sum and not a mean: who trains on several batches or processes divides by the number of targets of them all.
    """
    if logits_BTV.dtype in (tf.float16, tf.bfloat16):
        logits_BTV = tf.cast(logits_BTV, tf.float32)
    counted_BT = labels_BT != IGNORED
    losses_BT = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(counted_BT, labels_BT, 0), logits_BTV)
    return tf.reduce_sum(tf.where(counted_BT, losses_BT, 0.0))
