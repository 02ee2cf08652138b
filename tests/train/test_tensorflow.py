"""The TensorFlow trainer: the same run, the same curve."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from configs import RunConfig, UserError, load_run_config
from parity import tolerances
from tests.train.runs import ROOT, metrics
from train.objectives import prepare
from train.run_folder import open_run

if TYPE_CHECKING:
    from train.tensorflow_loop import Trainer

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


def config_of(folder: Path, **changes: Any) -> RunConfig:
    """A tiny run on the squares, as a config; `train__max_steps=8` in `changes` stands for train.max_steps=8."""
    (folder / "text.txt").write_text("".join(f"line {number}: {number**2 % 97} is what comes of it.\n" for number in range(400)))
    values = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    paths = [f"data.path={folder / 'text.txt'}", f"train.output={folder}"]
    return load_run_config(ROOT / "configs" / "runs" / "gpt2_stdlib.yaml", [*CHANGES, *paths, *values])


def start(config: RunConfig, signalled_after: int | None = None) -> tuple[int, Trainer]:
    """Open the run's folder and train, with a signal during a step if wished. The exit code, and the trainer."""
    from train.stop import Stop
    from train.tensorflow_loop import Trainer

    run, stop = open_run(config), Stop()
    trainer = Trainer(config, prepare(config), run)
    original = trainer.step

    def step(number: int) -> Any:
        if number + 1 == signalled_after:
            signal.raise_signal(signal.SIGTERM)
        return original(number)

    trainer.step = step  # type: ignore[method-assign]
    try:
        return trainer.train(stop), trainer
    finally:
        stop.end()
        if run.lock:
            run.lock.close()


def test_the_curve_of_the_twin_is_the_curve_of_pytorch(tmp_path: Path) -> None:
    """On one device, and on two."""
    changes = ("train.accumulation_steps=2", "model.positions.kind=rotary", "model.family=llama")
    (tmp_path / "text.txt").write_text("".join(f"line {number}: {number**2 % 97} is what comes of it.\n" for number in range(900)))
    torch = train("train", tmp_path, *changes)
    for devices in (1, 2):
        tensorflow = train("train.tensorflow", tmp_path, *changes, f"train.num_processes={devices}")
        assert [row["step"] for row in torch] == [row["step"] for row in tensorflow]
        for ours, twin in zip(torch, tensorflow, strict=True):
            for key in ("loss", "validation_loss", "gradient_norm", "learning_rate"):
                assert (key in ours) == (key in twin)
                if key in ours:
                    assert twin[key] == pytest.approx(ours[key], rel=tolerances.FLOAT32_CURVE)
        shutil.rmtree(tmp_path / "small_tensorflow")
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
        assert transformer_torch.load(run)(torch.from_numpy(ids)).numpy() == pytest.approx(expected, abs=tolerances.FLOAT32)


def test_stopped_and_resumed_it_is_bit_for_bit_what_it_would_have_been(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"model__dropout": 0.2, "train__save_every": 4}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(config_of(tmp_path, name="whole", **changes))[0] == 0
    assert start(config_of(tmp_path, name="cut", **changes), signalled_after=6)[0] == 143
    checkpoints = cut / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step_4", "step_6"]
    # As if it had been killed in step 6, while it wrote its metrics: the steps after the last checkpoint are done again.
    shutil.rmtree(checkpoints / "step_6")
    with (cut / "metrics.jsonl").open("a") as file:
        file.write('{"ste')
    code, trainer = start(config_of(tmp_path, name="cut", train__existing="resume", **changes))
    assert "resuming after step 4" in capsys.readouterr().out
    assert (code, trainer.state["tokens"]) == (0, 12 * 8 * 16)
    assert metrics(cut) == metrics(whole)
    for name in ("model", "optimizer", "random"):
        last = f"checkpoints/step_12/{name}.safetensors"
        assert (cut / last).read_bytes() == (whole / last).read_bytes(), name


def test_a_checkpoint_has_the_names_and_shapes_of_one_of_pytorch(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    import transformer_torch
    from transformer_torch.optimizer import build_optimizer, make_moments

    config = config_of(tmp_path, train__max_steps=4)
    start(config)
    found = tmp_path / "small" / "checkpoints" / "step_4"
    model = transformer_torch.Transformer(config.model)
    expected = {name: weight.shape for name, weight in model.named_parameters()}
    assert {name: weight.shape for name, weight in load_file(found / "model.safetensors").items()} == expected
    adamw = build_optimizer(model, config.optimizer)
    make_moments(adamw)
    moments = {f"{n}.{key}": value.shape for n, weight in model.named_parameters() for key, value in adamw.state[weight].items()}
    loaded = load_file(found / "optimizer.safetensors")
    assert {name: value.shape for name, value in loaded.items()} == moments
    assert {int(value) for name, value in loaded.items() if name.endswith(".step")} == {4}
    assert all(torch.isfinite(value).all() for value in loaded.values())


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    from train.tensorflow import run

    with pytest.raises(UserError, match=r"train.batch_size=8 cannot be dealt out to 3 processes"):
        run(config_of(tmp_path, train__num_processes=3))
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_bf16_really_computes_in_bf16(tmp_path: Path) -> None:
    """Products do, and weights and sums are float32, as in PyTorch."""
    import tensorflow as tf

    from train.tensorflow_loop import Trainer

    tf.config.run_functions_eagerly(True)
    try:
        losses = {}
        for precision in ("float32", "bf16"):
            config = config_of(tmp_path, train__precision=precision)
            trainer = Trainer(config, prepare(config))
            losses[precision] = [float(trainer.step(step)[0]) for step in range(6)]
            assert all(variable.dtype == "float32" for variable in trainer.model.trainable_variables)
    finally:
        tf.config.run_functions_eagerly(False)
    differences = [abs(exact - rounded) for exact, rounded in zip(*losses.values(), strict=True)]
    assert 1e-6 < max(differences) < 2e-2
    assert losses["bf16"][-1] < losses["bf16"][0] - 0.3


def test_fit_takes_source_and_target_as_one_dict() -> None:
    """What Keras users write, for a model with an encoder and a decoder."""
    import keras
    import numpy as np

    from configs import load_model_config
    from transformer_tf import Transformer
    from transformer_tf.optimizer import AdamW

    sizes = ["num_layers=1", "width=16", "attention.num_heads=2", "feed_forward.width=32", "vocab_size=12", "max_length=8", "dropout=0"]
    model = Transformer(load_model_config("transformer-dates", sizes), seed=1)
    source = np.random.default_rng(0).integers(2, 12, (64, 6))
    decoder = np.concatenate([np.ones((64, 1), np.int64), source[:, :-1]], axis=1)
    inputs = {"input_ids": source, "attention_mask": np.ones_like(source), "decoder_input_ids": decoder}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=AdamW(1e-2, 0.9, 0.99, 1e-8, 0.0), loss=loss, metrics=["accuracy"])
    history = model.fit(inputs, source, batch_size=16, epochs=30, verbose=0, validation_data=(inputs, source)).history
    assert history["loss"][0] > 2.0
    assert history["val_loss"][-1] < 0.5
    assert model.evaluate(inputs, source, verbose=0, return_dict=True)["accuracy"] > 0.9
    np.testing.assert_allclose(model.predict(inputs, verbose=0), model(**inputs).numpy(), atol=1e-5)
