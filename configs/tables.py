"""Tables of fixed numbers that both frameworks share to the last bit: computed once, in NumPy.

N longest length, J rotary pairs, D model width.
"""

from __future__ import annotations

import math

import numpy as np

from configs.errors import UserError
from configs.model import ModelConfig
from configs.positions import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    RelativePositions,
    RotaryPositions,
    SinusoidalPositions,
    YarnScaling,
)


def rotary_cosines(config: ModelConfig, windowed: bool = False) -> np.ndarray:
    """Cosines of the angles position * frequency, times the scaling's factor, of shape (longest sequence, J).

    windowed: those of the sliding-window layers. With dynamic scaling they are those of calls up to its original length.
    """
    angles_NJ, factor = _rotary_angles(config, windowed)
    return factor * np.cos(angles_NJ)


def rotary_sines(config: ModelConfig, windowed: bool = False) -> np.ndarray:
    """The sines that belong to `rotary_cosines`."""
    angles_NJ, factor = _rotary_angles(config, windowed)
    return factor * np.sin(angles_NJ)


def _rotary_angles(config: ModelConfig, windowed: bool) -> tuple[np.ndarray, float]:
    frequencies_J, factor = rotary_frequencies(config, windowed)
    return np.arange(config.longest or config.max_length, dtype=np.float64)[:, None] * frequencies_J, factor


def rotary_frequencies(config: ModelConfig, windowed: bool = False) -> tuple[np.ndarray, float]:
    """By what angle each pair rotates from one position to the next, shape (J,), and the factor on cosines and sines.

    RoFormer (Su et al. 2021), equation 15, and the scaling; dynamic scaling changes nothing up to its original length.
    """
    positions = config.positions
    assert isinstance(positions, RotaryPositions)
    if windowed and positions.window_base is not None:
        return _unscaled_frequencies(positions.window_base, config.rotary_size), 1.0
    frequencies_J, scaling = _unscaled_frequencies(positions.base, config.rotary_size), positions.scaling
    if isinstance(scaling, LinearScaling):
        return frequencies_J / scaling.factor, 1.0
    if isinstance(scaling, Llama3Scaling):
        return _blend(frequencies_J, scaling.factor, _llama3_share(frequencies_J, scaling)), 1.0
    if isinstance(scaling, YarnScaling):
        share_J = _yarn_share(scaling, positions.base, config.rotary_size, scaling.original_max_length or config.max_length)
        return _blend(frequencies_J, scaling.factor, share_J), _yarn_attention_factor(scaling)
    return frequencies_J, 1.0


def dynamic_frequencies(config: ModelConfig) -> np.ndarray:
    """Frequencies with dynamic scaling (YaRN, Peng et al. 2023, 3.1 and 3.3): row n - 1 is for all positions of a text that is n tokens
    long when it is read. Their base is base * s^(size / (size - 2)) with s = factor * n / original - (factor - 1), as in Hugging Face;
    with a factor of 1 that is the paper's.

    Shape (N, J). N is max_length; where no original_max_length is set, max_length is that, and N is `factor` times as long.
    """
    positions = config.positions
    assert isinstance(positions, RotaryPositions)
    assert isinstance(positions.scaling, DynamicScaling)
    size, factor = config.rotary_size, positions.scaling.factor
    if size == 2:
        raise UserError("positions.scaling.kind='dynamic' stretches pairs by size / (size - 2), and size is 2; turn 4 values or more")
    original = positions.scaling.original_max_length or config.max_length
    lengths_N = np.maximum(np.arange(1, (config.longest or config.max_length) + 1, dtype=np.float64), original)
    bases_N = positions.base * (factor * lengths_N / original - (factor - 1)) ** (size / (size - 2))
    return _unscaled_frequencies(bases_N[:, None], size)


def relative_buckets(config: ModelConfig, bidirectional: bool) -> np.ndarray:
    """The bucket of each distance, key position minus query position, from -max_distance to max_distance; larger ones share the last.

    T5 (Raffel et al. 2020), 2.1: half of the buckets hold one distance each, the others ranges that grow with the distance's logarithm.
    bidirectional: half of all buckets are for keys after the query; otherwise these share bucket 0. Shape (2 max_distance + 1,), int64.
    """
    assert isinstance(config.positions, RelativePositions)
    max_distance = config.positions.max_distance
    num_buckets = config.positions.num_buckets // 2 if bidirectional else config.positions.num_buckets
    num_exact = num_buckets // 2
    if not 0 < num_exact < max_distance:
        raise UserError(
            f"positions.max_distance={max_distance} is not more than the {num_exact} distances that have a bucket of their own "
            f"with positions.num_buckets={config.positions.num_buckets}; both must be more than 0"
        )
    distances = np.arange(num_exact, max_distance + 1)
    # In float32 as T5 was trained, since a distance on a border turns on it; the logarithm rounds alike on all machines.
    logarithms = np.log((distances / num_exact).astype(np.float32), dtype=np.float64).astype(np.float32)
    steps = logarithms / np.float32(math.log(max_distance / num_exact)) * np.float32(num_buckets - num_exact)
    farther = np.minimum(num_exact + steps.astype(np.int64), num_buckets - 1)
    earlier = np.concatenate([np.arange(num_exact), farther])
    later = num_buckets + earlier if bidirectional else np.zeros_like(earlier)
    return np.concatenate([earlier[:0:-1], [0], later[1:]])


def sinusoidal_table(config: ModelConfig) -> np.ndarray:
    """PE(position, 2i) = sin(position / 10000^(2i/D)), PE(position, 2i+1) = cos of the same, D the token table's width: (max_length, D).

    "Attention Is All You Need", 3.5. The layout `halves` keeps all sines before all cosines.
    """
    assert isinstance(config.positions, SinusoidalPositions)
    width = config.embedding.width or config.width
    angles_NJ = np.arange(config.max_length, dtype=np.float64)[:, None] / 10000.0 ** (np.arange(0, width, 2, dtype=np.float64) / width)
    sines_NJ, cosines_NJ = np.sin(angles_NJ), np.cos(angles_NJ)
    if config.positions.layout == "halves":
        return np.concatenate([sines_NJ, cosines_NJ], axis=1)[:, :width]
    return np.stack([sines_NJ, cosines_NJ], axis=2).reshape(config.max_length, -1)[:, :width]


def audio_table(length: int, width: int) -> np.ndarray:
    """Sines, then cosines, of position * 10000^(-i / (width / 2 - 1)) for each i; shape (length, width). Whisper's encoder has it, whose
    last frequency is 1/10000 itself."""
    angles_NJ = np.arange(length)[:, None] * 10000.0 ** -np.linspace(0.0, 1.0, width // 2)
    return np.concatenate([np.sin(angles_NJ), np.cos(angles_NJ)], axis=1)


def _unscaled_frequencies(base: float | np.ndarray, size: int) -> np.ndarray:
    """base ** (-2 i / size) for each pair i."""
    return base ** (-np.arange(0, size, 2, dtype=np.float64) / size)


def _blend(frequencies_J: np.ndarray, factor: float, share_J: np.ndarray) -> np.ndarray:
    """Frequencies that stay where their share is 1, and are divided by `factor` where it is 0."""
    return (1 - share_J) * frequencies_J / factor + share_J * frequencies_J


def _llama3_share(frequencies_J: np.ndarray, scaling: Llama3Scaling) -> np.ndarray:
    """Linear in the turns, from 0 at `low_frequency_factor` turns over the original length to 1 at `high_frequency_factor`."""
    turns_J = scaling.original_max_length * frequencies_J / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    if low >= high:
        raise UserError(
            f"positions.scaling.low_frequency_factor={low} is not less than high_frequency_factor={high}; frequencies are blended between"
        )
    return np.clip((turns_J - low) / (high - low), 0, 1)


def _yarn_share(scaling: YarnScaling, base: float, size: int, original: int) -> np.ndarray:
    """Linear in the number of the pair, from 1 at the pair that makes `beta_fast` turns over the original length to 0 at that of
    `beta_slow`, as in YaRN's released code; in the paper (3.2) it is linear in the turns."""
    low, high = (
        size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in (scaling.beta_fast, scaling.beta_slow)
    )
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    # As Hugging Face does where both borders are one pair.
    width = high - low or 0.001
    return 1 - np.clip((np.arange(size // 2) - low) / width, 0, 1)


def _yarn_attention_factor(scaling: YarnScaling) -> float:
    """0.1 ln(factor) + 1 (YaRN, equation 22), unless it is given."""
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0
