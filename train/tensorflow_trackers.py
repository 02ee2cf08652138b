"""Where a TensorFlow run's metrics go besides its folder: the trackers of `train.trackers`, where there is no accelerate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from configs import RunConfig
from train import trackers
from train.run_folder import RunFolder, flat
from train.trackers import PROJECT, Tracker, wandb_id


class Trackers(trackers.Trackers):
    """As those through accelerate."""

    def start(self, name: str, config: RunConfig, run: RunFolder, step: int) -> Tracker:
        return TensorBoard(run.path / "tensorboard", step if run.resumed else None) if name == "tensorboard" else wandb_run(config, run)


class TensorBoard:
    """TensorBoard's own writer of events, as PyTorch's SummaryWriter uses it: tf.summary cannot drop the points of steps that are done
    again."""

    def __init__(self, folder: Path, step: int | None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(folder))
        if step is not None:
            self.writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def log(self, values: dict[str, Any], step: int | None) -> None:
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
