"""Dropout drops as many as it should, keeps the mean, and its gradient is zero where it dropped."""

from __future__ import annotations

import pytest
import torch

from transformer_torch.dropout import Dropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.3, 0.9])
def test_the_share_and_the_scale_are_those_asked_for(rate: float) -> None:
    hidden = torch.ones(1001, 997, requires_grad=True)
    torch.manual_seed(3)
    dropped = Dropout(rate)(hidden)
    kept = dropped.detach() != 0
    # Four standard deviations of a share of a million draws.
    assert float(kept.float().mean()) == pytest.approx(1 - rate, abs=4 * (rate * (1 - rate) / hidden.numel()) ** 0.5)
    assert dropped.detach()[kept].unique().tolist() == pytest.approx([1 / (1 - rate)], rel=1e-4)
    dropped.sum().backward()
    torch.testing.assert_close(hidden.grad, dropped.detach())


def test_neighbours_are_dropped_independently() -> None:
    """Four of them come from one random number."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(400_000)) != 0).float().view(-1, 4)
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 4 / 100_000**0.5


def test_the_seed_decides() -> None:
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(Dropout(0.2)(torch.ones(5, 7)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_nothing_is_dropped_outside_of_training_or_at_rate_0() -> None:
    hidden = torch.randn(3, 5)
    assert torch.equal(Dropout(0.5).eval()(hidden), hidden)
    assert torch.equal(Dropout(0.0)(hidden), hidden)
