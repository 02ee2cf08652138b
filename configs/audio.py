"""From a recording to what an encoder of audio reads: a log-mel spectrum (Whisper, Radford et al. 2022, 2.2), in NumPy.

C channels (mel bins), X image width (frames).
"""

from __future__ import annotations

import os
import wave

import numpy as np

from configs.errors import UserError
from configs.parts import AudioInputs

RATE = 16_000  # samples a second
WINDOW, HOP = 400, 160  # samples: 25 ms, and every 10 ms
HIGHEST = 8_000.0  # hertz


def read_recording(path: str | os.PathLike[str], inputs: AudioInputs) -> np.ndarray:
    """A WAV file as the log-mel spectrum (C, X) that a model of these inputs reads. Raises UserError for what is no such file."""
    return log_mel(read_wav(path), inputs, str(path))


def read_wav(path: str | os.PathLike[str]) -> np.ndarray:
    """The samples of a WAV file, from -1 to 1; several channels become their mean."""
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, size = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; expected a WAV file") from None
    except (wave.Error, EOFError) as error:
        raise UserError(f"{path}: not readable as a WAV file ({str(error) or 'it is empty'}); {advice(path)}") from None
    if rate != RATE or size != 2:
        raise UserError(f"{path} has {rate:,} samples a second of {8 * size} bits; expected {RATE:,} of 16 bits: {advice(path)}")
    # A file that was cut off may end within a sample.
    whole = len(data) - len(data) % (size * channels)
    samples = np.frombuffer(data[:whole], "<i2").reshape(-1, channels).mean(1)
    return (samples / 2**15).astype(np.float32)


def advice(path: str | os.PathLike[str]) -> str:
    return f"ffmpeg -i {path} -ar {RATE} -ac 1 -c:a pcm_s16le heard.wav makes one"


def log_mel(samples: np.ndarray, inputs: AudioInputs, where: str = "the recording") -> np.ndarray:
    """The log-mel spectrum (C, X) of samples, 16,000 a second; silence fills them up to the length that the model hears.

    Raises UserError for more than that, and for none.
    """
    room = inputs.num_frames * HOP
    if samples.ndim != 1 or not len(samples):
        raise UserError(f"{where} has samples of shape {list(samples.shape)}; expected one after the other, at least one")
    if len(samples) > room:
        raise UserError(f"{where} lasts {len(samples) / RATE:.1f} s; a model of these inputs hears up to {room / RATE:.1f} s: cut it")
    padded = np.pad(np.pad(samples, (0, room - len(samples))), WINDOW // 2, mode="reflect")
    window = np.hanning(WINDOW + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: inputs.num_frames]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    spectrum_XC = np.log10(np.maximum(power @ mel_filters(inputs.num_mel_bins), 1e-10))
    spectrum_XC = (np.maximum(spectrum_XC, spectrum_XC.max() - 8.0) + 4.0) / 4.0
    return np.ascontiguousarray(spectrum_XC.T, np.float32)


def mel_filters(count: int) -> np.ndarray:
    """Triangles (frequencies, C) of equal area, evenly apart in mels (Slaney 1998): up to 1 kHz those are even, above logarithmic."""
    corners = hertz(np.linspace(0.0, mels(HIGHEST), count + 2))
    frequencies = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)
    distances = np.diff(corners)
    rising = (frequencies[:, None] - corners[:-2]) / distances[:-1]
    falling = (corners[2:] - frequencies[:, None]) / distances[1:]
    return np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (corners[2:] - corners[:-2])


def mels(frequency: float) -> float:
    return frequency * 3 / 200 if frequency < 1000 else 15 + 27 * np.log(frequency / 1000) / np.log(6.4)


def hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
