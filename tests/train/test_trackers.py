"""What trackers are told; wandb is a stand-in, that it need not be installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import PartialState

from tests.train.runs import run_config
from train.run_folder import RunFolder
from train.trackers import Trackers


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What wandb.init was called with, and what was logged, in the order of the starts."""
    PartialState()
    found: list[dict[str, Any]] = []

    def init(**asked: Any) -> SimpleNamespace:
        found.append({**asked, "logged": []})
        log = found[-1]["logged"]
        return SimpleNamespace(log=lambda values, step: log.append((step, values)), finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return found


def track(folder: Path, step: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trackers = Trackers(run_config(folder, train__trackers="[wandb]"), RunFolder(folder, step > 0), step)
    trackers.write({"step": step + 1, "loss": 3.0})
    trackers.finish()


def test_a_resumed_run_goes_on_as_the_same_run_of_wandb(tmp_path, started):
    track(tmp_path / "tiny")
    track(tmp_path / "tiny", step=20)
    first, second = started
    assert first["id"] == second["id"] == (tmp_path / "tiny" / "wandb_id.txt").read_text()
    assert first["resume"] == second["resume"] == "allow"
    assert (first["logged"], second["logged"]) == ([(1, {"loss": 3.0})], [(21, {"loss": 3.0})])


def test_runs_of_the_same_name_are_not_mixed(tmp_path, started):
    """The same config, on another machine or below another train.output."""
    track(tmp_path / "here" / "tiny")
    track(tmp_path / "there" / "tiny")
    assert [run["name"] for run in started] == ["tiny", "tiny"]
    assert started[0]["id"] != started[1]["id"]
