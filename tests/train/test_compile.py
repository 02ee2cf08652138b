"""`train.compile=true`: the whole step is traced, and gives the same curve."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch._dynamo.testing import CompileCounterWithBackend

from tests.train.runs import metrics, run_config, write_text
from train.loop import Trainer
from train.objectives import prepare
from train.run_folder import open_run
from train.stop import Stop


def test_a_compiled_model_is_traced_whole_and_gives_the_same_curve(tmp_path, monkeypatch):
    """By the compiler's front, forward and backward; its kernels take a minute to build, and `tests/gpu` runs them."""
    write_text(tmp_path)
    compiler, compile_ = CompileCounterWithBackend("aot_eager"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compile_(function, backend=compiler, fullgraph=True))
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        config = run_config(tmp_path, name=name, train__compile=compiled)
        trainer = Trainer(config, Accelerator(cpu=True), prepare(config), open_run(config))
        stop = Stop()
        assert trainer.train(stop) == 0
        stop.end()
        # One graph to train and one to evaluate.
        assert compiler.frame_count == (2 if compiled == "true" else 0)
    plain, found = (metrics(tmp_path / "runs" / name) for name in ("plain", "compiled"))
    assert len(plain) == 8
    for row, other in zip(plain, found, strict=True):
        assert other == pytest.approx(row, abs=1e-6)
