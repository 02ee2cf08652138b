"""Model FLOP utilisation: the share of a device's matrix arithmetic that a run uses (PaLM, Chowdhery et al. 2022, appendix B)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch

from configs import RunConfig
from train.dry_run import count_step
from train.objectives.corpus import Corpus

Value = TypeVar("Value")
# FLOP/s in bf16 (dense) and float32 (PyTorch leaves TF32 off), from NVIDIA's data sheets. A name has all words of its row.
PEAKS: dict[str, dict[str, float]] = {
    "H200 NVL": {"bf16": 835.5e12, "no": 60e12},
    "H200": {"bf16": 989.5e12, "no": 67e12},
    "H100 NVL": {"bf16": 835e12, "no": 60e12},
    "H100 PCIe": {"bf16": 756e12, "no": 51e12},
    "H100": {"bf16": 989.5e12, "no": 67e12},
    "A100": {"bf16": 312e12, "no": 19.5e12},
    "L40S": {"bf16": 362e12, "no": 91.6e12},
    "L4": {"bf16": 121e12, "no": 30.3e12},
    "RTX 4090": {"bf16": 165.2e12, "no": 82.6e12},
    "RTX 3090": {"bf16": 71e12, "no": 35.6e12},
}
# A part of a GPU, or one with fewer cores, under the name of the whole.
OTHERS = {"MIG", "Laptop", "D"}


def device_name(device: torch.device) -> str:
    """What the driver calls a GPU; nothing for other devices."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def peak(name: str, precision: str) -> float | None:
    """FLOP/s that the vendor promises for matrix products, by accelerate's `mixed_precision`; None where the table has no such device."""
    found = of_device(PEAKS, name)
    return None if found is None else found[precision]


def of_device(table: Mapping[str, Value], name: str) -> Value | None:
    """The row of a table whose words are all in a device's name, the first of several; None for a part of a device."""
    words = set(re.split(r"[\s-]+", name))
    if words & OTHERS:
        return None
    return next((value for device, value in table.items() if set(device.split()) <= words), None)


def utilization_per_token(config: RunConfig, corpus: Corpus, device: torch.device, precision: str, processes: int) -> float | None:
    """What is to be multiplied by tokens a second: the FLOPs of a token, by the peak of all devices together.

    Forward and backward pass are counted, and not what gradient checkpointing computes again. None where the peak is not known, or where
    steps differ in shape.
    """
    limit = peak(device_name(device), precision)
    if limit is None or not corpus.train.fixed:
        return None
    batch = corpus.train.batch(0)
    kept = config.model_copy(update={"train": config.train.model_copy(update={"gradient_checkpointing": False})})
    _, flops, _ = count_step(kept, batch)
    return flops / batch.tokens / (limit * processes)
