"""The checkpoints that a run has kept, whichever framework wrote them: which there are, their mean, and who goes on with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from configs import RunConfig, UserError
from train.metrics import best_pass, read_metrics
from train.run_folder import CHECKPOINTS, saved, write_all_whole
from weight_mapping import write_run
from weight_mapping.checkpoint import read_json

MODEL, OPTIMIZER, RANDOM, STATE = "model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"
AVERAGED = "averaged"


def best_checkpoint(run: Path) -> Path | None:
    """That of the step at which the validation loss was lowest so far; None before the first pass."""
    best = best_pass(read_metrics(run))
    return None if best is None else run / CHECKPOINTS / f"step_{best['step']}"


def drop_old(config: RunConfig, run: Path) -> None:
    """Remove all checkpoints but the last train.keep_checkpoints, and the best where the run is to end with it. One that a signal left
    between two others goes too, so that an interrupted run averages what it would have averaged."""
    *others, newest = saved(run / CHECKPOINTS)
    regular = [path for path in others if int(path.name.removeprefix("step_")) % config.train.save_every == 0]
    kept = [*regular, newest][-config.train.keep_checkpoints :]
    best = best_checkpoint(run) if config.train.final_weights == "best" else None
    for path in others:
        if path not in (*kept, best):
            shutil.rmtree(path)


def final_weights(config: RunConfig, run: Path, last: Callable[[str], np.ndarray]) -> Callable[[str], np.ndarray]:
    """What reads the weights that a finished run is to have. last: reads those of its last step."""
    best = best_checkpoint(run)
    if config.train.final_weights == "last" or best is None:
        return last
    weights: dict[str, np.ndarray] = load_file(best / MODEL)
    return weights.__getitem__


def check_conditions(path: Path, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint. Raises UserError where the run goes on under other conditions than it was saved under."""
    try:
        state: dict[str, Any] = dict(read_json(path / STATE))
    except (UserError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it to go on from the checkpoint before") from None
    if not {"conditions", "step", "tokens", "seconds", "processes"} <= set(state):
        raise UserError(f"{path}: damaged ({STATE} is not whole); remove it to go on from the checkpoint before")
    for key, now in conditions.items():
        if (before := state["conditions"].get(key)) != now:
            raise UserError(f"{path} was saved with {key} {before}, and now it is {now}; a run resumes only under the same conditions")
    return state


def average(config: RunConfig, run: Path) -> Path:
    """The mean of a run's last checkpoints, as a folder that `load` reads ("Attention Is All You Need", 6.1)."""
    number = config.evaluation.average_checkpoints
    paths = saved(run / CHECKPOINTS)[-number:]
    if len(paths) < number:
        raise UserError(f"{run} has {len(paths)} checkpoints, and evaluation.average_checkpoints={number}; set it to what is there")
    files = [load_file(path / MODEL) for path in paths]
    folder = run / AVERAGED
    folder.mkdir(exist_ok=True)
    means = {name: np.asarray(np.mean([file[name] for file in files], axis=0, dtype=np.float64), np.float32) for name in files[0]}
    write_all_whole(folder, lambda path: write_run(path, config.model, means.__getitem__))
    return folder


def shared_by_others(before: int, now: int, sharer: str, plural: str = "s") -> str:
    """What another number of processes or devices means for a run that goes on; nothing where it is the same number."""
    if before == now:
        return ""
    return (
        f"the checkpoint was saved by {before} {sharer}{plural * (before > 1)}, and {now} {'go' if now > 1 else 'goes'} on: a step's "
        f"examples are those of the whole run, so each comes when it would have come, none twice and none missed; the curve goes on as it "
        f"was, but for rounding and for what dropout draws"
    )
