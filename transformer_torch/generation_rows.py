"""Texts that grow token by token, and the loop that makes them grow.

B batch, R rows (a row for each text of each prompt), N longest length, T query length (of a prompt), S key length (of an encoder),
D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch

from configs import Prompts
from transformer_torch.cache import Cache
from transformer_torch.cuda_graphs import StepMemory, are_recorded

if TYPE_CHECKING:
    from transformer_torch.model import Transformer


# A program is compiled for an amount of room: it grows in steps.
BUCKET = 64


class Rows:
    """Texts that a model has read, one for each row: its cache of them, and which of their tokens are padding.

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
        # On a GPU, where recorded steps find these texts.
        self.memory: StepMemory | None = None

    def first(self, prompt_BT: torch.Tensor, encoded_BSD: torch.Tensor | None) -> torch.Tensor:
        """Logits (B, V) of the token that follows each prompt."""
        self.shared = prompt_BT.shape[1]
        positions_BT = None if self.mask_RN is None else (self.mask_RN[:, : self.shared].cumsum(-1) - 1).clamp(min=0)
        return self.logits(self.read(prompt_BT, positions_BT, encoded_BSD)[:, -1:])[:, 0]

    def repeat(self, times: int) -> None:
        """Make `times` rows of each, so that a prompt of several texts is read once."""
        if times == 1:
            return
        self.cache.repeat(times)
        self.mask_RN, self.pads_R1, self.encoder_mask_RS = (
            None if tensor is None else tensor.repeat_interleave(times, 0) for tensor in (self.mask_RN, self.pads_R1, self.encoder_mask_RS)
        )

    def next(self, tokens_R: torch.Tensor, order_R: torch.Tensor | None = None) -> torch.Tensor:
        """Read one more token of each row: logits (R, V) of the token after it. order_R: which row each row continues, default itself."""
        if order_R is not None:
            self.cache.reorder(order_R, self.shared)
        return self.extend(tokens_R[:, None])[:, 0]

    def extend(self, tokens_RT: torch.Tensor) -> torch.Tensor:
        """Read T more tokens of each row: logits (R, T, V) of the token after each of them."""
        if self.model.compiled_continue is None:
            return self.continue_with(tokens_RT)
        if are_recorded(self):
            return self.place().run(tokens_RT)
        start, count = self.cache.length, tokens_RT.shape[1]
        read_S = None
        # Another number is a reason to compile anew, another size of a tensor is none, nor another number in one.
        if self.cache.grows:
            read_S = torch.empty(start + count)
            torch._dynamo.maybe_mark_dynamic(read_S, 0)
        else:
            self.cache.length = torch.full((), start, device=tokens_RT.device)
        logits_RTV: torch.Tensor = self.model.compiled_continue(self, tokens_RT, read_S)
        self.cache.length = start + count
        return logits_RTV

    def place(self) -> StepMemory:
        """The memory in which steps are recorded, with these texts in it from now on."""
        self.memory = self.memory or self.model.step_memories.place(self)
        return self.memory

    def continue_with(self, tokens_RT: torch.Tensor, read_S: torch.Tensor | None = None) -> torch.Tensor:
        """`extend` as it is written, which `Transformer.compile` compiles. read_S: as long as the texts are then, in place of
        `cache.length`."""
        if read_S is not None:
            self.cache.length = len(read_S) - tokens_RT.shape[1]
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
    """A way to choose tokens: greedy, by sampling or by beams. `begin` makes its state, and `advance` takes one state to the next."""

    def begin(self) -> Any:
        """The state in which there are only prompts."""

    def advance(self, state: Any, logits_RV: torch.Tensor, length: int) -> tuple[Any, tuple[torch.Tensor, ...]]:
        """Choose the token behind the first `length`: the state with it, and the arguments for `Rows.next`."""

    def goes_on(self, state: Any, length: int) -> bool:
        """Whether another token is to follow the one behind the first `length`."""


def begin(model: Transformer, prompts: Prompts, room: int, pad_id: int, ahead: int) -> tuple[Rows, torch.Tensor, torch.Tensor]:
    """Read the prompts: the rows, their tokens (B, N) with room for more, and the logits (B, V) of what follows."""
    config, weight = model.config, next(model.parameters())
    device, held = weight.device, room if model.compiled_continue is None else rounded_up(room, BUCKET)
    (batch, start), attended_BS = prompts.prompt_BT.shape, prompts.attended_BS
    mask_BN = encoded_BSD = encoder_mask_BS = None
    if prompts.source is not None:
        encoder_mask_BS = None if attended_BS is None else torch.from_numpy(attended_BS).to(device)
        encoded_BSD = model.encoder(torch.from_numpy(prompts.source).to(device), encoder_mask_BS)
    elif attended_BS is not None and not attended_BS.all():
        mask_BN = torch.ones(batch, held, dtype=torch.long, device=device)
        mask_BN[:, :start] = torch.from_numpy(attended_BS)
    tokens_BN = torch.full((batch, room), pad_id, dtype=torch.long, device=device)
    tokens_BN[:, :start] = torch.from_numpy(prompts.prompt_BT)
    rows = Rows(model, Cache(config, batch, held, weight.dtype, device, ahead), mask_BN, encoder_mask_BS)
    return rows, tokens_BN, rows.first(tokens_BN[:, :start], encoded_BSD)


def rounded_up(length: int, step: int) -> int:
    """Room for so many tokens."""
    return -(-length // step) * step


def decode(strategy: Strategy, rows: Rows, logits_RV: torch.Tensor) -> Iterator[tuple[Any, int]]:
    """Token after token until the strategy has enough: each time its state, and how long the texts are."""
    state, chosen = strategy.advance(strategy.begin(), logits_RV, rows.cache.length)
    yield state, rows.cache.length + 1
    while strategy.goes_on(state, rows.cache.length):
        logits_RV = rows.next(*chosen)
        state, chosen = strategy.advance(state, logits_RV, rows.cache.length)
        yield state, rows.cache.length + 1
