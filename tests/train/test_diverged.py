"""A run that goes wrong stops at its first bad step, and leaves what one needs to see why."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import UserError
from tests.train.runs import environment, metrics, train, write_text
from tests.train.test_batches import numbers
from tests.train.test_processes import ON_CPU, TWO
from tests.train.test_tensorflow import config_of, start
from train.batches import ExampleBatches
from train.diverged import Watch
from train.run_folder import RunFolder

INF, NAN = float("inf"), float("nan")
# Bad from the second step on, though finite, and not logged, evaluated or saved before the last.
WILD = {"optimizer__learning_rate": "100", "schedule__warmup_steps": 0, "train__max_steps": 8}
SELDOM = {"train__log_every": 100, "train__evaluate_every": 100, "train__save_every": 100}


def watch(folder: Path, first_loss: float | None = None) -> Watch:
    return Watch(RunFolder(folder, False), ExampleBatches(20, 5, 0, numbers), list, first_loss)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(4.0, 0.5), (3.9, 0.4), (3.8, INF), (NAN, NAN)], "the gradient is inf at step 3"),
        ([(4.0, 0.5), (11.9, 0.4), (NAN, NAN), (3.0, 0.4)], "the loss is nan at step 3"),
        ([(4.0, 0.5), (11.9, 0.4), (20.2, 0.4), (3.0, 0.4)], "the loss is 20.2000 at step 3, and it was 4.0000 at first: the run diverges"),
    ],
)
def test_the_first_bad_step_is_found_though_it_is_looked_for_later(tmp_path, steps, message):
    (tmp_path / "checkpoints" / "step_2").mkdir(parents=True)
    found = watch(tmp_path)
    for step, (loss, norm) in enumerate(steps, 1):
        found.add(step, loss, norm)
    with pytest.raises(
        UserError, match=rf"{message}; its batch is in .*bad_batch_3.npz, .*checkpoints.step_2; begin anew .* and initial=.*step_2 to start"
    ):
        found.look()
    np.testing.assert_array_equal(np.load(tmp_path / "bad_batch_3.npz")["labels"], found.batches.batch(2).labels)


def test_a_look_gives_the_newest_step_though_nothing_waits(tmp_path):
    found = watch(tmp_path)
    for step, values in enumerate([(4.0, 0.5), (3.5, 0.25)], 1):
        found.add(step, *values)
    assert found.look() == found.look() == (3.5, 0.25)


def test_a_resumed_run_goes_by_the_loss_that_it_began_with(tmp_path):
    """Not by the low one that it goes on with: 2.0 is where it began to get better, and 0.5 where it stopped."""
    found = watch(tmp_path, first_loss=2.0)
    found.add(21, 0.5, 0.1)
    found.add(22, 9.0, 0.1)
    assert found.look() == (9.0, 0.1)
    found.add(23, 12.6, 0.1)
    with pytest.raises(UserError, match=r"12.6000 at step 23, and it was 2.0000 at first"):
        found.look()


def test_a_batch_that_is_odd_by_itself_is_no_divergence(tmp_path):
    """Of one text with a wrong label, say, of which a good model is sure; many in a row are none."""
    found = watch(tmp_path)
    for step, loss in enumerate([0.6, 0.5, 0.3, 0.2, 0.1, 9.0, 0.1, 0.1, 8.0, 0.1], 1):
        found.add(step, loss, 0.1)
        assert found.look() == (loss, 0.1)
    found.add(11, 13.0, 0.1)
    with pytest.raises(UserError, match=r"13.0000 at step 11, and it was 0.6000 at first"):
        found.look()


def test_the_command_says_it_in_one_line(tmp_path):
    """Though it logs, evaluates and saves at the last step only; the row of the first step stays, and nothing bad is saved."""
    write_text(tmp_path)
    done = train(tmp_path, **WILD, **SELDOM)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert re.search(r"the loss is \d+\.\d{4} at step 2, and it was \d\.\d{4} at first: the run diverges; its batch is in", line)
    assert line.endswith("begin anew (train.existing=new) with a lower optimizer.learning_rate or a longer schedule.warmup_steps")
    run = tmp_path / "runs" / "tiny"
    assert list(run.glob("bad_batch_*")) == [run / "bad_batch_2.npz"]
    assert not (run / "checkpoints").exists()
    assert [row["step"] for row in metrics(run)] == [1]


def test_two_processes_stop_together_at_the_same_step(tmp_path):
    write_text(tmp_path)
    done = train(tmp_path, *TWO, env=ON_CPU, **WILD, **SELDOM)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "at step 2, and it was" in line
    run = tmp_path / "runs" / "tiny"
    assert (run / "bad_batch_2.npz").exists()
    (row,) = metrics(run)
    assert row["loss"] == pytest.approx(math.log(32), abs=0.3), "the shares of both are summed: at first all 32 tokens are as probable"


def test_the_first_loss_is_kept_and_older_checkpoints_load_without(tmp_path):
    write_text(tmp_path)
    assert train(tmp_path).returncode == 0
    run = tmp_path / "runs" / "tiny"
    state = run / "checkpoints" / "step_6" / "state.json"
    values = json.loads(state.read_text())
    assert values["first_loss"] == metrics(run)[0]["loss"]
    del values["first_loss"]
    state.write_text(json.dumps(values))
    (run / "summary.json").unlink()
    done = train(tmp_path, train__existing="resume")
    assert done.returncode == 0, done.stderr


def test_tensorflow_names_the_first_bad_step_too(tmp_path):
    with pytest.raises(UserError, match=r"at step 2, and it was .*: the run diverges; .*bad_batch_2.npz, and there is no checkpoint"):
        start(config_of(tmp_path, **WILD, **SELDOM))
    assert (tmp_path / "small" / "bad_batch_2.npz").exists()
    assert not (tmp_path / "small" / "checkpoints").exists()
    assert [row["step"] for row in metrics(tmp_path / "small")] == [1]


def test_tensorflow_keeps_the_first_loss_in_its_checkpoints(tmp_path):
    start(config_of(tmp_path, train__max_steps=4, train__save_every=4))
    state = json.loads((tmp_path / "small" / "checkpoints" / "step_4" / "state.json").read_text())
    assert state["first_loss"] == metrics(tmp_path / "small")[0]["loss"]


def test_what_both_need_does_not_import_torch():
    """The TensorFlow trainer works where it is not installed."""
    program = "import sys, train.tensorflow_loop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=environment()).returncode == 0
