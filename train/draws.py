"""Random numbers that depend on a run's seed and on what they are for, and on nothing that happened before."""

from __future__ import annotations

import numpy as np

# The order of the data is drawn from [seed, epoch].
TRAINING, HELD_OUT = 1, 2


def of_step(seed: int, step: int) -> np.random.Generator:
    """What is drawn anew in each training step."""
    return np.random.default_rng([seed, step, TRAINING])


def of_example(seed: int, number: int) -> np.random.Generator:
    """What is drawn once for a held-out example, whatever batch it comes in."""
    return np.random.default_rng([seed, number, HELD_OUT])
