"""What Hugging Face's preprocessor_config.json says of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import UserError
from weight_mapping.checkpoint import read_json

PREPROCESSOR = "preprocessor_config.json"
# Of ViT, where the file says nothing.
HALF, SCALE = 0.5, 1 / 255


def read_pixel_settings(folder: Path, channels: int) -> tuple[float, list[float], list[float]]:
    """`pixel_settings` of a checkpoint's folder, whether it has such a file or not."""
    file = folder / PREPROCESSOR
    return pixel_settings(read_json(file) if file.is_file() else {}, channels, str(file))


def pixel_settings(settings: Mapping[str, Any], channels: int, where: str) -> tuple[float, list[float], list[float]]:
    """Scale, means and deviations: a pixel of 0 to 255 becomes (pixel * scale - mean) / deviation in its channel.

    settings: the content of `where`, or nothing. How pictures are cut and resized is not read. Raises UserError for values that are no
    numbers, or not one for each channel, and for deviations of 0.
    """
    scale = settings.get("rescale_factor", SCALE) if settings.get("do_rescale", True) else 1.0
    if not _is_number(scale):
        raise UserError(f"{where}: rescale_factor is {scale!r}; expected a number")
    if not settings.get("do_normalize", True):
        return scale, [0.0] * channels, [1.0] * channels
    mean, deviation = (_each(settings, key, channels, where) for key in ("image_mean", "image_std"))
    if 0 in deviation:
        raise UserError(f"{where}: image_std has a 0, and nothing can be divided by it; expected other numbers")
    return scale, mean, deviation


def _each(settings: Mapping[str, Any], key: str, channels: int, where: str) -> list[float]:
    """A number for each channel: one for all, or a list of them."""
    value = HALF if settings.get(key) is None else settings[key]
    values = [value] * channels if _is_number(value) else value
    if not isinstance(values, list) or len(values) != channels or not all(map(_is_number, values)):
        raise UserError(f"{where}: {key} is {value!r}; expected a number, or one for each of the {channels} channels")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
