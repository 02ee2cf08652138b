"""Texts that grow token by token, and the loop that makes them grow.

B batch, R rows (a row for each text of each prompt), N longest length, T prompt length, S encoder length, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf

from transformer_tf.cache import Cache

if TYPE_CHECKING:
    from transformer_tf.model import Transformer


class Rows:
    """What the model remembers of each text.

    mask_RN: 1 for tokens and 0 for padding on the left, None without any. encoder_mask_RS: the same of an encoder's input.
    """

    def __init__(self, model: Transformer, cache: Cache, mask_RN: tf.Tensor | None, encoder_mask_RS: tf.Tensor | None) -> None:
        self.model = model
        self.cache = cache
        self.mask_RN = mask_RN
        self.pads_R1 = None if mask_RN is None else tf.reduce_sum(1 - mask_RN, -1, keepdims=True)
        self.encoder_mask_RS = encoder_mask_RS
        # All texts of a prompt have it in common.
        self.shared = 0

    def first(self, prompt_BT: tf.Tensor, encoded_BSD: tf.Tensor | None) -> tf.Tensor:
        """Logits (B, V) of the token that follows each prompt."""
        positions_BT = None if self.mask_RN is None else tf.maximum(tf.cumsum(self.mask_RN[:, : prompt_BT.shape[1]], -1) - 1, 0)
        self.shared = prompt_BT.shape[1]
        return self.read(prompt_BT, positions_BT, encoded_BSD)

    def repeat(self, times: int) -> None:
        """Several texts for each prompt, which is read once."""
        self.cache.repeat(times)
        self.mask_RN, self.pads_R1, self.encoder_mask_RS = (
            None if tensor is None else tf.repeat(tensor, times, 0) for tensor in (self.mask_RN, self.pads_R1, self.encoder_mask_RS)
        )

    def next(self, tokens_R: tf.Tensor, order_R: tf.Tensor | None = None) -> tf.Tensor:
        """Logits (R, V) of the token after `tokens_R`. order_R: which row each one goes on from, default its own."""
        if order_R is not None:
            self.cache.reorder(order_R, self.shared)
        positions_R1 = None if self.pads_R1 is None else tf.cast(self.cache.length, self.pads_R1.dtype) - self.pads_R1
        return self.read(tokens_R[:, None], positions_R1, None)

    def read(self, ids_BT: tf.Tensor, positions_BT: tf.Tensor | None, encoded_BSD: tf.Tensor | None) -> tf.Tensor:
        hidden_BTD = self.model.decoder(
            ids_BT, self.mask_RN, positions_BT, cache=self.cache, encoded_BSD=encoded_BSD, encoder_mask_BS=self.encoder_mask_RS
        )
        return self.model.head(hidden_BTD[:, -1:], self.model.token_table())[:, 0]


class Strategy(Protocol):
    """A way to choose tokens. What it knows of the texts so far is a state that it makes and changes."""

    def begin(self) -> Any:
        """The state of the bare prompts."""

    def advance(self, state: Any, logits_RV: tf.Tensor, length: int | tf.Tensor) -> tuple[Any, tuple[tf.Tensor, ...]]:
        """The state with one more token behind `length`, and what `Rows.next` is to read."""

    def goes_on(self, state: Any, length: int | tf.Tensor) -> bool | tf.Tensor:
        """Whether a token is to follow those that were added behind `length`."""


def decode(strategy: Strategy, rows: Rows, logits_RV: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """Token after token until the strategy has enough: its last state, and how long the texts are. In a graph, a loop of the graph's."""
    start = tf.convert_to_tensor(rows.cache.length)
    state, chosen = strategy.advance(strategy.begin(), logits_RV, start)

    def goes_on(state: Any, chosen: Any, length: tf.Tensor, tensors: list[tf.Tensor]) -> tf.Tensor:
        return strategy.goes_on(state, length)

    def advance(state: Any, chosen: Any, length: tf.Tensor, tensors: list[tf.Tensor]) -> tuple[Any, ...]:
        rows.cache.length = length
        rows.cache.set_tensors(tensors)
        logits_RV = rows.next(*chosen)
        state, chosen = strategy.advance(state, logits_RV, rows.cache.length)
        return state, chosen, rows.cache.length, rows.cache.tensors()

    state, _, length, _ = tf.while_loop(goes_on, advance, (state, chosen, start, rows.cache.tensors()))
    return state, length + 1
