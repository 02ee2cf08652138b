"""The data order is a pure function of (seed, step), whoever asks."""

from __future__ import annotations

import numpy as np
import pytest

from configs import UserError
from train.batches import IGNORED, TrainingBatches, ValidationBatches, check_divides, share

TOKENS_N = np.arange(1000, dtype=np.int32)


def test_labels_are_the_tokens_that_follow():
    inputs_BT, labels_BT = TrainingBatches(TOKENS_N, 7, 5, seed=3).batch(11)
    assert inputs_BT.shape == labels_BT.shape == (5, 7)
    np.testing.assert_array_equal(labels_BT, inputs_BT + 1)


def test_same_seed_and_step_give_the_same_batch_in_any_order():
    first, second = TrainingBatches(TOKENS_N, 7, 5, seed=3), TrainingBatches(TOKENS_N, 7, 5, seed=3)
    steps = [0, 90, 13, 500, 14, 90]
    for step, again in zip(steps, sorted(steps), strict=True):
        first.batch(step)
        second.batch(again)
    np.testing.assert_array_equal(first.batch(90)[0], second.batch(90)[0])
    assert not np.array_equal(first.batch(90)[0], TrainingBatches(TOKENS_N, 7, 5, seed=4).batch(90)[0])
    assert not np.array_equal(first.batch(90)[0], first.batch(91)[0])


def test_an_epoch_sees_each_block_once_and_epochs_differ():
    batches = TrainingBatches(TOKENS_N, 7, 1, seed=3)
    epochs = [np.concatenate([batches.batch(epoch * batches.blocks + step)[1][0] for step in range(batches.blocks)]) for epoch in range(40)]
    for labels_N in epochs:
        assert len(set(labels_N)) == len(labels_N) == 7 * batches.blocks >= len(TOKENS_N) - 1 - 2 * 7
    borders = {int(labels_N.min() % 7) for labels_N in epochs}
    assert len(borders) > 3
    assert set(np.concatenate(epochs)) == set(range(1, 1000))
    assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize(("processes", "parts"), [(1, 1), (2, 1), (1, 2), (3, 2), (6, 1)])
def test_processes_and_accumulation_share_one_global_batch(processes, parts):
    inputs_BT, _ = TrainingBatches(TOKENS_N, 7, 12, seed=3).batch(5)
    shares = [inputs_BT[share(12, rank, processes, part, parts)] for part in range(parts) for rank in range(processes)]
    assert {len(rows) for rows in shares} == {12 // (processes * parts)}
    np.testing.assert_array_equal(np.concatenate(shares), inputs_BT)


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    check_divides(12, 3, 2)
    with pytest.raises(UserError, match=r"batch_size=12.*5 processes in 2.*multiple of 10"):
        check_divides(12, 5, 2)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("tokens", [8, 15, 16, 100, 141])
def test_validation_counts_every_token_once(processes, tokens):
    validation = ValidationBatches(np.arange(tokens, dtype=np.int32), 7, 4)
    shares = [list(validation.batches(rank, processes)) for rank in range(processes)]
    assert len({len(batches) for batches in shares}) == 1
    assert len({inputs_BT.shape for batches in shares for inputs_BT, _ in batches}) == 1
    pairs = [pair for batches in shares for inputs_BT, labels_BT in batches for pair in zip(inputs_BT.flat, labels_BT.flat, strict=True)]
    counted = sorted(label for _, label in pairs if label != IGNORED)
    assert counted == list(range(1, tokens))
    assert validation.targets == tokens - 1
    assert all(label == token + 1 for token, label in pairs if label != IGNORED)


def test_too_little_text_is_refused():
    with pytest.raises(UserError, match="has 42 tokens, and one batch needs 43"):
        TrainingBatches(TOKENS_N[:42], 7, 5, seed=0)
    assert TrainingBatches(TOKENS_N[:43], 7, 5, seed=0).batch(0)[0].shape == (5, 7)
    with pytest.raises(UserError, match="validation text has 7 tokens, and one block needs 8"):
        ValidationBatches(TOKENS_N[:7], 7, 4)
