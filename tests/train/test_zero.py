"""Moments, gradients and weights dealt out by DeepSpeed's ZeRO: the same curves, weights and checkpoints as whole ones.

`pip install deepspeed`, then `pytest -m deepspeed`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import UserError
from tests.train.runs import environment, metrics, run_config, write_text
from tests.train.test_training import tensors
from tests.train.zero import STAGES
from train.zero import bytes_per_parameter, check_settings, complete, gradient_norm
from weight_mapping import initial_tensors, save

with_deepspeed = pytest.mark.deepspeed
# The run of one process, and the one that is to be equal to it.
PAIRS = [("odd_one", "odd"), ("dates_one", "dates"), *(("one", name) for name in ("stage", "parts", "left", "taken", "compiled"))]
SAME = [(stage, *pair) for stage in STAGES for pair in PAIRS if (stage, *pair) != (3, "one", "compiled")]


class Wrapped(NamedTuple):
    """As accelerate wraps DeepSpeed's engine."""

    norm: float

    def get_global_grad_norm(self) -> float:
        return self.norm


@pytest.mark.parametrize(("told", "norm"), [(2.5, 2.5), (0.0, 0.0), (-1.0, math.nan), (math.inf, math.inf)])
def test_a_gradient_that_is_not_finite_is_no_negative_number(told, norm):
    found = gradient_norm(SimpleNamespace(deepspeed_engine_wrapped=Wrapped(told)))
    assert float(found) == pytest.approx(norm, nan_ok=True)


@pytest.mark.parametrize(
    ("stage", "precision", "size"), [(1, "no", 11), (2, "no", 8), (3, "no", 5), (1, "bf16", 9), (2, "bf16", 6), (3, "bf16", 4.5)]
)
def test_what_a_parameter_takes_on_each_of_four_processes(stage, precision, size):
    """In bf16 2 bytes of weights, 4 of gradients, and 12 of float32 weights and moments."""
    assert bytes_per_parameter(stage, 4, precision) == size
    assert bytes_per_parameter(stage, 1, precision) == (18 if precision == "bf16" else 20)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zero_optimization": {"stage": 0}}, "stage 0 was asked for, which shares nothing"),
        ({"optimizer": {"type": "Lamb"}}, "and the run's config has optimizer for it; leave optimizer out"),
        ({"scheduler": {"type": "WarmupLR"}}, "leave scheduler out"),
        ({"gradient_clipping": 0.5}, r"gradient_clipping=0.5, and the run's config has optimizer.clip for it"),
        ({"gradient_accumulation_steps": 4}, r"the run's config has train.accumulation_steps for it"),
        ({"train_micro_batch_size_per_gpu": 4}, r"the run's config has train.batch_size for it"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}, "have offload_optimizer to cpu"),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}}, "have offload_param to nvme"),
        ({"zero_optimization": {}}, "cannot be read .*; they need zero_optimization.stage"),
        ({"zero_optimization": True}, "cannot be read"),
        ({"gradient_allreduce_op": "sum"}, "have gradient_allreduce_op, which this trainer has not been tried with; leave it out"),
        ({"zero_optimization": {"stage": 2, "compute_grad_norm": False}}, "have zero_optimization.compute_grad_norm"),
    ],
)
def test_settings_that_would_compete_with_the_runs_are_refused(tmp_path, monkeypatch, settings, message):
    path = tmp_path / "deepspeed.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}, **settings}))
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(path))
    with pytest.raises(UserError, match=message):
        check_settings()


def test_settings_for_speed_are_taken(tmp_path, monkeypatch):
    path = tmp_path / "deepspeed.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 3, "overlap_comm": True, "stage3_max_live_parameters": 10**8}}))
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(path))
    assert check_settings() == 3


def test_what_is_left_open_is_said_for_our_model():
    """Else accelerate would look for the width of a model of Hugging Face."""
    settings = {
        "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto", "overlap_comm": True}
    }
    complete(settings, parameters=1000, clip=None)
    assert settings["zero_optimization"] == {"stage": 3, "reduce_bucket_size": 1000, "overlap_comm": True}
    assert settings["gradient_clipping"] == 0.0
    settings = {"zero_optimization": {"stage": 2, "reduce_bucket_size": 500}}
    complete(settings, parameters=10**10, clip=0.5)
    assert settings["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 500}
    assert settings["gradient_clipping"] == 0.5


@pytest.mark.parametrize("stage", STAGES)
def test_the_launchers_settings_are_taken(monkeypatch, stage):
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", str(stage))
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    assert check_settings() == stage


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """All runs of tests/train/zero.py, by two processes that share each model and, whole, by one."""
    folder = tmp_path_factory.mktemp("zero")
    write_text(folder)
    config = run_config(folder).model
    rounded = {name: array.astype(ml_dtypes.bfloat16) for name, array in initial_tensors(config, 7)}
    save(folder / "initial", config, rounded.__getitem__, "run", dtype="bfloat16")
    script = ["-m", "tests.train.zero", str(folder)]
    for start in (["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"], []):
        ran = environment(DS_ACCELERATOR="cpu")
        done = subprocess.run([sys.executable, *start, *script], env=ran, cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    return folder / "runs"


@with_deepspeed
@pytest.mark.parametrize(("stage", "one", "shared"), SAME)
def test_the_curve_and_the_weights_are_those_of_one_process(runs, stage, one, shared):
    """A decoder; one with sizes that cannot be halved; two accumulation steps with gradient checkpointing; an encoder-decoder; a run that
    ends in replicas of the whole, and one that began in them; a compiled one, which stage 3 cannot be."""
    expected, found = metrics(runs / one), metrics(runs / f"{shared}_{stage}")
    assert len(expected) == len(found) == 8
    for row, other in zip(expected, found, strict=True):
        assert other == pytest.approx(row, abs=1e-6)
    weights, others = tensors(runs / one), tensors(runs / f"{shared}_{stage}")
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        # Key biases have no gradient but rounding, which AdamW makes as large as any other.
        if not name.endswith("key.bias"):
            np.testing.assert_allclose(others[name], weight, atol=2e-5, err_msg=name)


@with_deepspeed
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["dropout", "bf16", "odd_bf16"])
def test_saved_loaded_and_continued_it_ends_with_the_same_bits(runs, stage, name):
    """With dropout, and in bf16, where the float32 weights are kept."""
    one, other = runs / f"{name}_{stage}", runs / f"{name}_stopped_{stage}"
    assert metrics(one) == metrics(other)
    for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors"):
        last = Path("checkpoints") / "step_6" / name
        assert (one / last).read_bytes() == (other / last).read_bytes()


@with_deepspeed
@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_is_that_of_one_process(runs, stage):
    """The same names, whole, and the same numbers but for rounding."""
    last = Path("checkpoints") / "step_6" / "optimizer.safetensors"
    expected, found = load_file(runs / "one" / last), load_file(runs / f"stage_{stage}" / last)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


@with_deepspeed
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("one", "name"), [("one", "bf16"), ("odd_one", "odd_bf16"), ("dates_one", "dates_bf16"), ("one", "bf16_parts")])
def test_bf16_computes_in_bf16_and_keeps_float32(runs, stage, one, name):
    """With positions that are learned, rotary and of sines, and in parts."""
    exact, found = metrics(runs / one)[-1]["validation_loss"], metrics(runs / f"{name}_{stage}")[-1]["validation_loss"]
    assert 1e-6 < abs(found - exact) < 2e-2
    weights = tensors(runs / f"{name}_{stage}")
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float32)}
    # bf16 has 16 bits of float32's 32.
    assert any((weight.view(np.uint32) & 0xFFFF).any() for weight in weights.values())


@with_deepspeed
@pytest.mark.parametrize("stage", STAGES)
def test_bf16_starts_from_the_float32_weights(runs, stage):
    """And not from what bf16 made of them: after one step of next to no length the checkpoint has them."""
    start, found = (load_file(runs / name / "checkpoints" / "step_1" / "model.safetensors") for name in ("still", f"still_{stage}"))
    for name, weight in start.items():
        np.testing.assert_allclose(found[name], weight, rtol=0, atol=1e-20, err_msg=name)


@with_deepspeed
@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_in_bf16_is_what_a_run_starts_from(runs, stage):
    start, found = load_file(runs.parent / "initial" / "model.safetensors"), load_file(runs / f"initial_{stage}" / "model.safetensors")
    for name, weight in start.items():
        np.testing.assert_allclose(found[name], weight.astype(np.float32), rtol=0, atol=1e-20, err_msg=name)


@with_deepspeed
@pytest.mark.parametrize("stage", STAGES)
def test_a_loss_that_is_not_finite_stops_the_run(runs, stage):
    assert "the loss is nan at step 2" in (runs / f"wrong_{stage}.txt").read_text()
