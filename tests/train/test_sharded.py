"""Weights, gradients and moments in shares (FSDP2): the same curves, weights and checkpoints as whole ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train.runs import environment, metrics, write_text
from tests.train.test_training import tensors


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """All runs of tests/train/sharded.py, by two processes that share each model and by one."""
    folder = tmp_path_factory.mktemp("sharded")
    write_text(folder)
    script = ["-m", "tests.train.sharded", str(folder)]
    for start in (["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"], []):
        done = subprocess.run([sys.executable, *start, *script], env=environment(), cwd=folder, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert "view tensor" not in done.stderr
    return folder / "runs"


@pytest.mark.parametrize(
    ("one", "sharded"), [("one", "sharded"), ("one", "parts"), ("dates_one", "dates_sharded"), ("dates_one", "dates_replicated")]
)
def test_the_curve_and_the_weights_are_those_of_one_process(runs, one, sharded):
    """A decoder; the same in two accumulation steps with gradient checkpointing; an encoder-decoder; the same on replicas, resumed."""
    expected, found = metrics(runs / one), metrics(runs / sharded)
    assert len(expected) == len(found) == 8
    for row, other in zip(expected, found, strict=True):
        assert other == pytest.approx(row, abs=1e-6)
    weights, others = tensors(runs / one), tensors(runs / sharded)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        # Key biases have no gradient but rounding, which AdamW makes as large as any other.
        if not name.endswith("key.bias"):
            np.testing.assert_allclose(others[name], weight, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("whole", "stopped"), [("whole", "stopped"), ("dates_sharded", "dates_stopped")])
def test_saved_loaded_and_continued_it_ends_with_the_same_bits(runs, whole, stopped):
    """With dropout, and of an encoder-decoder."""
    assert metrics(runs / whole) == metrics(runs / stopped)
    for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors"):
        last = Path("checkpoints") / "step_6" / name
        assert (runs / whole / last).read_bytes() == (runs / stopped / last).read_bytes()


def test_the_moments_that_a_checkpoint_holds_are_whole_under_canonical_names(runs):
    weights, moments = tensors(runs / "whole"), load_file(runs / "whole" / "checkpoints" / "step_6" / "optimizer.safetensors")
    assert moments.keys() == {f"{name}.{moment}" for name in weights for moment in ("exp_avg", "exp_avg_sq", "step")}
    assert all(moments[f"{name}.exp_avg"].shape == weight.shape for name, weight in weights.items())


def test_bf16_computes_in_bf16_and_keeps_float32(runs):
    exact, found = metrics(runs / "one")[-1]["validation_loss"], metrics(runs / "bf16")[-1]["validation_loss"]
    assert 1e-6 < abs(found - exact) < 2e-2
    assert {weight.dtype for weight in tensors(runs / "bf16").values()} == {np.dtype(np.float32)}
