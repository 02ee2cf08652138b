"""The TensorFlow trainer: the same run, the same curve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHANGES = [
    "name=small",
    "tokenizer.vocab_size=300",
    "model.vocab_size=300",
    "model.width=32",
    "model.num_layers=2",
    "model.feed_forward.width=64",
    "model.max_length=16",
    "train.max_steps=12",
    "train.batch_size=8",
    "train.evaluate_every=6",
    "train.evaluation_batch_size=256",
    "train.log_every=1",
    "train.cross_check=false",
    "schedule.warmup_steps=3",
    "optimizer.learning_rate=1e-2",
    "data.source=text",
]


def train(module: str, folder: Path, *changes: str) -> list[dict]:
    command = [sys.executable, "-m", module, "configs/runs/gpt2_stdlib.yaml", *CHANGES, *changes]
    command += [f"data.path={folder / 'text.txt'}", f"train.output={folder}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-2000:]
    (run,) = [path for path in folder.glob("small*") if path.name.endswith("_tensorflow") == module.endswith("tensorflow")]
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("changes", [(), ("train.accumulation_steps=2", "model.positions.kind=rotary", "model.family=llama")])
def test_the_curve_of_the_twin_is_the_curve_of_pytorch(tmp_path: Path, changes: tuple[str, ...]) -> None:
    (tmp_path / "text.txt").write_text("".join(f"line {number}: {number**2 % 97} is what comes of it.\n" for number in range(900)))
    torch, tensorflow = train("train", tmp_path, *changes), train("train.tensorflow", tmp_path, *changes)
    assert [row["step"] for row in torch] == [row["step"] for row in tensorflow]
    for ours, twin in zip(torch, tensorflow, strict=True):
        for key in ("loss", "validation_loss", "gradient_norm", "learning_rate"):
            assert (key in ours) == (key in twin)
            if key in ours:
                assert twin[key] == pytest.approx(ours[key], rel=1e-4)
    assert torch[-1]["validation_loss"] < torch[0]["loss"] - 0.5


def test_the_run_loads_in_pytorch(tmp_path: Path) -> None:
    import numpy as np
    import torch

    import transformer_tf
    import transformer_torch

    (tmp_path / "text.txt").write_text("to be or not to be, that is the question\n" * 200)
    train("train.tensorflow", tmp_path, "train.max_steps=4")
    ids = np.array([[5, 6, 7]])
    run = tmp_path / "small_tensorflow"
    expected = transformer_tf.load(run)(ids).numpy()
    with torch.inference_mode():
        assert transformer_torch.load(run)(torch.from_numpy(ids)).numpy() == pytest.approx(expected, abs=1e-5)
