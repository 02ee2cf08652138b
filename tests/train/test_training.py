"""Real runs from the command line: complete, the same for any number of processes, and the same after being killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import transformer_torch
from configs import load_run_config
from tests.train.runs import command, environment, metrics, overrides, run_config, train, write_text
from train.objectives import prepare
from transformer_torch import cross_entropy
from weight_mapping import Checkpoint

DROPOUT = {"model__dropout": 0.2}
LONG = {"train__max_steps": 240, "train__save_every": 10, "train__evaluate_every": 100, "train__log_every": 10, **DROPOUT}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    write_text(folder)
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """A run of one process, started without a launcher."""
    done = train(folder, name="one", train__sample_prompt="the cat")
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "one", done


def tensors(run: Path) -> dict[str, np.ndarray]:
    with Checkpoint(run) as checkpoint:
        return dict(checkpoint.tensors())


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def has_reached(run: Path, step: int) -> bool:
    """Whether a checkpoint of this step or a later one is there: older ones do not stay."""
    return any(int(path.name.removeprefix("step_")) >= step for path in (run / "checkpoints").glob("step_*"))


def test_the_finished_folder_is_complete(folder, finished):
    run, _ = finished
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "checkpoints",
        "loss.png",
        "metrics.jsonl",
        "model.safetensors",
        "model.yaml",
        "run.yaml",
        "summary.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert not list(run.glob(".*.part"))
    assert load_run_config(run / "run.yaml").name == "one"
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step_4", "step_6"]
    assert (run / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_summary_is_what_the_loaded_model_does(folder, finished):
    run, done = finished
    summary = json.loads((run / "summary.json").read_text())
    corpus = prepare(run_config(folder))
    model = transformer_torch.load(run)
    with torch.inference_mode():
        batches = [(torch.from_numpy(batch.inputs["input_ids"]), torch.from_numpy(batch.labels)) for batch in corpus.validation.batches()]
        total = sum(float(cross_entropy(model(inputs_BT), labels_BT)) for inputs_BT, labels_BT in batches)
        right = sum(int((model(inputs_BT).argmax(-1) == labels_BT).sum()) for inputs_BT, labels_BT in batches)
    assert summary["validation_accuracy"] == pytest.approx(right / corpus.validation.targets)
    assert summary["validation_loss"] == pytest.approx(total / corpus.validation.targets, abs=1e-6)
    assert summary["perplexity"] == pytest.approx(np.exp(summary["validation_loss"]))
    assert summary["tokens"] == 6 * 8 * 16
    assert (summary["processes"], summary["precision"], summary["steps"]) == (1, "float32", 6)
    assert summary["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert f"validation loss  {summary['validation_loss']:.4f}" in done.stdout
    assert "| the cat" in done.stdout


def test_the_loss_falls(finished):
    rows = metrics(finished[0])
    losses = [row["loss"] for row in rows if "loss" in row]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "validation_loss" in row] == [3, 6]
    assert losses[0] == pytest.approx(np.log(32), abs=0.2)
    assert losses[-1] < losses[0] - 0.05


def test_two_processes_give_the_curve_of_one(folder, finished):
    done = train(folder, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", env={"ACCELERATE_USE_CPU": "true"}, name="two")
    assert done.returncode == 0, done.stderr
    same_curve(finished[0], folder / "runs" / "two")
    assert json.loads((folder / "runs" / "two" / "summary.json").read_text())["processes"] == 2


def test_accumulation_gives_the_same_curve(folder, finished):
    done = train(folder, name="accumulated", train__accumulation_steps=4)
    assert done.returncode == 0, done.stderr
    same_curve(finished[0], folder / "runs" / "accumulated")


def same_curve(first: Path, second: Path) -> None:
    one, two = metrics(first), metrics(second)
    assert len(one) == len(two) == 8
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key] == pytest.approx(b[key], abs=1e-6), (key, a["step"])
    weights, others = tensors(first), tensors(second)
    for name, weight in weights.items():
        # Key biases have no gradient but rounding, which AdamW makes as large as any other.
        if not name.endswith("key.bias"):
            np.testing.assert_allclose(weight, others[name], atol=2e-5, err_msg=name)


def test_gradient_checkpointing_changes_nothing(folder, finished):
    done = train(folder, name="checkpointing", train__gradient_checkpointing="true")
    assert done.returncode == 0, done.stderr
    same_curve(finished[0], folder / "runs" / "checkpointing")


def test_bf16_really_computes_in_bf16(folder, finished):
    done = train(folder, name="bf16", train__precision="bf16", train__trackers="[tensorboard]")
    assert done.returncode == 0, done.stderr
    run = folder / "runs" / "bf16"
    summary = json.loads((run / "summary.json").read_text())
    ours, exact = summary["validation_loss"], metrics(finished[0])[-1]["validation_loss"]
    assert summary["precision"] == "bf16"
    assert 1e-6 < abs(ours - exact) < 2e-2
    assert next(iter(tensors(run).values())).dtype == np.float32
    assert list((run / "tensorboard").glob("events*"))


@pytest.fixture(scope="module")
def uninterrupted(folder):
    done = train(folder, name="whole", **LONG)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "whole"


def same_bits(first: Path, second: Path) -> None:
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert metrics(first) == metrics(second)
    for name in ("optimizer.safetensors", "random.safetensors"):
        last = Path("checkpoints") / "step_240" / name
        assert (first / last).read_bytes() == (second / last).read_bytes()


def kill_after(folder: Path, step: int, number: int, **changes) -> tuple[int, str]:
    """Start a run, signal it once the checkpoint of `step` is there, and give its exit code and output."""
    process = subprocess.Popen(
        command(folder, **changes), env=environment(), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    run = folder / "runs" / changes["name"]
    try:
        wait_for(lambda: has_reached(run, step) or process.poll() is not None)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert not (run / "summary.json").exists(), "it ended before the signal came"
    return process.returncode, output


def test_killed_twice_and_resumed_it_ends_bit_identical_with_dropout(folder, uninterrupted):
    changes = {"name": "killed", **LONG}
    assert kill_after(folder, 30, signal.SIGKILL, **changes)[0] == -signal.SIGKILL
    assert kill_after(folder, 120, signal.SIGKILL, **changes, train__existing="resume")[0] == -signal.SIGKILL
    done = train(folder, **changes, train__existing="resume")
    assert done.returncode == 0, done.stderr
    assert "resuming after step" in done.stdout
    same_bits(uninterrupted, folder / "runs" / "killed")


def test_sigterm_saves_and_stops(folder, uninterrupted):
    changes = {"name": "stopped", **LONG, "train__save_every": 50}
    code, output = kill_after(folder, 50, signal.SIGTERM, **changes)
    assert code == 143
    assert "stopped by a signal after step" in output
    stopped_at = int(output.rpartition("stopped by a signal after step ")[2].split(";")[0])
    assert (folder / "runs" / "stopped" / "checkpoints" / f"step_{stopped_at}").is_dir()
    done = train(folder, **changes, train__existing="resume")
    assert f"resuming after step {stopped_at}" in done.stdout, done.stderr
    same_bits(uninterrupted, folder / "runs" / "stopped")


def test_ctrl_c_saves_and_stops(folder):
    code, output = kill_after(folder, 10, signal.SIGINT, name="interrupted", **LONG)
    assert code == 130
    assert "stopped by a signal after step" in output
    assert "Traceback" not in output


def test_it_stops_when_its_launcher_has_died(folder):
    """accelerate's launcher of one process forwards no signal."""
    run = folder / "runs" / "orphan"
    with (folder / "orphan.log").open("w") as log:
        process = subprocess.Popen(
            command(folder, "--num_processes", "1", name="orphan", **LONG), env=environment(), cwd=folder, stdout=log, stderr=log
        )
        wait_for(lambda: has_reached(run, 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: "stopped by a signal after step" in (folder / "orphan.log").read_text())
    assert not (run / "summary.json").exists()


def test_resuming_under_other_conditions_is_refused(folder):
    changes = {"name": "conditions", **LONG}
    kill_after(folder, 10, signal.SIGKILL, **changes)
    done = train(folder, **changes, train__existing="resume", env={"ACCELERATE_MIXED_PRECISION": "bf16"})
    assert done.returncode == 2
    assert "was saved with precision no, and now it is bf16" in done.stderr
    text = folder / "words.txt"
    before = text.read_bytes()
    try:
        text.write_bytes(before[::-1])
        done = train(folder, **changes, train__existing="resume")
    finally:
        text.write_bytes(before)
    assert done.returncode == 2
    assert "was saved with text and tokenizer" in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.path": "gone.txt"}, "error: data.path=gone.txt is not there; name a text file, gzipped or not, or a folder of *.txt files"),
        ({"train.batch_size": 5000}, "error: the training text has"),
        ({"train.max_step": 5}, "did you mean 'max_steps'?"),
        ({"data.source": "hub", "data.name": "a/b"}, "use a local file: data.source=text data.path=FILE"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(folder, changes, message):
    began = time.monotonic()
    arguments = [item for item in overrides(folder, name="mistake") if not ("data.source" in changes and item.startswith("data."))]
    line = [*command(folder)[:4], *arguments, *(f"{key}={value}" for key, value in changes.items())]
    done = subprocess.run(line, env=environment(), cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (folder / "runs" / "mistake").exists()
    assert time.monotonic() - began < 30


def test_help_explains_itself():
    done = subprocess.run([*command(Path("x"))[:3], "--help"], capture_output=True, text=True, env=environment())
    assert done.returncode == 0
    assert "accelerate launch -m train configs/runs/gpt2_stdlib.yaml train.existing=resume" in done.stdout
