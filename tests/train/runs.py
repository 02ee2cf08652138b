"""Small runs for the tests: a text that is quickly learned, a tiny model, and the command line to train it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from configs import RunConfig, load_run_config

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "runs" / "gpt2_shakespeare.yaml"
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "other", "dog", "run", "by", "it"]
# Of configs/runs/dates.yaml: a run of seconds, whose test averages checkpoints and searches with beams.
DATES = [
    "data.train=600",
    "data.validation=40",
    "data.test=30",
    "model.width=32",
    "model.attention.num_heads=2",
    "model.feed_forward.width=48",
    "model.num_layers=1",
    "train.batch_tokens=600",
    "train.max_steps=12",
    "train.evaluate_every=6",
    "train.save_every=4",
    "train.cpu_threads=1",
    "train.keep_checkpoints=3",
    "schedule.warmup_steps=4",
    "evaluation={average_checkpoints: 3, num_beams: 2}",
]


def write_text(folder: Path, lines: int = 300) -> Path:
    """A file of words in random order."""
    draw = random.Random(0)
    path = folder / "words.txt"
    path.write_text("\n".join(" ".join(draw.choice(WORDS) for _ in range(12)) for _ in range(lines)) + "\n", encoding="utf-8")
    return path


def overrides(folder: Path, **changes: Any) -> list[str]:
    """key=value for a tiny run below `folder`; `train__max_steps=8` in `changes` stands for train.max_steps=8."""
    values: dict[str, Any] = {
        "name": "tiny",
        "data.path": folder / "words.txt",
        "model.num_layers": 2,
        "model.width": 24,
        "model.attention.num_heads": 3,
        "model.feed_forward.width": 40,
        "model.max_length": 16,
        "model.vocab_size": 32,
        "train.output": folder / "runs",
        "train.max_steps": 6,
        "train.batch_size": 8,
        "train.evaluate_every": 3,
        "train.save_every": 2,
        "train.log_every": 1,
        # One thread, so that what else runs on the machine does not make them wait for each other.
        "train.cpu_threads": 1,
        "schedule.warmup_steps": 2,
    }
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return [f"{key}={value}" for key, value in values.items()]


def run_config(folder: Path, **changes: Any) -> RunConfig:
    """The same as a config."""
    return load_run_config(CONFIG, overrides(folder, **changes))


def environment(**changes: str) -> dict[str, str]:
    """Ours, without what a launcher or the hub would add to it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATE_", "OMP_", "RANK", "WORLD_SIZE", "LOCAL_"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **changes}


def command(folder: Path, *launcher: str, **changes: Any) -> list[str]:
    """`python -m train ...`, or `accelerate launch LAUNCHER -m train ...`."""
    start = [sys.executable, "-m"]
    if launcher:
        start += ["accelerate.commands.launch", *launcher, "-m"]
    return [*start, "train", str(CONFIG), *overrides(folder, **changes)]


def train(folder: Path, *launcher: str, env: dict[str, str] | None = None, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        command(folder, *launcher, **changes), env=environment(**(env or {})), cwd=folder, capture_output=True, text=True, timeout=120
    )


def metrics(run: Path) -> list[dict[str, Any]]:
    """The rows without what a clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("tokens_per_second", "elapsed_seconds", "mfu")} for row in rows]
