"""The optimizer of a run, step by step."""

from __future__ import annotations

import torch


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step, in all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
