"""A hundred steps of the same run in PyTorch, TensorFlow and Hugging Face: docs/training_curves.py draws what is tested here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parity import tolerances

PROGRAM = Path(__file__).parents[2] / "docs" / "training_curves.py"


def load_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_curves", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


training_curves = load_program()


@pytest.mark.parametrize(("dtype", "limit"), [("float32", tolerances.FLOAT32_CURVE), ("float64", tolerances.FLOAT64_STEPS)])
@pytest.mark.parametrize("run", list(training_curves.RUNS))
def test_a_hundred_steps_agree(run: str, dtype: str, limit: float) -> None:
    losses = training_curves.curves(run, dtype)
    assert set(losses) == {"PyTorch", "TensorFlow", "Hugging Face"}
    ours = losses["PyTorch"]
    assert len(ours) == 100
    assert ours[-10:].mean() < ours[0] - 0.5
    for curve in losses.values():
        np.testing.assert_allclose(curve, ours, rtol=0, atol=limit)
