"""The data order is a pure function of (seed, step), whoever asks."""

from __future__ import annotations

import numpy as np
import pytest

from configs import UserError
from train.batches import IGNORED, Batch, BlockBatches, BlockValidation, BudgetBatches, ExampleBatches, check_divides, pad

TOKENS_N = np.arange(1000, dtype=np.int32)


def test_labels_are_the_tokens_that_follow():
    batch = BlockBatches(TOKENS_N, 7, 5, seed=3).batch(11)
    assert batch.inputs["input_ids"].shape == batch.labels.shape == (5, 7)
    np.testing.assert_array_equal(batch.labels, batch.inputs["input_ids"] + 1)
    assert batch.tokens == batch.targets == 35


def test_same_seed_and_step_give_the_same_batch_in_any_order():
    first, second = BlockBatches(TOKENS_N, 7, 5, seed=3), BlockBatches(TOKENS_N, 7, 5, seed=3)
    steps = [0, 90, 13, 500, 14, 90]
    for step, again in zip(steps, sorted(steps), strict=True):
        first.batch(step)
        second.batch(again)
    np.testing.assert_array_equal(first.batch(90).labels, second.batch(90).labels)
    assert not np.array_equal(first.batch(90).labels, BlockBatches(TOKENS_N, 7, 5, seed=4).batch(90).labels)
    assert not np.array_equal(first.batch(90).labels, first.batch(91).labels)


def test_an_epoch_sees_each_block_once_and_epochs_differ():
    batches = BlockBatches(TOKENS_N, 7, 1, seed=3)
    epochs = [
        np.concatenate([batches.batch(epoch * batches.blocks + step).labels[0] for step in range(batches.blocks)]) for epoch in range(40)
    ]
    for labels_N in epochs:
        assert len(set(labels_N)) == len(labels_N) == 7 * batches.blocks >= len(TOKENS_N) - 1 - 2 * 7
    borders = {int(labels_N.min() % 7) for labels_N in epochs}
    assert len(borders) > 3
    assert set(np.concatenate(epochs)) == set(range(1, 1000))
    assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize(("processes", "parts"), [(1, 1), (2, 1), (1, 2), (3, 2), (6, 1)])
def test_processes_and_accumulation_share_one_global_batch(processes, parts):
    batch = BlockBatches(TOKENS_N, 7, 12, seed=3).batch(5)
    shares = [batch.share(rank, processes, part, parts) for part in range(parts) for rank in range(processes)]
    assert {len(share) for share in shares} == {12 // (processes * parts)}
    np.testing.assert_array_equal(np.concatenate([share.inputs["input_ids"] for share in shares]), batch.inputs["input_ids"])
    np.testing.assert_array_equal(np.concatenate([share.labels for share in shares]), batch.labels)


def test_a_batch_that_does_not_come_out_even_is_filled_up_with_what_counts_for_nothing():
    batch = Batch({"input_ids": np.arange(10).reshape(5, 2)}, np.arange(10).reshape(5, 2), 10)
    shares = [batch.share(rank, 3) for rank in range(3)]
    assert {share.inputs["input_ids"].shape for share in shares} == {(2, 2)}
    assert sum(share.targets for share in shares) == batch.targets
    assert (shares[2].labels[1] == IGNORED).all()


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    check_divides(12, 3, 2)
    with pytest.raises(UserError, match=r"batch_size=12.*5 processes in 2.*multiple of 10"):
        check_divides(12, 5, 2)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("tokens", [8, 15, 16, 100, 141])
def test_validation_counts_every_token_once(processes, tokens):
    validation = BlockValidation(np.arange(tokens, dtype=np.int32), 7, 4)
    shares = [list(validation.batches(rank, processes)) for rank in range(processes)]
    assert len({len(batches) for batches in shares}) == 1
    assert len({batch.labels.shape for batches in shares for batch in batches}) == 1
    batches = [batch for share in shares for batch in share]
    pairs = [pair for batch in batches for pair in zip(batch.inputs["input_ids"].flat, batch.labels.flat, strict=True)]
    counted = sorted(label for _, label in pairs if label != IGNORED)
    assert counted == list(range(1, tokens))
    assert validation.targets == tokens - 1
    assert all(label == token + 1 for token, label in pairs if label != IGNORED)


def test_too_little_text_is_refused():
    with pytest.raises(UserError, match="has 42 tokens, and one batch needs 43"):
        BlockBatches(TOKENS_N[:42], 7, 5, seed=0)
    assert BlockBatches(TOKENS_N[:43], 7, 5, seed=0).batch(0).labels.shape == (5, 7)
    with pytest.raises(UserError, match="validation text has 7 tokens, and one block needs 8"):
        BlockValidation(TOKENS_N[:7], 7, 4)


def numbers(chosen_B: np.ndarray, step: int) -> Batch:
    return Batch({"input_ids": chosen_B}, chosen_B, len(chosen_B))


def test_examples_come_once_an_epoch_in_a_new_order():
    batches = ExampleBatches(20, 5, 0, numbers)
    epochs = [np.concatenate([batches.batch(epoch * 4 + step).labels for step in range(4)]) for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(20))] * 2
    assert not np.array_equal(*epochs)
    with pytest.raises(UserError, match=r"there are 4 training examples, and train\.batch_size=5"):
        ExampleBatches(4, 5, 0, numbers)


def test_a_budget_makes_few_batches_of_like_lengths():
    lengths_N2 = np.random.default_rng(0).integers(3, 30, (2000, 2))
    batches = BudgetBatches(lengths_N2, 400, 1, numbers)
    epochs = [[batches.batch(epoch * batches.steps + step).labels for step in range(batches.steps)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(2000))
        assert all(len(chosen_B) * lengths_N2[chosen_B].max() <= 400 for chosen_B in epoch)
    assert not np.array_equal(epochs[0][0], epochs[1][0])
    positions = sum(len(chosen_B) * lengths_N2[chosen_B].max(0).sum() for chosen_B in epochs[0])
    assert batches.padding == pytest.approx(1 - lengths_N2.sum() / positions)
    with pytest.raises(UserError, match=r"one example has 29 tokens, and train\.batch_tokens=20"):
        BudgetBatches(lengths_N2, 20, 1, numbers)


def test_rows_are_padded_on_the_right():
    np.testing.assert_array_equal(pad([np.array([1, 2, 3]), np.array([4])], 9), [[1, 2, 3], [4, 9, 9]])
