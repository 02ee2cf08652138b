"""Recordings: WAV files and their log-mel spectra, held against Hugging Face's feature extractor."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from configs import UserError
from configs.audio import log_mel, mel_filters, read_recording, read_wav
from configs.parts import AudioInputs


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000, size: int = 2) -> Path:
    """samples: from -1 to 1, (time) or (time, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(size)
        file.setframerate(rate)
        file.writeframes((samples * 2**15).astype("<i2").tobytes() if size == 2 else bytes(samples.size * size))
    return path


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(int(16_000 * seconds)) * 0.01
    return (np.sin(2 * np.pi * hertz * np.arange(len(noise)) / 16_000) * 0.3 + noise).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.2, 30.0])
@pytest.mark.parametrize("mel_bins", [80, 128])
def test_the_spectrum_is_hugging_faces(seconds: float, mel_bins: int) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    samples = tone(seconds)
    expected = extractor(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
    found = log_mel(samples, AudioInputs(num_mel_bins=mel_bins))
    assert found.dtype == np.float32
    # Hugging Face computes it in float32, with PyTorch, and ours in float64.
    np.testing.assert_allclose(found, expected, atol=1e-4)
    padded = np.pad(samples, (0, extractor.n_samples - len(samples)))
    np.testing.assert_allclose(found, extractor._np_extract_fbank_features(padded[None], "cpu")[0], atol=3e-7)
    np.testing.assert_allclose(mel_filters(mel_bins), extractor.mel_filters, atol=1e-15)


def test_a_tone_is_loudest_where_it_stands() -> None:
    inputs = AudioInputs(num_mel_bins=80, length=50)
    low, high = (log_mel(tone(1.0, hertz), inputs).mean(1).argmax() for hertz in (440.0, 4_000.0))
    assert low < high
    filters = mel_filters(80)
    assert filters[round(440 / 40), low] > 0
    assert filters[round(4_000 / 40), high] > 0


def test_a_wav_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    samples = tone(0.5)
    np.testing.assert_allclose(read_wav(write_wav(tmp_path / "mono.wav", samples)), samples, atol=2**-15)
    both = np.stack([samples, -samples / 2], 1)
    np.testing.assert_allclose(read_wav(write_wav(tmp_path / "stereo.wav", both)), samples / 4, atol=2**-15)
    inputs = AudioInputs(length=50)
    np.testing.assert_array_equal(read_recording(tmp_path / "mono.wav", inputs), log_mel(read_wav(tmp_path / "mono.wav"), inputs))


def test_a_file_that_was_cut_off_ends_with_its_last_whole_sample(tmp_path: Path) -> None:
    samples = tone(0.1)
    for name, written, whole in (("mono", samples, 1599), ("stereo", np.stack([samples, samples], 1), 1599)):
        path = write_wav(tmp_path / f"{name}.wav", written)
        path.write_bytes(path.read_bytes()[:-1])
        assert len(read_wav(path)) == whole


def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio", encoding="utf-8")
    (tmp_path / "empty.wav").touch()
    mistakes = {
        tmp_path / "missing.wav": "missing.wav: No such file or directory; expected a WAV file",
        tmp_path / "text.wav": "text.wav: not readable as a WAV file (file does not start with RIFF id); ffmpeg -i",
        tmp_path / "empty.wav": "empty.wav: not readable as a WAV file (it is empty)",
        write_wav(tmp_path / "fast.wav", tone(0.1), rate=44_100): "has 44,100 samples a second of 16 bits; expected 16,000 of 16 bits",
        write_wav(tmp_path / "bytes.wav", tone(0.1), size=1): "has 16,000 samples a second of 8 bits",
        write_wav(tmp_path / "long.wav", tone(1.2)): "long.wav lasts 1.2 s; a model of these inputs hears up to 1.0 s: cut it",
        write_wav(tmp_path / "nothing.wav", tone(0.0)): "nothing.wav has samples of shape [0]; expected one after the other",
    }
    for path, message in mistakes.items():
        with pytest.raises(UserError) as caught:
            read_recording(path, AudioInputs(length=50))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
