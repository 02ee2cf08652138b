"""How far two arrays are apart."""

from __future__ import annotations

import numpy as np


def largest(found: np.ndarray, expected: np.ndarray) -> float:
    """max |found - expected|, in float64. NaN anywhere is infinitely far."""
    if found.shape != expected.shape:
        raise ValueError(f"shapes {found.shape} and {expected.shape} differ")
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return float("inf") if np.isnan(difference) else float(difference)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """`largest`, divided by the largest expected value."""
    difference, scale = largest(found, expected), float(np.abs(expected).max(initial=0.0))
    return difference if difference == 0.0 else difference / scale if scale else float("inf")


def usual(found: np.ndarray, expected: np.ndarray) -> float:
    """The `largest` difference of a row, on the mean over all rows: a single number may be lucky on one side."""
    return float(np.mean([largest(row, truth) for row, truth in zip(found, expected, strict=True)]))
