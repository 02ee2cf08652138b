"""What becomes of pixels, as a preprocessor_config.json says."""

from __future__ import annotations

from typing import Any

import pytest

from configs import UserError
from weight_mapping.images import pixel_settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (1 / 255, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])),
        ({"image_mean": 0.0, "image_std": [1, 2, 3]}, (1 / 255, [0.0, 0.0, 0.0], [1.0, 2.0, 3.0])),
        ({"image_mean": None, "do_normalize": True, "rescale_factor": 1 / 127.5}, (1 / 127.5, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])),
        ({"do_normalize": False, "image_mean": 9.0, "do_rescale": False}, (1.0, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0])),
    ],
)
def test_scale_means_and_deviations(settings: dict[str, Any], expected: Any) -> None:
    assert pixel_settings(settings, 3, "file") == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_mean": [0.5]}, r"file: image_mean is \[0\.5\]; expected a number, or one for each of the 3 channels"),
        ({"image_std": "abc"}, "file: image_std is 'abc'; expected a number"),
        ({"image_std": [0.0, 1.0, 1.0]}, "file: image_std has a 0, and nothing can be divided by it"),
        ({"rescale_factor": None}, "file: rescale_factor is None; expected a number"),
    ],
)
def test_what_makes_no_sense(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        pixel_settings(settings, 3, "file")
