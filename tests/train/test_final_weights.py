"""`train.final_weights=best`: a run that gets worse again ends with the weights of its best pass, in both frameworks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from safetensors.numpy import load_file

from configs import RunConfig, UserError, load_run_config
from tests.train.runs import run_config, write_text
from train.diverged import Watch
from train.metrics import read_metrics
from train.objectives import prepare
from train.run_folder import CHECKPOINTS, SUMMARY, open_run, saved

LOSSES = [3.0, 1.0, 2.0, 1.5]


def train_in_pytorch(config: RunConfig, losses: list[float]) -> Path:
    from train.loop import Trainer
    from train.stop import Stop
    from train.summary import finish

    corpus, accelerator, run = prepare(config), Accelerator(cpu=True), open_run(config)
    trainer, stop = Trainer(config, accelerator, corpus, run), Stop()
    trainer.evaluate = lambda: {"validation_loss": losses.pop(0), "validation_accuracy": 0.5}  # type: ignore[method-assign]
    assert trainer.train(stop) == 0
    stop.end()
    finish(config, accelerator, corpus, run, trainer.model, 1.0)
    return run.path


def train_in_tensorflow(config: RunConfig, losses: list[float]) -> Path:
    from train.stop import Stop
    from train.tensorflow_loop import Trainer
    from train.tensorflow_summary import finish

    corpus, run, stop = prepare(config), open_run(config), Stop()
    trainer = Trainer(config, corpus, run)
    trainer.evaluate = lambda: {"validation_loss": losses.pop(0), "validation_accuracy": 0.5}  # type: ignore[method-assign]
    assert trainer.train(stop) == 0
    finish(config, corpus, run.path, trainer.model, trainer.state)
    return run.path


@pytest.mark.parametrize("train", [train_in_pytorch, train_in_tensorflow])
@pytest.mark.parametrize("final", ["best", "last"])
def test_the_folder_has_the_weights_of_the_step_that_was_asked_for(train: Any, final: str, tmp_path: Path) -> None:
    write_text(tmp_path)
    sizes = {"train__max_steps": 4, "train__evaluate_every": 1, "train__save_every": 1, "train__keep_checkpoints": 1}
    run = train(run_config(tmp_path, train__final_weights=final, **sizes), list(LOSSES))
    assert [row["validation_loss"] for row in read_metrics(run) if "validation_loss" in row] == LOSSES
    kept = [path.name for path in saved(run / CHECKPOINTS)]
    assert kept == (["step_2", "step_4"] if final == "best" else ["step_4"])
    expected, found = load_file(run / CHECKPOINTS / kept[0] / "model.safetensors"), load_file(run / "model.safetensors")
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight)
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    assert (summary["best_validation_loss"], summary["best_step"]) == (1.0, 2)
    assert summary["validation_loss"] == (1.0 if final == "best" else 1.5)


def test_checkpoints_before_the_first_pass_are_dropped_as_ever(tmp_path: Path) -> None:
    write_text(tmp_path)
    sizes = {"train__max_steps": 4, "train__evaluate_every": 4, "train__save_every": 1, "train__keep_checkpoints": 1}
    run = train_in_pytorch(run_config(tmp_path, train__final_weights="best", **sizes), [2.0])
    assert [path.name for path in saved(run / CHECKPOINTS)] == ["step_4"]


def test_the_best_has_to_be_a_checkpoint(tmp_path: Path) -> None:
    write_text(tmp_path)
    with pytest.raises(UserError, match="save_every=2 must divide evaluate_every=3"):
        run_config(tmp_path, train__final_weights="best", train__save_every=2)


def test_the_best_and_the_mean_of_the_last_are_two_things() -> None:
    with pytest.raises(UserError, match="average_checkpoints=2 is of the last checkpoints"):
        load_run_config("configs/runs/dates.yaml", ["train.final_weights=best", "evaluation.average_checkpoints=2"])


@pytest.mark.parametrize("train", [train_in_pytorch, train_in_tensorflow])
def test_the_time_of_steps_that_a_gpu_has_still_to_compute_is_no_pause(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each step took so long, and whoever looks had to wait for those before: saving and validating must not hide it."""
    look, seconds = Watch.look, 0.02

    def slow(self: Watch) -> tuple[float, float]:
        time.sleep(seconds * len(self.waiting))
        return look(self)

    monkeypatch.setattr(Watch, "look", slow)
    write_text(tmp_path)
    sizes = {"train__max_steps": 12, "train__evaluate_every": 5, "train__save_every": 3, "train__log_every": 4}
    rows = [row for row in read_metrics(train(run_config(tmp_path, **sizes), list(LOSSES))) if "tokens" in row]
    assert [row["step"] for row in rows] == [1, 4, 8, 12]
    assert max(row["tokens_per_second"] for row in rows) <= rows[0]["tokens"] / seconds
