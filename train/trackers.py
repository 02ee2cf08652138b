"""Where the metrics go besides the run's folder: TensorBoard and Weights & Biases, through accelerate's trackers."""

from __future__ import annotations

import secrets
from importlib.util import find_spec
from typing import Any, Protocol

from configs import RunConfig, UserError
from train.run_folder import RunFolder, flat, write_whole

PROJECT = "transformer-twins"
WANDB_ID = "wandb_id.txt"


def check_trackers(config: RunConfig) -> None:
    """Raises UserError where a tracker is asked for whose package is not installed."""
    for name in config.train.trackers:
        if find_spec(name) is None:
            raise UserError(f"train.trackers asks for {name}, and it is not installed: pip install {name}, or leave it out")


def wandb_id(run: RunFolder) -> str:
    """The same at every start of a run, and another for every run of the same name: its folder keeps it."""
    path = run.path / WANDB_ID
    if not path.is_file():
        write_whole(run.path, WANDB_ID, lambda part: part.write_text(secrets.token_hex(8), encoding="utf-8"))
    return path.read_text(encoding="utf-8").strip()


class Tracker(Protocol):
    """One of them."""

    def log(self, values: dict[str, Any], step: int | None) -> None:
        """The values of a step, by their names."""

    def finish(self) -> None:
        """Write what is left."""


class Trackers:
    """All that the config names; only the main process makes them. step: where the run resumes; later points are dropped."""

    def __init__(self, config: RunConfig, run: RunFolder, step: int) -> None:
        self.trackers: list[Tracker] = [self.start(name, config, run, step) for name in config.train.trackers]

    def start(self, name: str, config: RunConfig, run: RunFolder, step: int) -> Tracker:
        """The one of this name, ready to log."""
        from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

        if name == "tensorboard":
            tracker: GeneralTracker = TensorBoardTracker("tensorboard", run.path, purge_step=step + 1 if run.resumed else None)
        else:
            tracker = WandBTracker(PROJECT, name=run.path.name, id=wandb_id(run), dir=str(run.path), resume="allow", config=flat(config))
        tracker.start()
        return tracker

    def write(self, row: dict[str, Any]) -> None:
        """A row of metrics.jsonl."""
        for tracker in self.trackers:
            tracker.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish()
