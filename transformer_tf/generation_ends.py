"""Which texts are over. A states of the automaton, V vocabulary, R rows."""

from __future__ import annotations

import tensorflow as tf


class Ends:
    """`configs.stopping.Stops` as tensors.

    table_AV: the state that each token leads to; the last state is the end, which nothing leaves. state_R: that of each prompt.
    """

    def __init__(self, table_AV: tf.Tensor, state_R: tf.Tensor) -> None:
        self.table_AV = table_AV
        self.state_R = state_R

    def after(self, state: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """The states of texts with one more token each; of the tokens' shape."""
        return tf.gather_nd(self.table_AV, tf.stack([tf.cast(state, tf.int64), tf.cast(tokens, tf.int64)], -1))

    def has_come(self, state: tf.Tensor) -> tf.Tensor:
        """Whether texts are over; of the states' shape."""
        return state == self.table_AV.shape[0] - 1
