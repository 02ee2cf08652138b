"""One text for each row, on a GPU: the next step begins before the host knows whether the last one was the end. TensorFlow has no such
file: XLA runs the whole loop.

R rows, N longest length, V vocabulary, A states of the automaton.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from transformer_torch.cuda_graphs import KEPT, StepMemory
from transformer_torch.generation_ends import Ends
from transformer_torch.generation_rows import Rows
from transformer_torch.generation_search import Search, Texts

# A GPU has one block of threads for each row of an `argmax`: from this size on two steps are faster, the first in so many parts.
LARGE, PARTS = 2**16, 128


def decode_ahead(strategy: Search, rows: Rows, logits_RV: torch.Tensor) -> Iterator[tuple[Texts, int]]:
    """As `generation_rows.decode`, but a GPU has its next step to do while the host asks whether the last one was the end: one step may
    come to nothing, and writes behind what counts."""
    texts, (next_R,) = strategy.advance(strategy.begin(), logits_RV, rows.cache.length)
    yield texts, rows.cache.length + 1
    if rows.cache.length + 1 == strategy.processors.limit:
        return
    steps = (RecordedSteps if logits_decide(strategy, rows.cache.length) else Steps)(strategy, rows, texts, next_R)
    while rows.cache.length + 1 < strategy.processors.limit:
        is_over = Answer(steps.is_over)
        texts = steps.take()
        if is_over:
            return
        yield texts, rows.cache.length + 1


def logits_decide(strategy: Search, length: int) -> bool:
    """Whether a search is greedy, and chooses by logits alone behind the first `length` tokens."""
    is_asked_for_more = strategy.generation.do_sample or strategy.return_scores or strategy.generation.changes_scores
    return not is_asked_for_more and length + 1 >= strategy.processors.min_length


class Steps:
    """Steps of a search, one by one. next_R: the tokens that are to be read.

    is_over: whether all texts are over, as a tensor ().
    """

    def __init__(self, strategy: Search, rows: Rows, texts: Texts, next_R: torch.Tensor) -> None:
        self.strategy, self.rows, self.texts, self.next_R = strategy, rows, texts, next_R

    @property
    def is_over(self) -> torch.Tensor:
        return self.strategy.ends.has_come(self.texts.state_R).all()

    def take(self) -> Texts:
        logits_RV = self.rows.next(self.next_R)
        self.texts, (self.next_R,) = self.strategy.advance(self.texts, logits_RV, self.rows.cache.length)
        return self.texts


class RecordedSteps:
    """`Steps` that are recorded whole, with the choice of the token that follows."""

    def __init__(self, strategy: Search, rows: Rows, texts: Texts, next_R: torch.Tensor) -> None:
        self.rows, self.texts = rows, texts
        memory, length = rows.place(), rows.cache.length
        self.step = recorded_step(memory, strategy, length)
        self.step.begin(strategy.ends.table_AV, texts.state_R, next_R, length)
        rows.cache.length = length
        self.is_over = self.step.is_over

    def take(self) -> Texts:
        length = self.rows.cache.length + 1
        self.step.again()
        self.rows.cache.length = length
        self.texts.tokens_RN[:, length] = self.step.token_R1[:, 0]
        return self.texts


class GreedyStep:
    """A step of a greedy search, recorded in a memory: it reads a token of each row, and puts the best of those that may follow in its
    place.

    token_R1: these tokens. is_over: whether all texts are over, ().
    """

    def __init__(self, memory: StepMemory, strategy: Search, length: int) -> None:
        self.length = memory.length
        self.pad_id = strategy.generation.pad_token_id
        self.ends = Ends(strategy.ends.table_AV.clone(), strategy.ends.state_R.clone())
        self.token_R1 = torch.zeros_like(strategy.tokens_RN[:, :1])
        self.is_over = torch.zeros((), dtype=torch.bool, device=memory.device)
        self.length.fill_(length)
        self.again, _ = memory.record(lambda: self.step(memory), memory.device)

    def step(self, memory: StepMemory) -> torch.Tensor:
        best_R = best_token(memory.step(self.token_R1)[:, 0])
        next_R = torch.where(self.ends.has_come(self.ends.state_R), self.pad_id, best_R)
        self.token_R1.copy_(next_R[:, None])
        self.ends.state_R.copy_(self.ends.after(self.ends.state_R, next_R))
        self.is_over.copy_(self.ends.has_come(self.ends.state_R).all())
        self.length.add_(1)
        return self.is_over

    def begin(self, table_AV: torch.Tensor, state_R: torch.Tensor, token_R: torch.Tensor, length: int) -> None:
        """Take texts over."""
        for place, tensor in ((self.ends.table_AV, table_AV), (self.ends.state_R, state_R), (self.token_R1, token_R[:, None])):
            place.copy_(tensor)
        self.is_over.copy_(self.ends.has_come(state_R).all())
        self.length.fill_(length)


def recorded_step(memory: StepMemory, strategy: Search, length: int) -> GreedyStep:
    """The step that was recorded for such texts, or is now."""
    key = strategy.ends.table_AV.shape, strategy.generation.pad_token_id, *memory.circumstances()
    if key not in memory.greedy_steps:
        memory.greedy_steps[key] = GreedyStep(memory, strategy, length)
        for old in list(memory.greedy_steps)[:-KEPT]:
            del memory.greedy_steps[old]
    return memory.greedy_steps[key]


def best_token(scores_RV: torch.Tensor) -> torch.Tensor:
    """The token (R) with the highest score, the first of equals."""
    is_slow = scores_RV.device.type == "cuda" and scores_RV.shape[1] >= LARGE
    return best_of_parts(scores_RV, PARTS) if is_slow else scores_RV.argmax(-1)


def best_of_parts(scores_RV: torch.Tensor, parts: int) -> torch.Tensor:
    """`best_token` by the best of each part of the vocabulary."""
    missing = -scores_RV.shape[1] % parts
    padded = F.pad(scores_RV, (0, missing), value=-math.inf) if missing else scores_RV
    divided = padded.unflatten(-1, (parts, -1))
    highest, place = divided.max(-1)
    part_R1 = highest.argmax(-1, keepdim=True)
    return torch.add(place.gather(-1, part_R1), part_R1, alpha=divided.shape[-1])[:, 0]


class Answer:
    """A truth on its way from a device to the host, which waits for it when it is asked, and for nothing that was begun later."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda).copy_(value, non_blocking=True)
        self.event = torch.cuda.Event() if value.is_cuda else None
        if self.event is not None:
            self.event.record(torch.cuda.current_stream(value.device))

    def __bool__(self) -> bool:
        if self.event is not None:
            self.event.synchronize()
        return bool(self.value)
