"""Texts that grow token by token, and the loop that makes them grow.

B batch, R rows (a row for each text of each prompt), N longest length, T query length (of a prompt), S key length (of an encoder),
D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from transformer_torch.cache import Cache

if TYPE_CHECKING:
    from transformer_torch.model import Transformer


class Rows:
    """What the model remembers of each text.

    mask_RN: 1 for tokens and 0 for padding on the left, None without any. encoder_mask_RS: the same of an encoder's input.
    """

    def __init__(self, model: Transformer, cache: Cache, mask_RN: torch.Tensor | None, encoder_mask_RS: torch.Tensor | None) -> None:
        self.model = model
        self.cache = cache
        self.mask_RN = mask_RN
        self.pads_R1 = None if mask_RN is None else (mask_RN == 0).sum(-1, keepdim=True)
        self.encoder_mask_RS = encoder_mask_RS
        # All texts of a prompt have it in common.
        self.shared = 0

    def first(self, prompt_BT: torch.Tensor, encoded_BSD: torch.Tensor | None) -> torch.Tensor:
        """Logits (B, V) of the token that follows each prompt."""
        self.shared = prompt_BT.shape[1]
        positions_BT = None if self.mask_RN is None else (self.mask_RN[:, : self.shared].cumsum(-1) - 1).clamp(min=0)
        return self.logits(self.read(prompt_BT, positions_BT, encoded_BSD)[:, -1:])[:, 0]

    def repeat(self, times: int) -> None:
        """Several texts for each prompt, which is read once."""
        self.cache.repeat(times)
        self.mask_RN, self.pads_R1, self.encoder_mask_RS = (
            None if tensor is None else tensor.repeat_interleave(times, 0) for tensor in (self.mask_RN, self.pads_R1, self.encoder_mask_RS)
        )

    def next(self, tokens_R: torch.Tensor, order_R: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (R, V) of the token after `tokens_R`. order_R: which row each one goes on from, default its own."""
        if order_R is not None:
            self.cache.reorder(order_R, self.shared)
        return self.extend(tokens_R[:, None])[:, 0]

    def extend(self, tokens_RT: torch.Tensor) -> torch.Tensor:
        """Logits (R, T, V) of what follows each of some tokens, which come one behind the other."""
        place_T = torch.arange(tokens_RT.shape[1], device=tokens_RT.device) + self.cache.length
        positions_RT = None if self.pads_R1 is None else place_T - self.pads_R1
        return self.logits(self.read(tokens_RT, positions_RT, None))

    def read(self, ids_BT: torch.Tensor, positions_BT: torch.Tensor | None, encoded_BSD: torch.Tensor | None) -> torch.Tensor:
        return self.model.decoder(
            ids_BT, self.mask_RN, positions_BT, cache=self.cache, encoded_BSD=encoded_BSD, encoder_mask_BS=self.encoder_mask_RS
        )

    def logits(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        return self.model.head(hidden_BTD, self.model.token_table())


class Strategy(Protocol):
    """A way to choose tokens. What it knows of the texts so far is a state that it makes and changes."""

    def begin(self) -> Any:
        """The state of the bare prompts."""

    def advance(self, state: Any, logits_RV: torch.Tensor, length: int) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """The state with one more token behind `length`, and what `Rows.next` is to read."""

    def goes_on(self, state: Any, length: int) -> bool:
        """Whether a token is to follow those that were added behind `length`."""


def begin(
    model: Transformer, prompt_BT: np.ndarray, attended_BT: np.ndarray | None, room: int, pad_id: int, ahead: int
) -> tuple[Rows, torch.Tensor, torch.Tensor]:
    """Prompts that have been read: what is remembered of them, their tokens (B, N) with room for more, and the logits (B, V) of what
    follows. An encoder has read the prompts of an encoder-decoder, and the decoder its first token."""
    config, weight = model.config, next(model.parameters())
    device = weight.device
    encoded_BSD = encoder_mask_BS = None
    if model.encoder is not None:
        encoder_mask_BS = None if attended_BT is None else torch.from_numpy(attended_BT).to(device)
        encoded_BSD = model.encoder(torch.from_numpy(prompt_BT).to(device), encoder_mask_BS)
        prompt_BT, attended_BT = np.full((len(prompt_BT), 1), config.special_tokens.decoder_start), None
    batch, start = prompt_BT.shape
    mask_BN = None
    if attended_BT is not None and not attended_BT.all():
        mask_BN = torch.ones(batch, room, dtype=torch.long, device=device)
        mask_BN[:, :start] = torch.from_numpy(attended_BT)
    tokens_BN = torch.full((batch, room), pad_id, dtype=torch.long, device=device)
    tokens_BN[:, :start] = torch.from_numpy(prompt_BT)
    rows = Rows(model, Cache(config, batch, room, weight.dtype, device, ahead), mask_BN, encoder_mask_BS)
    return rows, tokens_BN, rows.first(tokens_BN[:, :start], encoded_BSD)


def decode(strategy: Strategy, rows: Rows, logits_RV: torch.Tensor) -> Iterator[tuple[Any, int]]:
    """Token after token until the strategy has enough: each time its state, and how long the texts are."""
    state, chosen = strategy.advance(strategy.begin(), logits_RV, rows.cache.length)
    yield state, rows.cache.length + 1
    while strategy.goes_on(state, rows.cache.length):
        logits_RV = rows.next(*chosen)
        state, chosen = strategy.advance(state, logits_RV, rows.cache.length)
        yield state, rows.cache.length + 1
