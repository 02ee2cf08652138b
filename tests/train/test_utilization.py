"""The share of a GPU's peak that a run uses, where the peak is known."""

from __future__ import annotations

import json

import pytest
import torch
from accelerate import Accelerator

from tests.train.runs import run_config, write_text
from train import summary, utilization
from train.dry_run import count_step
from train.loop import Trainer
from train.metrics import read_metrics
from train.objectives import prepare
from train.report import tell
from train.run_folder import SUMMARY, open_run
from train.stop import Stop


@pytest.mark.parametrize(
    ("name", "bf16", "float32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5e12, 67e12),
        ("NVIDIA H100 PCIe", 756e12, 51e12),
        ("NVIDIA H200", 989.5e12, 67e12),
        ("NVIDIA A100-SXM4-40GB", 312e12, 19.5e12),
        ("NVIDIA L4", 121e12, 30.3e12),
        ("NVIDIA L40S", 362e12, 91.6e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12, 82.6e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None, None),
        ("NVIDIA L40", None, None),
        ("", None, None),
    ],
)
def test_the_peak_is_that_of_the_data_sheet_or_unknown(name, bf16, float32):
    assert (utilization.peak(name, "bf16"), utilization.peak(name, "no")) == (bf16, float32)


def test_a_run_on_a_known_device_logs_and_prints_what_it_uses(tmp_path, monkeypatch, capsys):
    """The FLOPs of a step by its seconds and the peak, whether or not gradient checkpointing computes more."""
    write_text(tmp_path)
    monkeypatch.setattr(utilization, "device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setitem(utilization.PEAKS, "H100", {"no": 1e9})
    config = run_config(tmp_path, train__gradient_checkpointing="true")
    corpus, accelerator, run = prepare(config), Accelerator(cpu=True), open_run(config)
    trainer, stop = Trainer(config, accelerator, corpus, run), Stop()
    assert trainer.train(stop) == 0
    stop.end()
    batch = corpus.train.batch(0)
    _, flops, _ = count_step(run_config(tmp_path), batch)
    rows = [row for row in read_metrics(run.path) if "loss" in row]
    assert len(rows) == 6
    for row in rows:
        assert row["mfu"] == pytest.approx(flops * row["tokens_per_second"] / batch.tokens / 1e9, rel=1e-4)
    assert "% of the peak" in capsys.readouterr().out
    summary.finish(config, accelerator, corpus, run, trainer.model, trainer.progress.seconds)
    found = json.loads((run.path / SUMMARY).read_text())
    assert found["mfu"] == sorted(row["mfu"] for row in rows)[3]
    tell(found, "", run.path)
    assert f"utilisation      {found['mfu']:.1%} of the device's peak" in capsys.readouterr().out


def test_nothing_is_counted_on_a_cpu(tmp_path, monkeypatch):
    write_text(tmp_path)
    monkeypatch.setattr(utilization, "count_step", lambda config, batch: pytest.fail("counted"))
    config = run_config(tmp_path)
    assert utilization.utilization_per_token(config, prepare(config), torch.device("cpu"), "no", 1) is None
