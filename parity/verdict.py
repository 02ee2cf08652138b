"""Whether two arrays agree: how far they are apart, in units in the last place, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parity import tolerances
from parity.differences import largest, relative

# How often the reference is asked in float32, for one run may be lucky: see parity/rounding.py.
RUNS = 4
UNIT = {"float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True)
class Distance:
    """How far an array is from what was expected.

    largest: max |found - expected|. relative: that, divided by the largest expected value. limit: how large `relative` may be.
    unit: one unit in the last place of the largest value, relative to it.
    """

    largest: float
    relative: float
    limit: float
    unit: float

    @property
    def units(self) -> float:
        """The distance in units in the last place."""
        return self.relative / self.unit

    @property
    def allowed_units(self) -> float:
        return self.limit / self.unit

    @property
    def agrees(self) -> bool:
        # Where the reference's own float32 overflows, no number is too far, but NaN and infinity are none.
        return math.isfinite(self.relative) and self.relative <= self.limit


def distance(found: np.ndarray, expected: np.ndarray, limit: float, dtype: str) -> Distance:
    """Arrays of different shapes, and values that are not finite, are infinitely far apart."""
    if found.shape != expected.shape or not np.isfinite(expected).all():
        return Distance(float("inf"), float("inf"), limit, UNIT[dtype])
    return Distance(largest(found, expected), relative(found, expected), limit, UNIT[dtype])


def rounding_limits(own: Mapping[str, float]) -> dict[str, float]:
    """What float32 may differ by, place by place, from Hugging Face's `own` relative distances in the order of computation.

    Twice what Hugging Face's is off, there or anywhere before: rounding is carried along, and one place alone may be lucky.
    """
    limits, furthest = {}, 0.0
    for place, relative_distance in own.items():
        furthest = max(furthest, relative_distance)
        limits[place] = tolerances.FLOAT32_AGAINST_HUGGING_FACE * furthest
    return limits
