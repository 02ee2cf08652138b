"""Which texts are over. S states of a text, V vocabulary, R rows."""

from __future__ import annotations

import tensorflow as tf


class Ends:
    """`configs.stopping.Stops` as tensors.

    table_SV: the state that each token leads to; the last state is the end, which nothing leaves. state_R: that of each prompt.
    """

    def __init__(self, table_SV: tf.Tensor, state_R: tf.Tensor) -> None:
        self.table_SV = table_SV
        self.state_R = state_R

    def after(self, state: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """The states of texts with one more token each; of the tokens' shape."""
        return tf.gather_nd(self.table_SV, tf.stack([tf.cast(state, tf.int64), tf.cast(tokens, tf.int64)], -1))

    def has_come(self, state: tf.Tensor) -> tf.Tensor:
        """Whether texts are over; of the states' shape."""
        return state == self.table_SV.shape[0] - 1
