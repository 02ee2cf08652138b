"""Where a TensorFlow run's metrics go besides its folder: the trackers of `train.trackers`, where there is no accelerate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

from configs import RunConfig
from train.run_folder import RunFolder, flat
from train.trackers import PROJECT, wandb_id


class Tracker(Protocol):
    """One of them."""

    def log(self, values: dict[str, float], step: int) -> None:
        """The values of a step, by their names."""

    def finish(self) -> None:
        """Write what is left."""


class Trackers:
    """All that the config names. step: where the run resumes; later points are dropped."""

    def __init__(self, config: RunConfig, run: RunFolder, step: int) -> None:
        self.trackers: list[Tracker] = []
        for name in config.train.trackers:
            self.trackers.append(TensorBoard(run.path / "tensorboard", step) if name == "tensorboard" else wandb_run(config, run))

    def write(self, row: dict[str, Any]) -> None:
        """A row of metrics.jsonl."""
        for tracker in self.trackers:
            tracker.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish()


class TensorBoard:
    """TensorBoard's own writer of events, as PyTorch's SummaryWriter uses it: tf.summary cannot drop the points of steps that are done
    again."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(folder))
        if step:
            self.writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def log(self, values: dict[str, float], step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


def wandb_run(config: RunConfig, run: RunFolder) -> Any:
    """A run of Weights & Biases, which goes on where this one does."""
    import wandb

    return wandb.init(project=PROJECT, name=run.path.name, id=wandb_id(run), dir=str(run.path), resume="allow", config=flat(config))
