"""Every operation is undone exactly by its inverse, for whatever shapes."""

from __future__ import annotations

import numpy as np
import pytest

from configs import load_model_config
from weight_mapping.operations import SPLIT, SPLIT_HEADS, TRANSPOSE, Operation, Shape

CHAINS: dict[str, tuple[Operation, ...]] = {"transpose": (TRANSPOSE,), "split": (SPLIT,), "transpose, split": (TRANSPOSE, SPLIT)}


def random_targets(generator: np.random.Generator, chain: str) -> list[np.ndarray]:
    """One canonical tensor, or several that agree in all axes but the first."""
    count = int(generator.integers(1, 5)) if "split" in chain else 1
    rest: Shape = tuple(generator.integers(1, 6, size=1 if "transpose" in chain else generator.integers(0, 3)))
    return [generator.standard_normal((generator.integers(1, 7), *rest)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("seed", range(30))
def test_inverses_are_exact(chain: str, seed: int) -> None:
    targets = random_targets(np.random.default_rng(seed), chain)
    arrays, shapes = targets, [target.shape for target in targets]
    for operation in reversed(CHAINS[chain]):
        arrays, shapes = operation.inverse(arrays), operation.inverse_shapes(shapes)
        assert [array.shape for array in arrays] == shapes
    (stored,) = arrays
    assert stored.size == sum(target.size for target in targets)

    for operation in CHAINS[chain]:
        arrays = operation.forward(arrays, [target.shape for target in targets])
    assert len(arrays) == len(targets)
    for array, target in zip(arrays, targets, strict=True):
        np.testing.assert_array_equal(array, target)


def test_transpose_moves_even_a_square() -> None:
    square = np.arange(9.0).reshape(3, 3)
    assert (TRANSPOSE.forward([square], [(3, 3)])[0] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]).all()


def test_split_keeps_the_order() -> None:
    query, key, value = SPLIT.forward([np.arange(6)], [(1,), (2,), (3,)])
    assert (query.tolist(), key.tolist(), value.tolist()) == ([0], [1, 2], [3, 4, 5])


@pytest.mark.parametrize("rest", [(), (5,)])
def test_split_heads_takes_query_key_and_value_of_each_head(rest: Shape) -> None:
    """Three heads of two values: rows of the file are q0 q0 k0 k0 v0 v0 q1 q1 ..."""
    operation = SPLIT_HEADS.of(load_model_config("gpt2-mini", ["attention.num_heads=3", "width=6"]))
    stored = np.arange(18.0 * 5).reshape(18, 5) if rest else np.arange(18.0)
    parts = operation.forward([stored], [(6, *rest)] * 3)
    for part, first in zip(parts, (0, 2, 4), strict=True):
        np.testing.assert_array_equal(part, stored[[first, first + 1, first + 6, first + 7, first + 12, first + 13]])
    np.testing.assert_array_equal(operation.inverse(parts), [stored])
    assert operation.inverse_shapes([part.shape for part in parts]) == [stored.shape]
