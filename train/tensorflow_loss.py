"""What a training step makes smaller, as `train.loss` has it. R rows of one device in one accumulation step, T tokens of a sequence, V
vocabulary or classes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from transformer_tf import Transformer, cross_entropy
from transformer_tf.losses import disagreement


def training_loss(model: Transformer, inputs: Any, labels_RT: tf.Tensor, label_smoothing: float = 0.0, r_drop: float = 0.0) -> tf.Tensor:
    """The model's loss, a sum over targets. inputs: ids, or what the model is called with by its names.

    With R-Drop each row is read twice, in one batch, and the loss is the mean of both readings' and r_drop / 2 times their disagreement.
    """
    if not r_drop:
        return cross_entropy(model(inputs, training=True), labels_RT, label_smoothing)
    first_RTV, second_RTV = tf.split(model(tf.nest.map_structure(lambda values: tf.concat([values, values], 0), inputs), training=True), 2)
    both = cross_entropy(first_RTV, labels_RT, label_smoothing) + cross_entropy(second_RTV, labels_RT, label_smoothing)
    return (both + r_drop * disagreement(first_RTV, second_RTV, labels_RT)) / 2.0
