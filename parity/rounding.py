"""How far float32 is from the truth, measured so that one lucky run does not set the measure.

The reference is asked in float32 as it is, and again with every weight moved by at most one unit in the last place, as if it had
been rounded otherwise: where a result hangs on the rounding, some of these runs show it (Parker 1997, Monte Carlo arithmetic).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from parity.compare import Answer, ask
from parity.implementation import Inputs
from parity.verdict import RUNS

PATTERN = 65537


def ask_several_times(implementation: Any, inputs: Inputs, labels: np.ndarray | None = None) -> Iterator[Answer]:
    """The answers of Hugging Face or PyTorch: the first with the weights as they are, the others with nudged ones."""
    yield ask(implementation, inputs, labels)
    for seed in range(1, RUNS):
        with nudged(implementation.model, seed):
            yield ask(implementation, inputs, labels)


@contextmanager
def nudged(model: torch.nn.Module, seed: int) -> Iterator[None]:
    """Inside, every weight is its neighbour above or below, or itself, at random; afterwards all are what they were."""
    _nudge(model, seed, 1)
    try:
        yield
    finally:
        _nudge(model, seed, -1)


@torch.no_grad()
def _nudge(model: torch.nn.Module, seed: int, sign: int) -> None:
    # One pattern over and over: drawing anew for each of a billion weights would take minutes.
    pattern = torch.randint(-1, 2, (PATTERN,), generator=torch.Generator().manual_seed(seed), dtype=torch.int8) * sign
    for weight in model.parameters():
        steps = pattern.repeat(-(-weight.numel() // PATTERN))[: weight.numel()].reshape(weight.shape)
        towards = torch.where(steps > 0, torch.inf, -torch.inf)
        weight.copy_(torch.where(steps == 0, weight, torch.nextafter(weight, towards)))
