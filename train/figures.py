"""The figures of a finished run that do not depend on the framework."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

from configs import RunConfig
from train.metrics import best_pass, read_metrics
from weight_mapping import canonical_tensors


def figures(config: RunConfig, folder: Path, seconds: float) -> dict[str, Any]:
    """What the run's metrics and config say at its end; times are in seconds, losses in nats per target."""
    rows = read_metrics(folder)
    best, last = best_pass(rows), next(row for row in reversed(rows) if "validation_loss" in row)
    assert best is not None
    final = best if config.train.final_weights == "best" else last
    loss = final["validation_loss"]
    speeds = sorted(row["tokens_per_second"] for row in rows if "tokens_per_second" in row)
    found: dict[str, Any] = {
        "name": config.name,
        "validation_loss": loss,
        "validation_accuracy": final["validation_accuracy"],
        "best_validation_loss": best["validation_loss"],
        "best_step": best["step"],
        "objective": config.objective.kind,
        "perplexity": math.exp(min(loss, 700.0)),
        "seed": config.seed,
        "parameters": sum(math.prod(tensor.shape) for tensor in canonical_tensors(config.model)),
        "steps": config.train.max_steps,
        "final_weights": config.train.final_weights,
        "tokens": next(row["tokens"] for row in reversed(rows) if "tokens" in row),
        "tokens_per_second": speeds[len(speeds) // 2],
        "seconds": round(seconds, 1),
        "python": platform.python_version(),
    }
    if used := sorted(row["mfu"] for row in rows if "mfu" in row):
        found["mfu"] = used[len(used) // 2]
    if config.expected:
        found["expected"] = config.expected.figures | {"note": config.expected.note}
    if config.expected and config.expected.goal:
        found["goal"] = config.expected.goal.figures
    return found


def has_phrases(found: dict[str, Any]) -> bool:
    """Whether BLEU means something: of answers of one word there are no four in a row to be counted."""
    return bool(found.get("reference_tokens", 1) > found.get("examples", 0))


def goals_in_words(summary: dict[str, Any]) -> list[str]:
    """For each figure of the goal, whether it is reached. A loss is better the lower it is."""
    lines = []
    for name, goal in summary.get("goal", {}).items():
        digits, is_loss = 2 if name == "bleu" else 4, name.endswith("loss")
        found = summary.get(name)
        if found is None:
            state = "not measured"
        elif found <= goal if is_loss else found >= goal:
            state = "reached"
        else:
            state = f"not reached, {abs(found - goal):.{digits}f} {'above' if is_loss else 'below'}"
        lines.append(f"{name} {goal:.{digits}f}: {state}")
    return lines
