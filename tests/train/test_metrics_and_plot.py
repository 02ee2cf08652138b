"""Rows of work that was lost are dropped; the picture is drawn."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from configs import UserError
from tests.train.runs import ROOT
from train.metrics import MetricsLog, read_metrics
from train.plot import main, plot


def write_curve(folder, steps=40):
    folder.mkdir(exist_ok=True)
    log = MetricsLog(folder, 0)
    for step in range(1, steps + 1):
        log.write({"step": step, "loss": 2 + math.exp(-step / 10), "learning_rate": 1e-3 * step})
        if step % 10 == 0:
            log.write({"step": step, "validation_loss": 2.1})


def test_rows_after_the_step_of_resumption_are_dropped(tmp_path):
    write_curve(tmp_path)
    log = MetricsLog(tmp_path, 20)
    assert [row["step"] for row in read_metrics(tmp_path)] == [*range(1, 11), 10, *range(11, 21), 20]
    log.write({"step": 21})
    assert read_metrics(tmp_path)[-1] == {"step": 21}


def test_a_run_from_the_start_has_no_old_rows(tmp_path):
    write_curve(tmp_path)
    MetricsLog(tmp_path, 0)
    assert read_metrics(tmp_path) == []


def test_a_line_that_was_being_written_is_left_out(tmp_path):
    write_curve(tmp_path, 3)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    MetricsLog(tmp_path, 3).write({"step": 4})
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


def test_losses_keep_all_their_digits(tmp_path):
    MetricsLog(tmp_path, 0).write({"step": 1, "loss": 1.23456789012345, "tokens_per_second": 1234.56789})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.23456789012345, "tokens_per_second": 1234.57}]


def test_one_run_or_several_become_a_picture(tmp_path):
    write_curve(tmp_path / "a")
    write_curve(tmp_path / "b")
    for runs in (["a"], ["a", "b"]):
        plot([tmp_path / name for name in runs], tmp_path / "loss.png")
        assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"no steps in metrics.jsonl; name the folder of a run"):
        plot([tmp_path / "gone"], tmp_path / "loss.png")


def test_a_runs_picture_lies_in_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_curve(tmp_path / name)
    main(["a"])
    assert not (tmp_path / "loss.png").exists()
    main(["a", "b"])
    assert capsys.readouterr().out == f"wrote {Path('a/loss.png')}\nwrote {tmp_path / 'loss.png'}\n"
    assert all(path.is_file() for path in (tmp_path / "a" / "loss.png", tmp_path / "loss.png"))


def test_data_order_schedule_and_metrics_need_no_torch():
    """Another framework's trainer stands on them."""
    modules = ["sources.text", "sources.pairs", "tokenization", "objectives", "batches", "schedule", "metrics", "plot", "run_folder"]
    code = "import sys; sys.modules['torch'] = None; " + "; ".join(f"import train.{module}" for module in modules)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", ["curves.pdf", "nowhere/curves.png"])
def test_a_picture_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="the picture is a PNG in a folder that exists"):
        main([str(tmp_path), "--output", str(tmp_path / name)])
