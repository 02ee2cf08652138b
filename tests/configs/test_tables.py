"""The tables that both frameworks share, against the papers' formulas written out."""

from __future__ import annotations

import math

import numpy as np

from configs import load_model_config, rotary_tables, sinusoidal_table


def test_rotary_angles() -> None:
    """RoFormer, equation 15: pair i of position n turns by n * base ** (-2 i / K)."""
    config = load_model_config("gpt2-mini", ["positions={kind: rotary, base: 500.0, fraction: 0.5}", "max_length=9"])
    cosines, sines = rotary_tables(config)
    assert cosines.shape == sines.shape == (9, 16)
    for position, i in [(0, 0), (3, 0), (5, 7), (8, 15)]:
        angle = position * 500.0 ** (-2 * i / 32)
        assert math.isclose(cosines[position, i], math.cos(angle), abs_tol=1e-15)
        assert math.isclose(sines[position, i], math.sin(angle), abs_tol=1e-15)


def test_sinusoids() -> None:
    """ "Attention Is All You Need", 3.5."""
    overrides = ["width=6", "attention.num_heads=2", "max_length=5"]
    table = sinusoidal_table(load_model_config("gpt2-mini", ["positions={kind: sinusoidal}", *overrides]))
    halves = sinusoidal_table(load_model_config("gpt2-mini", ["positions={kind: sinusoidal, layout: halves}", *overrides]))
    assert table.shape == (5, 6)
    for position in range(5):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert math.isclose(table[position, 2 * i], math.sin(angle), abs_tol=1e-15)
            assert math.isclose(table[position, 2 * i + 1], math.cos(angle), abs_tol=1e-15)
    np.testing.assert_array_equal(halves, np.concatenate([table[:, 0::2], table[:, 1::2]], axis=1))
