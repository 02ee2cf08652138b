"""The losses of training: cross-entropy, and how much two readings disagree.

B batch, T query length, V vocabulary.
"""

from __future__ import annotations

import tensorflow as tf

from configs.inputs import check_labels

IGNORED = -100


def cross_entropy(logits_BTV: tf.Tensor, labels_BT: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Sum over all targets of -log softmax(logits)[label], in float32 or better; labels of -100 count for nothing. In nats.

    label_smoothing: this share of each target is spread over the whole vocabulary (Szegedy et al. 2016, 7; "Attention Is All You Need",
    5.4). A sum and not a mean: who trains on several batches or processes divides by the number of targets of them all.
    Raises UserError where the labels have another shape than the logits' first axes.
    """
    check_labels(logits_BTV, labels_BT)
    if logits_BTV.dtype in (tf.float16, tf.bfloat16):
        logits_BTV = tf.cast(logits_BTV, tf.float32)
    counted_BT = labels_BT != IGNORED
    losses_BT = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(counted_BT, labels_BT, 0), logits_BTV)
    if label_smoothing:
        spread_BT = -tf.reduce_mean(tf.nn.log_softmax(logits_BTV), -1)
        losses_BT = (1.0 - label_smoothing) * losses_BT + label_smoothing * spread_BT
    return tf.reduce_sum(tf.where(counted_BT, losses_BT, 0.0))


def disagreement(first_BTV: tf.Tensor, second_BTV: tf.Tensor, labels_BT: tf.Tensor) -> tf.Tensor:
    """Sum over all targets of the mean of KL(p || q) and KL(q || p), p and q being the softmax of two readings' logits (R-Drop, Liang et
    al. 2021, 2.1), in float32 or better; labels of -100 count for nothing. In nats."""
    wide = tf.float64 if first_BTV.dtype == tf.float64 else tf.float32
    first_BTV, second_BTV = (tf.nn.log_softmax(tf.cast(logits_BTV, wide)) for logits_BTV in (first_BTV, second_BTV))
    both_BT = tf.reduce_sum((tf.exp(first_BTV) - tf.exp(second_BTV)) * (first_BTV - second_BTV), -1)
    return tf.reduce_sum(tf.where(labels_BT != IGNORED, both_BT, 0.0)) / 2.0
