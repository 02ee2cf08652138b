"""What runs in TensorFlow is told: how many devices share a step, how many threads compute, and what compiles it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs import UserError
from parity import tolerances
from tests.train.runs import environment, metrics
from tests.train.test_tensorflow import CHANGES, config_of, start
from train.tensorflow_loop import Trainer, program_note

GOES_ON = "the checkpoint was saved by 1 device, and 2 go on: a step's examples are those of the whole run"


@pytest.mark.slow
def test_another_number_of_devices_goes_on_with_the_same_curve(tmp_path: Path) -> None:
    assert start(config_of(tmp_path, name="small_tensorflow", train__save_every=4))[0] == 0
    run = tmp_path / "small_tensorflow"
    whole = metrics(run)
    shutil.rmtree(run / "checkpoints" / "step_12")
    command = [sys.executable, "-m", "train.tensorflow", "configs/runs/gpt2_stdlib.yaml", *CHANGES, "train.save_every=4"]
    command += [f"data.path={tmp_path / 'text.txt'}", f"train.output={tmp_path}", "train.existing=resume", "train.num_processes=2"]
    done = subprocess.run([*command, "train.cpu_threads=1"], env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert GOES_ON in done.stdout
    assert "1 threads a process; 2 device(s), float32" in done.stdout
    for row, goes_on in zip(whole, metrics(run), strict=True):
        assert goes_on == pytest.approx(row, rel=tolerances.FLOAT32_CURVE)
    assert json.loads((run / "checkpoints" / "step_12" / "state.json").read_text())["processes"] == 2


def test_train_compile_says_that_every_step_is_a_program_already(tmp_path: Path) -> None:
    from train.objectives import prepare

    (plain, asked) = (config_of(tmp_path, train__compile=value) for value in ("false", "true"))
    assert Trainer(plain, prepare(plain)).notes == []
    assert Trainer(asked, prepare(asked)).notes == [program_note(xla=True)]
    assert "compiled by XLA" in program_note(xla=True)
    assert "XLA does not compile" in program_note(xla=False)


def test_threads_that_cannot_be_had_any_more_are_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    from train.tensorflow_devices import use_threads

    tf.constant(1.0)
    with pytest.raises(UserError, match=r"TensorFlow is in use already and cannot take train.cpu_threads=77"):
        use_threads(config_of(tmp_path, train__cpu_threads=77))
