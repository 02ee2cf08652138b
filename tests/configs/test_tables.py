"""The tables that both frameworks share, against the papers' formulas written out and against Hugging Face's functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.t5.modeling_t5 import T5Attention

from configs import (
    ModelConfig,
    UserError,
    dynamic_frequencies,
    load_model_config,
    relative_buckets,
    rotary_cosines,
    rotary_frequencies,
    rotary_sines,
    sinusoidal_table,
)
from configs.tables import audio_table
from parity.true_float64 import true_float64

# Our scaling, and Hugging Face's spelling of it.
SCALINGS = {
    "linear": ("{kind: linear, factor: 3.5}", {"rope_type": "linear", "factor": 3.5}),
    "llama3": (
        "{kind: llama3, factor: 8.0, original_max_length: 60, low_frequency_factor: 1.5, high_frequency_factor: 3.0}",
        {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 60, "low_freq_factor": 1.5, "high_freq_factor": 3.0},
    ),
    "llama3 as published": (
        "{kind: llama3, factor: 32.0, original_max_length: 8192}",
        {"rope_type": "llama3", "factor": 32.0, "original_max_position_embeddings": 8192, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ),
    "yarn": (
        "{kind: yarn, factor: 16.0, original_max_length: 4096}",
        {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096},
    ),
    "yarn over max_length": (
        "{kind: yarn, factor: 4.0, beta_fast: 5.0, beta_slow: 0.5, truncate: false}",
        {"rope_type": "yarn", "factor": 4.0, "beta_fast": 5.0, "beta_slow": 0.5, "truncate": False},
    ),
    "yarn with its factor": (
        "{kind: yarn, factor: 4.0, attention_factor: 0.7, beta_fast: 3.0}",
        {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.7, "beta_fast": 3.0},
    ),
    "yarn, a factor below one": ("{kind: yarn, factor: 0.5}", {"rope_type": "yarn", "factor": 0.5}),
    "yarn, too short for its borders": (
        "{kind: yarn, factor: 4.0, original_max_length: 2}",
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2},
    ),
    "yarn, too long for its borders": (
        "{kind: yarn, factor: 4.0, original_max_length: 4000000, beta_fast: 2000.0}",
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4000000, "beta_fast": 2000.0},
    ),
    "yarn with one border": (
        "{kind: yarn, factor: 4.0, beta_fast: 2.0, beta_slow: 2.0, truncate: false}",
        {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 2.0, "truncate": False},
    ),
}


def rotary_config(scaling: str = "null", base: float = 500.0, fraction: float = 1.0, more: str = "") -> ModelConfig:
    """Heads of 64 values and positions up to 96."""
    positions = f"positions={{kind: rotary, base: {base}, fraction: {fraction}, scaling: {scaling}{more}}}"
    return load_model_config("gpt2-mini", [positions, "max_length=96"])


def llama_config(scaling: dict[str, Any], base: float = 500.0, fraction: float = 1.0) -> LlamaConfig:
    parameters = {"rope_theta": base, "partial_rotary_factor": fraction, **scaling}
    return LlamaConfig(head_dim=64, max_position_embeddings=96, rope_parameters=parameters)


def test_rotary_angles() -> None:
    """RoFormer, equation 15: pair i of position n turns by n * base ** (-2 i / K)."""
    config = load_model_config("gpt2-mini", ["positions={kind: rotary, base: 500.0, fraction: 0.5}", "max_length=9"])
    cosines, sines = rotary_cosines(config), rotary_sines(config)
    assert cosines.shape == sines.shape == (9, 16)
    for position, i in [(0, 0), (3, 0), (5, 7), (8, 15)]:
        angle = position * 500.0 ** (-2 * i / 32)
        assert math.isclose(cosines[position, i], math.cos(angle), abs_tol=1e-15)
        assert math.isclose(sines[position, i], math.sin(angle), abs_tol=1e-15)


@pytest.mark.parametrize("base", [500.0, 500000.0])
@pytest.mark.parametrize("fraction", [1.0, 0.25])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaled_frequencies_are_hugging_faces(scaling: str, fraction: float, base: float) -> None:
    ours, theirs = SCALINGS[scaling]
    frequencies, factor = rotary_frequencies(rotary_config(ours, base, fraction))
    with true_float64():
        expected, expected_factor = ROPE_INIT_FUNCTIONS[theirs["rope_type"]](llama_config(theirs, base, fraction))
    assert expected.dtype == torch.float64
    np.testing.assert_allclose(frequencies, expected.numpy(), rtol=1e-15, atol=0)
    assert factor == expected_factor


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_scalings_differ(scaling: str) -> None:
    """Each moves some frequency or the factor by more than a part in a hundred, so that none could stand for another unseen."""
    frequencies, factor = rotary_frequencies(rotary_config(SCALINGS[scaling][0]))
    for other, (ours, _) in SCALINGS.items():
        if other != scaling:
            other_frequencies, other_factor = rotary_frequencies(rotary_config(ours))
            assert np.max(np.abs(frequencies / other_frequencies - 1)) > 0.01 or abs(factor / other_factor - 1) > 0.01, other


def test_tables_carry_the_factor() -> None:
    config = rotary_config(SCALINGS["yarn with its factor"][0])
    cosines, sines = rotary_cosines(config), rotary_sines(config)
    frequencies, _ = rotary_frequencies(config)
    np.testing.assert_allclose(cosines[5], 0.7 * np.cos(5 * frequencies), rtol=1e-15)
    np.testing.assert_allclose(sines[5], 0.7 * np.sin(5 * frequencies), rtol=1e-15)


def test_windowed_layers() -> None:
    """A base of their own is not scaled; without one they turn as full layers do."""
    scaling = SCALINGS["yarn with its factor"][0]
    own = rotary_config(scaling, more=", window_base: 70.0")
    shared = rotary_config(scaling)
    for table in (rotary_cosines, rotary_sines):
        np.testing.assert_array_equal(table(own, windowed=True), table(rotary_config(base=70.0)))
        np.testing.assert_array_equal(table(own), table(rotary_config(scaling)))
        np.testing.assert_array_equal(table(shared, windowed=True), table(shared))


@pytest.mark.parametrize("fraction", [1.0, 0.25])
def test_dynamic_frequencies_are_hugging_faces(fraction: float) -> None:
    """Row n - 1 is what Hugging Face's layer uses in its first call, of n positions; up to the original length nothing changes."""
    config = rotary_config("{kind: dynamic, factor: 2.7}", fraction=fraction)
    frequencies = dynamic_frequencies(config)
    assert frequencies.shape == (259, config.rotary_size // 2)
    for length in (1, 95, 96, 97, 130, 259):
        with true_float64():
            layer = LlamaRotaryEmbedding(llama_config({"rope_type": "dynamic", "factor": 2.7}, fraction=fraction))
            layer(torch.zeros(1), torch.arange(length)[None])
        np.testing.assert_allclose(frequencies[length - 1], layer.inv_freq.numpy(), rtol=1e-15, atol=0)
    np.testing.assert_allclose(frequencies[95], rotary_frequencies(config)[0], rtol=1e-15, atol=0)
    assert frequencies[96, -1] < frequencies[95, -1]


def test_dynamic_frequencies_from_another_original_length() -> None:
    """max_length is then the longest, and the frequencies are those of a model that ends at the original length."""
    frequencies = dynamic_frequencies(rotary_config("{kind: dynamic, factor: 2.0, original_max_length: 48}"))
    positions = "positions={kind: rotary, base: 500.0, scaling: {kind: dynamic, factor: 2.0}}"
    short = load_model_config("gpt2-mini", [positions, "max_length=48"])
    np.testing.assert_array_equal(frequencies, dynamic_frequencies(short))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("num_buckets", "max_distance"),
    [(32, 128), (8, 20), (16, 50), (64, 256), (32, 512), (20, 37), (36, 32), (36, 50), (40, 640), (72, 100), (108, 128)],
)
def test_relative_buckets_are_hugging_faces(num_buckets: int, max_distance: int, bidirectional: bool, monkeypatch) -> None:
    """In one direction, float64 or NumPy's own float32 logarithm would fail on each pair after the sixth.

    There a distance lies on a border, and the last digit of PyTorch's float32 logarithm, which is not the same on every processor,
    decides; it is given the right one.
    """
    if num_buckets >= 36 and num_buckets != 64:
        logarithm = torch.log
        monkeypatch.setattr(torch, "log", lambda values: logarithm(values.double()).float())
    positions = f"positions={{kind: relative, num_buckets: {num_buckets}, max_distance: {max_distance}}}"
    buckets = relative_buckets(load_model_config("gpt2-mini", [positions]), bidirectional)
    assert buckets.shape == (2 * max_distance + 1,)
    assert buckets.dtype == np.int64
    distances = np.arange(-1000, 1001)
    expected = T5Attention._relative_position_bucket(torch.from_numpy(distances), bidirectional, num_buckets, max_distance)
    np.testing.assert_array_equal(buckets[np.clip(distances, -max_distance, max_distance) + max_distance], expected.numpy())


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids(width: int) -> None:
    """ "Attention Is All You Need", 3.5. An odd width ends in a sine."""
    overrides = [f"width={width}", "attention={num_heads: 1}", "max_length=5"]
    table = sinusoidal_table(load_model_config("gpt2-mini", ["positions={kind: sinusoidal}", *overrides]))
    halves = sinusoidal_table(load_model_config("gpt2-mini", ["positions={kind: sinusoidal, layout: halves}", *overrides]))
    assert table.shape == (5, width)
    for position in range(5):
        for column in range(width):
            angle = position / 10000 ** (2 * (column // 2) / width)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert math.isclose(table[position, column], expected, abs_tol=1e-15)
    np.testing.assert_array_equal(halves, np.concatenate([table[:, 0::2], table[:, 1::2]], axis=1))


@pytest.mark.parametrize("width", [16, 17])
def test_halves_are_marians(width: int) -> None:
    """Marian keeps its table in float32."""
    overrides = [f"width={width}", "attention={num_heads: 1}", "max_length=50"]
    table = sinusoidal_table(load_model_config("gpt2-mini", ["positions={kind: sinusoidal, layout: halves}", *overrides]))
    expected = MarianSinusoidalPositionalEmbedding(50, width).create_weight()
    np.testing.assert_array_equal(table.astype(np.float32), expected.numpy())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="max_distance=8 is not more than the 8 distances"):
        relative_buckets(load_model_config("gpt2-mini", ["positions={kind: relative, num_buckets: 16, max_distance: 8}"]), False)
    with pytest.raises(UserError, match="the 0 distances"):
        relative_buckets(load_model_config("gpt2-mini", ["positions={kind: relative, num_buckets: 2}"]), True)
    with pytest.raises(UserError, match="size is 2"):
        dynamic_frequencies(rotary_config("{kind: dynamic, factor: 2.0}", fraction=2 / 64))
    with pytest.raises(UserError, match=r"low_frequency_factor=4\.0 is not less than"):
        rotary_frequencies(rotary_config("{kind: llama3, factor: 8.0, original_max_length: 60, low_frequency_factor: 4.0}"))


def test_an_encoder_of_audio_has_hugging_faces_sines() -> None:
    from transformers.models.whisper.modeling_whisper import sinusoids

    np.testing.assert_allclose(audio_table(1500, 384), sinusoids(1500, 384).double().numpy(), atol=1e-4)
    # Hugging Face's are float32's: the formula of the original, once more, in float64.
    step = math.log(10000) / (384 // 2 - 1)
    angles = np.arange(1500)[:, None] * np.exp(-step * np.arange(192))
    np.testing.assert_allclose(audio_table(1500, 384), np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-12)
