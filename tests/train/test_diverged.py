"""A run that goes wrong stops, and leaves what one needs to see why."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from configs import UserError
from tests.train.runs import metrics, train, write_text
from tests.train.test_batches import numbers
from train.batches import ExampleBatches
from train.diverged import Watch
from train.run_folder import RunFolder


def watch(folder) -> Watch:
    return Watch(RunFolder(folder, False), ExampleBatches(20, 5, 0, numbers))


def test_the_first_bad_step_is_found_though_it_is_looked_for_later(tmp_path):
    (tmp_path / "checkpoints" / "step_2").mkdir(parents=True)
    found = watch(tmp_path)
    for step, norm in [(1, 0.5), (2, 0.4), (3, float("inf")), (4, float("nan"))]:
        found.add(step, torch.tensor(norm))
    with pytest.raises(UserError, match=r"gradient is inf at step 3; its batch is in .*bad_batch_3.npz, .*checkpoints.step_2"):
        found.look(True)
    np.testing.assert_array_equal(np.load(tmp_path / "bad_batch_3.npz")["labels"], found.batches.batch(2).labels)


def test_a_diverging_loss_stops_the_run(tmp_path):
    found = watch(tmp_path)
    found.look_at(1, 4.0, True)
    found.look_at(2, 11.9, True)
    with pytest.raises(UserError, match=r"loss is 12.1000 at step 3, and it was 4.0000 at first: the run diverges; .*no checkpoint before"):
        found.look_at(3, 12.1, True)


def test_the_command_says_it_in_one_line(tmp_path):
    write_text(tmp_path)
    done = train(tmp_path, optimizer__learning_rate="1e30", train__max_steps=12, schedule__warmup_steps=0)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "at step" in line
    assert "lower optimizer.learning_rate" in line
    assert list((tmp_path / "runs" / "tiny").glob("bad_batch_*.npz"))
    assert all(np.isfinite(row["loss"]) for row in metrics(tmp_path / "runs" / "tiny"))
