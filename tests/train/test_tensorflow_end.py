"""How a TensorFlow run ends: with what a PyTorch run tells and leaves behind, also where there is no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train.runs import DATES, environment
from weight_mapping import Checkpoint

# What `pip install -e .[tensorflow]` does not install.
ABSENT = ["torch", "transformers", "accelerate", "datasets", "sklearn", "sacremoses"]
WITHOUT = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Absent())
from configs import run_command
from train.tensorflow import main
run_command(main)
"""


def said_by(folder: Path, *start: str) -> str:
    """What a command prints on a tiny run on dates."""
    command = [sys.executable, *start, "configs/runs/dates.yaml", *DATES, f"train.output={folder}"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


def run_dates(folder: Path, *start: str) -> tuple[Path, str]:
    """The run: its folder, and what it has printed."""
    said = said_by(folder, *start)
    return next(folder.iterdir()), said


def end(said: str) -> list[str]:
    """The lines about the finished run."""
    return [line for line in said[said.index("validation loss  ") :].splitlines() if line[15:17] == "  " and line[:1] != "s"]


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return run_dates(tmp_path_factory.mktemp("tensorflow"), "-c", WITHOUT)


@pytest.fixture(scope="module")
def pytorch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return run_dates(tmp_path_factory.mktemp("pytorch"), "-m", "train")


def test_it_tells_what_pytorch_tells(tensorflow: tuple[Path, str], pytorch: tuple[Path, str]) -> None:
    (folder, said), (twin, twin_said) = tensorflow, pytorch
    assert [line[:17] for line in end(said)] == [line[:17] for line in end(twin_said)]
    assert "1 device(s), float32" in said
    assert said.split("sample\n")[1].count("→") == 3
    summary, twin_summary = (json.loads((path / "summary.json").read_text()) for path in (folder, twin))
    assert set(summary) ^ set(twin_summary) == {"torch", "tensorflow"}
    for name in ("hardware", "processes", "precision", "examples", "num_beams", "averaged_checkpoints", "reference_tokens"):
        assert summary[name] == twin_summary[name], name
    assert summary["validation_loss"] == pytest.approx(twin_summary["validation_loss"], rel=0.05)


def test_the_figures_of_the_test_are_those_of_its_answers(tensorflow: tuple[Path, str]) -> None:
    """By PyTorch, from the folder."""
    from train.evaluate import evaluate

    folder, _ = tensorflow
    summary, answers = json.loads((folder / "summary.json").read_text()), (folder / "answers.txt").read_text()
    figures = evaluate(folder)
    assert (folder / "answers.txt").read_text() == answers
    for name in ("validation_loss", "validation_accuracy", "bleu", "exact_match"):
        assert figures[name] == pytest.approx(summary[name], rel=1e-5, abs=1e-9), name


def test_the_mean_of_its_checkpoints_is_tested(tensorflow: tuple[Path, str]) -> None:
    folder, _ = tensorflow
    name = "encoder.layers.0.feed_forward.up.weight"
    files = [load_file(folder / "checkpoints" / f"step_{step}" / "model.safetensors") for step in (4, 8, 12)]
    with Checkpoint(folder / "averaged") as checkpoint:
        found = dict(checkpoint.tensors())[name]
    np.testing.assert_allclose(found, np.mean([file[name] for file in files], axis=0), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ("digits.yaml", "data.source=digits needs scikit-learn: pip install scikit-learn"),
        ("hub/sst2.yaml", "data.source=hub needs datasets"),
    ],
)
def test_data_that_needs_more_says_what_to_install(tmp_path: Path, config: str, advice: str) -> None:
    command = [sys.executable, "-c", WITHOUT, f"configs/runs/{config}", f"train.output={tmp_path}"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {advice}")
