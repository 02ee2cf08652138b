"""Which tokens each step sees: a pure function of (seed, step), in NumPy, for every framework and any number of processes.

N tokens in all, B sequences of a global batch, T tokens of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from configs import UserError

IGNORED = -100


class TrainingBatches:
    """Tokens cut into blocks, block by block in a new order each epoch.

    An epoch is a permutation of consecutive blocks of T tokens that start at an offset of its own, so that over the epochs the
    blocks' borders fall everywhere. At most 2 T tokens at the ends are left out of an epoch.
    Raises UserError where the text is too short for one batch.
    """

    def __init__(self, tokens_N: np.ndarray, block_size: int, batch_size: int, seed: int) -> None:
        self.tokens_N = tokens_N
        self.block_size = block_size
        self.batch_size = batch_size
        # The last token is a label only; one block less than would fit leaves room to shift the borders by a whole block.
        self.blocks = max((len(tokens_N) - 1) // block_size - 1, 0)
        if self.blocks < batch_size:
            raise UserError(
                f"the training text has {len(tokens_N):,} tokens, and one batch needs {(batch_size + 1) * block_size + 1:,} "
                f"(train.batch_size={batch_size}, block size {block_size}); use more text, or make one of them smaller"
            )
        slack = len(tokens_N) - 1 - self.blocks * block_size

        @lru_cache(maxsize=2)
        def starts(epoch: int) -> np.ndarray:
            random = np.random.default_rng([seed, epoch])
            return random.integers(slack + 1) + block_size * random.permutation(self.blocks)

        self._starts = starts

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and labels of the whole step, each int64 (B, T); a label is the token after its input."""
        epochs_B, places_B = np.divmod(np.arange(step * self.batch_size, (step + 1) * self.batch_size), self.blocks)
        starts_B = np.array([self._starts(int(epoch))[place] for epoch, place in zip(epochs_B, places_B, strict=True)])
        window_BT = self.tokens_N[starts_B[:, None] + np.arange(self.block_size + 1)].astype(np.int64)
        return window_BT[:, :-1], window_BT[:, 1:]

    def epoch(self, step: int) -> float:
        """How often the text has been seen after `step` steps."""
        return step * self.batch_size / self.blocks


def share(batch_size: int, rank: int, processes: int, part: int, parts: int) -> slice:
    """The rows of a global batch that process `rank` of `processes` takes in accumulation step `part` of `parts`."""
    rows = batch_size // (processes * parts)
    start = (part * processes + rank) * rows
    return slice(start, start + rows)


def check_divides(batch_size: int, processes: int, parts: int) -> None:
    """Refuse a batch that cannot be dealt out evenly."""
    if batch_size % (processes * parts):
        raise UserError(
            f"train.batch_size={batch_size} cannot be dealt out to {processes} processes in {parts} accumulation steps; "
            f"make it a multiple of {processes * parts}"
        )


class ValidationBatches:
    """Every token of the held-out text once, in consecutive blocks; the last block is filled up with ignored labels.

    batch_size: sequences in one batch over all processes. Raises UserError where the text is shorter than one block.
    """

    def __init__(self, tokens_N: np.ndarray, block_size: int, batch_size: int) -> None:
        if len(tokens_N) <= block_size:
            raise UserError(
                f"the validation text has {len(tokens_N):,} tokens, and one block needs {block_size + 1:,}; "
                f"use more text, a larger data.validation_fraction or a smaller train.block_size"
            )
        self.tokens_N = tokens_N
        self.block_size = block_size
        self.batch_size = batch_size
        self.targets = len(tokens_N) - 1
        self.blocks = -(-self.targets // block_size)

    def batches(self, rank: int = 0, processes: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The share of one process: inputs and labels, each int64 (rows, T). Every process gets as many batches, of one shape."""
        rows = max(1, min(self.batch_size, self.blocks) // processes)
        for first in range(0, self.blocks, rows * processes):
            start = first + rank * rows
            inputs_BT = np.zeros((rows, self.block_size), np.int64)
            labels_BT = np.full((rows, self.block_size), IGNORED, np.int64)
            targets_M = self.tokens_N[start * self.block_size : (start + rows) * self.block_size + 1]
            count = max(len(targets_M) - 1, 0)
            inputs_BT.reshape(-1)[:count] = targets_M[:count]
            labels_BT.reshape(-1)[:count] = targets_M[1 : count + 1]
            yield inputs_BT, labels_BT
