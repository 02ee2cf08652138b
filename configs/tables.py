"""Tables of fixed numbers that both frameworks share to the last bit: computed once, in NumPy, in float64."""

from __future__ import annotations

import numpy as np

from configs.model import ModelConfig, RotaryPositions


def rotary_tables(config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of the angles position * base ** (-2 i / K), each of shape (max_length, rotary size / 2).

    RoFormer (Su et al. 2021), equation 15.
    """
    assert isinstance(config.positions, RotaryPositions)
    size = config.rotary_size
    frequencies_R = config.positions.base ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    angles_NR = np.arange(config.max_length, dtype=np.float64)[:, None] * frequencies_R
    return np.cos(angles_NR), np.sin(angles_NR)


def sinusoidal_table(config: ModelConfig) -> np.ndarray:
    """PE(position, 2i) = sin(position / 10000^(2i/D)), PE(position, 2i+1) = cos of the same; shape (max_length, width).

    "Attention Is All You Need", 3.5. The layout `halves` keeps all sines before all cosines.
    """
    width = config.width
    angles_NR = np.arange(config.max_length, dtype=np.float64)[:, None] / 10000.0 ** (np.arange(0, width, 2, dtype=np.float64) / width)
    sines_NR, cosines_NR = np.sin(angles_NR), np.cos(angles_NR)
    if getattr(config.positions, "layout", "interleaved") == "halves":
        return np.concatenate([sines_NR, cosines_NR], axis=1)[:, :width]
    return np.stack([sines_NR, cosines_NR], axis=2).reshape(config.max_length, -1)[:, :width]
