"""What happened, step by step, as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends rows to metrics.jsonl: those of training (`loss`) and of validation (`validation_loss`), each with its `step`.

    step: where the run resumes; rows after it belong to work that was lost, and are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / FILE
        kept = [row for row in read_metrics(folder) if row["step"] <= step] if step else []
        temporary = path.with_name(f".{path.name}")
        temporary.write_text("".join(map(_line, kept)), encoding="utf-8")
        os.replace(temporary, path)
        self.file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        self.file.write(_line(row))
        self.file.flush()


def _line(row: dict[str, Any]) -> str:
    rounded = {key: float(f"{value:.6g}") if key in ROUNDED else value for key, value in row.items()}
    return json.dumps(rounded) + "\n"


def best_pass(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the pass over the validation data whose loss was lowest, the first of several; None before the first pass."""
    return min((row for row in rows if "validation_loss" in row), key=lambda row: float(row["validation_loss"]), default=None)


ROUNDED = {"tokens_per_second", "elapsed_seconds", "learning_rate", "mfu"}


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All rows of a run; a last line that was being written when the run was killed is left out."""
    path = folder / FILE
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
