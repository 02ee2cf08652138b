"""Batches that are made ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from configs import UserError
from train.ahead import BatchesAhead
from train.batches import Batch, BlockBatches

TIMEOUT = 10


class Waiting(BlockBatches):
    """Batches that tell when they are made, and by which thread."""

    def __init__(self) -> None:
        super().__init__(np.arange(100, dtype=np.int64), block_size=4, batch_size=2, seed=1)
        self.made = [threading.Event() for _ in range(10)]
        self.threads: set[int] = set()

    def batch(self, step: int) -> Batch:
        if step == 7:
            raise UserError("the seventh is bad")
        self.threads.add(threading.get_ident())
        batch = super().batch(step)
        self.made[step].set()
        return batch


def test_the_next_batch_is_made_while_this_one_is_used() -> None:
    batches = Waiting()
    ahead = BatchesAhead(batches)
    ahead.batch(0)
    assert batches.made[1].wait(TIMEOUT), "nobody has asked for it"
    assert threading.get_ident() not in batches.threads
    assert list(ahead.coming) == [1]


def test_they_are_those_that_are_asked_for_in_any_order() -> None:
    plain, ahead = Waiting(), BatchesAhead(Waiting())
    for step in (0, 1, 2, 5, 1, 2, 0, 6):
        np.testing.assert_array_equal(ahead.batch(step).labels, plain.batch(step).labels)


def test_a_bad_batch_is_told_where_it_is_asked_for_and_not_before() -> None:
    ahead = BatchesAhead(Waiting())
    ahead.batch(6)
    with pytest.raises(UserError, match="the seventh"):
        ahead.batch(7)
