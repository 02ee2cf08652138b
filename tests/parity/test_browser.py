"""Every model in a browser: what LiteRT.js makes of its file, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.browser import bare_page, browser, opened
from tests.parity.conftest import Subject
from tests.parity.rungs import entries
from transformer_tf.export import export_litert
from transformer_tf.export.check import examples
from transformer_tf.export.signatures import signatures

# Of the largest value.
APART = 1e-5
LONGEST = 24

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.mark.parametrize("subject", [entry for entry in entries() if entry.variant is None], indirect=True, ids=str)
def test_a_browser_gives_what_the_model_gives(subject: Subject, chromium: Any, tmp_path: Path) -> None:
    """The same numbers from one pass, and of whole texts, greedy and by beams, the same tokens."""
    model = subject.ours("tensorflow", "float32").model
    generates = subject.config.head.kind == "language_model"
    length = 4 if subject.config.inputs.kind == "audio" else 7
    for number, settings in enumerate([{"max_length": LONGEST}, {"max_length": LONGEST, "num_beams": 2}] if generates else [{}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        export_litert(model, folder / "model.tflite", static=True, length=length, **settings)
        bare_page(folder)
        with opened(chromium, folder) as page:
            for name, function in signatures(model, 1, settings, static=True, length=length).items():
                specs = {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
                inputs = examples(specs, subject.config, LONGEST if name == "generate" else subject.config.longest)
                expected = function(**{key: tf.constant(value) for key, value in inputs.items()})
                found = page.run(name, inputs)
                assert set(found) == set(expected)
                for output, value in expected.items():
                    flat = value.numpy().ravel()
                    if value.dtype.is_integer:
                        np.testing.assert_array_equal(found[output], flat)
                    else:
                        assert np.abs(found[output] - flat).max() <= APART * np.abs(flat).max()
