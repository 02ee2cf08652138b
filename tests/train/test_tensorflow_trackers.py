"""A TensorFlow run's metrics in TensorBoard and Weights & Biases: the points that PyTorch's trainer writes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.train.runs import metrics
from tests.train.test_tensorflow import config_of, start
from train import tensorflow_trackers, trackers
from train.run_folder import RunFolder

ROWS = [{"step": step, "loss": 4.0 - step, "tokens": 10 * step} for step in (1, 2, 3)]


def points(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: steps and values by tag."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("resumed_after", [0, 2])
@pytest.mark.parametrize("module", [trackers, tensorflow_trackers], ids=["pytorch", "tensorflow"])
def test_a_resumed_run_drops_the_points_that_come_again(tmp_path: Path, module: Any, resumed_after: int) -> None:
    """A run that was killed before its first checkpoint goes on after step 0."""
    config = config_of(tmp_path, train__trackers="[tensorboard]")
    first = module.Trackers(config, RunFolder(tmp_path / "run", False), 0)
    for row in ROWS:
        first.write(row)
    first.finish()
    second = module.Trackers(config, RunFolder(tmp_path / "run", True), resumed_after)
    for row in ROWS[resumed_after:]:
        second.write({**row, "loss": 0.5})
    second.finish()
    losses = [(1, 3.0), (2, 2.0), (3, 1.0)][:resumed_after] + [(row["step"], 0.5) for row in ROWS[resumed_after:]]
    assert points(tmp_path / "run") == {"loss": losses, "tokens": [(1, 10.0), (2, 20.0), (3, 30.0)]}


def test_every_row_of_the_metrics_is_there(tmp_path: Path) -> None:
    start(config_of(tmp_path, train__max_steps=4, train__evaluate_every=2, train__trackers="[tensorboard]"))
    run = tmp_path / "small"
    found = points(run)
    for name in ("loss", "validation_loss", "gradient_norm", "learning_rate"):
        expected = [(row["step"], pytest.approx(row[name], rel=1e-5)) for row in metrics(run) if name in row]
        assert expected
        assert found[name] == expected


def test_weights_and_biases_gets_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    run = SimpleNamespace(log=lambda values, step: said.append((step, values)), finish=lambda: said.append("finish"))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **settings: said.append(settings) or run))
    config = config_of(tmp_path, train__trackers="[wandb]")
    folder = tmp_path / "small"
    folder.mkdir()
    tracker = tensorflow_trackers.Trackers(config, RunFolder(folder, False), 0)
    tracker.write(ROWS[0])
    tracker.finish()
    settings, row, end = said
    assert (settings["project"], settings["name"], settings["resume"]) == ("transformer-twins", "small", "allow")
    assert settings["id"] == (folder / trackers.WANDB_ID).read_text()
    assert settings["config"]["train.max_steps"] == 12
    assert (row, end) == ((1, {"loss": 3.0, "tokens": 10}), "finish")
