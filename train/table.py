"""The figures of finished runs as a table, from their own files: `python -m train.table RUN [RUN ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from configs import UserError, run_command
from train.figures import goals_in_words
from train.run_folder import CONFIG, EVALUATION, SUMMARY, is_finished
from weight_mapping.checkpoint import read_json

COLUMNS = ("run", "objective", "parameters", "steps", "loss", "accuracy", "test", "goal", "seed", "precision", "time", "on")


def row(run: Path, goal: dict[str, float] | None = None) -> dict[str, str]:
    """The cells of one run. What `train.evaluate` found is added to the summary. Raises UserError where the run is not finished.

    goal: figures to be measured by, default those of the summary.
    """
    if not is_finished(run):
        raise UserError(f"{run} holds no {SUMMARY}; name the folder of a finished run")
    found: dict[str, Any] = dict(read_json(run / SUMMARY))
    if (run / EVALUATION).is_file():
        found |= read_json(run / EVALUATION)
    if missing := [
        name
        for name in ("name", "objective", "seconds", "steps", "validation_loss", "parameters", "seed", "precision", "hardware")
        if name not in found
    ]:
        raise UserError(f"{run / SUMMARY} has no {missing[0]!r}; it is no summary of a run")
    minutes, seconds = divmod(round(found["seconds"]), 60)
    test = ""
    if "bleu_detokenized" in found:
        test = f"BLEU {found['bleu']:.2f}, detokenized {found['bleu_detokenized']:.2f}"
    elif "exact_match" in found:
        test = f"exact match {found['exact_match']:.2%}"
    return {
        "run": found["name"],
        "objective": found["objective"],
        "parameters": f"{found['parameters']:,}",
        "steps": f"{found['steps']:,}",
        "loss": f"{found['validation_loss']:.4f}" + best_in_words(found),
        "accuracy": f"{found['validation_accuracy']:.2%}",
        "test": test,
        "goal": "; ".join(goals_in_words(found if goal is None else {**found, "goal": goal})),
        "seed": str(found["seed"]),
        "precision": found["precision"],
        "time": f"{minutes} min {seconds:02} s",
        "on": found["hardware"],
    }


def best_in_words(found: dict[str, Any]) -> str:
    """Where the loss was lower before, so that the last weights are not the best."""
    if found.get("best_step", found["steps"]) == found["steps"]:
        return ""
    if found.get("final_weights") == "best" or found["validation_loss"] == found["best_validation_loss"]:
        return f" (after {found['best_step']:,})"
    return f" ({found['best_validation_loss']:.4f} after {found['best_step']:,})"


def table(runs: list[Path], goals: dict[str, dict[str, float]] | None = None) -> str:
    """Markdown, a line for each run. goals: of runs by the names of their folders, where they are not those of their summaries."""
    rows = [row(run, (goals or {}).get(run.name)) for run in runs]
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *("| " + " | ".join(cells[column] for column in COLUMNS) + " |" for cells in rows)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.table", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run")
    runs = parser.parse_args().runs
    # `runs/*` names pictures too.
    runs = [run for run in runs if not run.is_file()] or runs
    unfinished = [run for run in runs if (run / CONFIG).is_file() and not is_finished(run)]
    if len(unfinished) == len(runs):
        raise UserError(f"{runs[0]} is not finished; name the folder of a finished run")
    print(table([run for run in runs if run not in unfinished]))
    for run in unfinished:
        print(f"{run} is not finished", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
