"""Which examples each step sees: a pure function of (seed, step), in NumPy, for every framework and any number of processes.

N tokens or examples in all, B sequences of a global batch, T tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Protocol

import numpy as np

from configs import RunConfig, UserError

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """What the model is called with, by the names of its arguments, and what it should answer.

    inputs: arrays whose first axis is B. labels: int64 (B, T) or (B,), IGNORED where nothing is asked.
    tokens: positions that are not padding, of all inputs together.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray
    tokens: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> int:
        """How many answers count."""
        return int((self.labels != IGNORED).sum())

    def share(self, rank: int = 0, processes: int = 1, part: int = 0, parts: int = 1) -> Batch:
        """What process `rank` of `processes` takes in accumulation step `part` of `parts`: every share has as many rows.

        Where they do not come out even, the last shares are filled up with rows whose labels are ignored.
        """
        if processes * parts == 1:
            return self
        rows = -(-len(self) // (processes * parts))
        first = (part * processes + rank) * rows
        places = np.arange(first, first + rows)
        rows_R = np.minimum(places, len(self) - 1)
        labels = self.labels[rows_R]
        labels[places >= len(self)] = IGNORED
        return Batch({name: values[rows_R] for name, values in self.inputs.items()}, labels, self.tokens)


# Makes a batch of the examples with these numbers, or of the tokens at these places, for this step: what is random depends on it alone.
Collate = Callable[[np.ndarray, int], Batch]


class TrainingBatches(Protocol):
    """Endless training data. fixed: every batch has the same shapes."""

    fixed: bool

    def batch(self, step: int) -> Batch:
        """The global batch of a step, which counts from 0."""
        ...

    def epoch(self, step: int) -> float:
        """How often the data has been seen after `step` steps."""
        ...


class ValidationBatches(Protocol):
    """Held-out data, each example once. targets: how many labels count in all."""

    targets: int

    def batches(self, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
        """The share of one process. Every process gets as many batches, of the same shapes."""
        ...


class BlockBatches:
    """Tokens cut into blocks, block by block in a new order each epoch; a label is the token after its input, unless `collate` makes
    another batch of the tokens at some places (B, T + 1) for a step.

    An epoch is a permutation of consecutive blocks of T tokens that start at an offset of its own, so that over the epochs the
    blocks' borders fall everywhere. At most 2 T tokens at the ends are left out of an epoch.
    Raises UserError where the text is too short for one batch.
    """

    fixed = True

    def __init__(self, tokens_N: np.ndarray, block_size: int, batch_size: int, seed: int, collate: Collate | None = None) -> None:
        self.collate = collate or partial(next_tokens, tokens_N)
        self.block_size = block_size
        self.batch_size = batch_size
        # The last token is a label only; one block less than would fit leaves room to shift the borders by a whole block.
        self.blocks = max((len(tokens_N) - 1) // block_size - 1, 0)
        if self.blocks < batch_size:
            raise UserError(
                f"the training text has {len(tokens_N):,} tokens, and one batch needs {(batch_size + 1) * block_size + 1:,} "
                f"({batch_size} blocks of {block_size} tokens); use more text, or make the batch or train.block_size smaller"
            )
        slack = len(tokens_N) - 1 - self.blocks * block_size

        @lru_cache(maxsize=2)
        def starts(epoch: int) -> np.ndarray:
            random = np.random.default_rng([seed, epoch])
            return random.integers(slack + 1) + block_size * random.permutation(self.blocks)

        self._starts = starts

    def places(self, step: int) -> np.ndarray:
        """Where the tokens of each block of a step stand, and the token after it: (B, T + 1)."""
        epochs_B, places_B = np.divmod(np.arange(step * self.batch_size, (step + 1) * self.batch_size), self.blocks)
        starts_B = np.array([self._starts(int(epoch))[place] for epoch, place in zip(epochs_B, places_B, strict=True)])
        return starts_B[:, None] + np.arange(self.block_size + 1)

    def batch(self, step: int) -> Batch:
        return self.collate(self.places(step), step)

    def epoch(self, step: int) -> float:
        return step * self.batch_size / self.blocks


def next_tokens(tokens_N: np.ndarray, places_BT: np.ndarray, step: int) -> Batch:
    """Inputs, and the token after each."""
    window_BT = tokens_N[places_BT].astype(np.int64)
    return Batch({"input_ids": window_BT[:, :-1]}, window_BT[:, 1:], window_BT[:, 1:].size)


class BlockValidation:
    """Every token of the held-out text once, in consecutive blocks; the last block is filled up with ignored labels.

    batch_size: sequences in one batch over all processes. Raises UserError where the text is shorter than one block.
    """

    def __init__(self, tokens_N: np.ndarray, block_size: int, batch_size: int) -> None:
        held_out_blocks(tokens_N, block_size + 1)
        self.tokens_N = tokens_N
        self.block_size = block_size
        self.batch_size = batch_size
        self.targets = len(tokens_N) - 1
        self.blocks = -(-self.targets // block_size)

    def batches(self, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
        rows = max(1, min(self.batch_size, self.blocks) // processes)
        for first in range(0, self.blocks, rows * processes):
            start = first + rank * rows
            inputs_BT = np.zeros((rows, self.block_size), np.int64)
            labels_BT = np.full((rows, self.block_size), IGNORED, np.int64)
            targets_M = self.tokens_N[start * self.block_size : (start + rows) * self.block_size + 1]
            count = max(len(targets_M) - 1, 0)
            inputs_BT.reshape(-1)[:count] = targets_M[:count]
            labels_BT.reshape(-1)[:count] = targets_M[1 : count + 1]
            yield Batch({"input_ids": inputs_BT}, labels_BT, count)


def held_out_blocks(tokens_N: np.ndarray, length: int) -> int:
    """How many whole blocks of `length` tokens there are to validate on. Raises UserError where that is none."""
    if len(tokens_N) < length:
        raise UserError(
            f"the validation text has {len(tokens_N):,} tokens, and one block needs {length:,}; "
            f"use more text, a larger data.validation_fraction or a smaller train.block_size"
        )
    return len(tokens_N) // length


def blocks_in_a_step(config: RunConfig) -> int:
    """train.batch_size, or as many blocks as train.batch_tokens has room for. Raises UserError where that is none."""
    settings = config.train
    if settings.batch_size:
        return settings.batch_size
    blocks = (settings.batch_tokens or 0) // config.block_size
    if not blocks:
        raise UserError(f"train.batch_tokens={settings.batch_tokens} has no room for a block of {config.block_size}; make it larger")
    return blocks


def check_divides(batch_size: int, processes: int, parts: int) -> None:
    """Refuse a batch that cannot be dealt out evenly."""
    if batch_size % (processes * parts):
        raise UserError(
            f"train.batch_size={batch_size} cannot be dealt out to {processes} processes in {parts} accumulation steps; "
            f"make it a multiple of {processes * parts}"
        )


def pad(rows: Sequence[np.ndarray], value: int) -> np.ndarray:
    """Rows of different lengths as one int64 array (B, longest), filled up with `value` on the right."""
    padded_BT = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for row, padded_T in zip(rows, padded_BT, strict=True):
        padded_T[: len(row)] = row
    return padded_BT


class ExampleBatches:
    """Batches of `batch_size` examples, all of one shape or padded by `collate`; a new order each epoch, the rest of an epoch goes on
    into the next. collate: makes a batch of the examples with these numbers, for this step (what is random must depend on it alone).
    """

    def __init__(self, count: int, batch_size: int, seed: int, collate: Collate, fixed: bool = True) -> None:
        if count < batch_size:
            raise UserError(f"there are {count:,} training examples, and train.batch_size={batch_size} needs as many; make it smaller")
        self.count, self.batch_size, self.collate, self.fixed = count, batch_size, collate, fixed
        self._order = lru_cache(maxsize=2)(lambda epoch: np.random.default_rng([seed, epoch]).permutation(count))

    def batch(self, step: int) -> Batch:
        epochs_B, places_B = np.divmod(np.arange(step * self.batch_size, (step + 1) * self.batch_size), self.count)
        chosen_B = np.array([self._order(int(epoch))[place] for epoch, place in zip(epochs_B, places_B, strict=True)])
        return self.collate(chosen_B, step)

    def epoch(self, step: int) -> float:
        return step * self.batch_size / self.count


class BudgetBatches:
    """Batches of like lengths with at most `budget` tokens, padding included: few when they are long, many when they are short.

    lengths_NK: tokens of each example, where there are several inputs (source, target) each in its column; the budget holds for each.
    Examples are sorted by length and cut into batches; each epoch mixes those of equal lengths and the batches' order anew.
    Raises UserError where one example alone exceeds the budget.
    """

    fixed = False

    def __init__(self, lengths_NK: np.ndarray, budget: int, seed: int, collate: Collate) -> None:
        longest = int(lengths_NK.max())
        if longest > budget:
            raise UserError(
                f"one example has {longest} tokens, and train.batch_tokens={budget}; make that larger or set objective.max_length"
            )
        self.collate = collate
        # The border between batches depends on the lengths alone, so that all epochs have as many batches.
        self.borders = budget_borders(lengths_NK[by_length(lengths_NK)], budget)
        self.steps = len(self.borders) - 1
        self.padding = padding_share(lengths_NK[by_length(lengths_NK)], self.borders)

        @lru_cache(maxsize=2)
        def order(epoch: int) -> tuple[np.ndarray, np.ndarray]:
            random = np.random.default_rng([seed, epoch])
            mixed_N = random.permutation(len(lengths_NK))
            return mixed_N[by_length(lengths_NK[mixed_N])], random.permutation(self.steps)

        self._order = order

    def batch(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps)
        sorted_N, batches = self._order(epoch)
        chosen = batches[place]
        return self.collate(sorted_N[self.borders[chosen] : self.borders[chosen + 1]], step)

    def epoch(self, step: int) -> float:
        return step / self.steps


class ExampleValidation:
    """Held-out examples in batches of like lengths, each example once. collate: makes a batch of the examples with these numbers."""

    def __init__(self, lengths_N: np.ndarray, batch_size: int, targets: int, collate: Collate) -> None:
        self.order_N, self.batch_size, self.targets, self.collate = np.argsort(lengths_N, kind="stable"), batch_size, targets, collate

    def batches(self, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
        for number, first in enumerate(range(0, len(self.order_N), self.batch_size)):
            yield self.collate(self.order_N[first : first + self.batch_size], number).share(rank, processes)


def by_length(lengths_NK: np.ndarray) -> np.ndarray:
    """The order by the last length, and within it by the first, up and down in turns, so that neighbours are always alike."""
    first_N, last_N = lengths_NK[:, 0], lengths_NK[:, -1]
    return np.lexsort((np.where(last_N % 2, -first_N, first_N), last_N))


def budget_borders(lengths_NK: np.ndarray, budget: int) -> list[int]:
    """Where each batch begins, and the end: as many consecutive examples as the budget allows."""
    borders, longest_K = [0], np.zeros_like(lengths_NK[0])
    for place, lengths_K in enumerate(lengths_NK):
        longest_K = np.maximum(longest_K, lengths_K)
        if (place - borders[-1] + 1) * int(longest_K.max()) > budget:
            borders.append(place)
            longest_K = lengths_K
    return [*borders, len(lengths_NK)]


def padding_share(lengths_NK: np.ndarray, borders: Sequence[int]) -> float:
    """The share of all positions that is padding."""
    positions = sum((end - start) * int(lengths_NK[start:end].max(0).sum()) for start, end in pairwise(borders))
    return 1 - int(lengths_NK.sum()) / positions
