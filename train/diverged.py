"""A run that has gone wrong stops with the step, the batch that did it, and the checkpoint before."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs import UserError
from train.batches import Batch, TrainingBatches
from train.run_folder import RunFolder, saved

ADVICE = "begin anew (train.existing=new) with a lower optimizer.learning_rate or a longer schedule.warmup_steps"
FACTOR = 3.0
# One batch alone may be odd, the smaller it is the more.
WINDOW = 10

# The loss and the gradient norm of each of some steps: as the framework has them, and as numbers.
Read = Callable[[Sequence[tuple[Any, Any]]], Sequence[tuple[float, float]]]


class Watch:
    """Losses and gradient norms of the steps since the last look: on a GPU, looking at each step would make it wait.

    read: makes numbers of what waits, the same on every process, so that all of them stop together. first_loss: the loss that the run
    began with, None for that of the first step that is seen.
    """

    def __init__(self, run: RunFolder, batches: TrainingBatches, read: Read, first_loss: float | None = None, is_main: bool = True) -> None:
        self.run, self.batches, self.read, self.first_loss, self.is_main = run, batches, read, first_loss, is_main
        self.waiting: dict[int, tuple[Any, Any]] = {}
        self.newest = math.nan, math.nan
        self.losses = deque([] if first_loss is None else [first_loss], WINDOW)

    def add(self, step: int, loss: Any, norm: Any) -> None:
        """A step, counted from 1, that has been done."""
        self.waiting[step] = loss, norm

    def look(self) -> tuple[float, float]:
        """Loss and gradient norm of the newest step.

        Raises UserError for the first of the waiting steps where one of them is not finite, or the mean loss of the last ten steps is three
        times what the loss was at first.
        """
        if not self.waiting:
            return self.newest
        steps, found = list(self.waiting), self.read(list(self.waiting.values()))
        self.waiting = {}
        for step, (loss, norm) in zip(steps, found, strict=True):
            self.first_loss = loss if self.first_loss is None else self.first_loss
            self.losses.append(loss)
            if wrong := what_is_wrong(self.losses, norm, step, self.first_loss):
                raise UserError(f"{wrong}; {self.evidence(step)}")
        self.newest = found[-1]
        return self.newest

    def evidence(self, step: int) -> str:
        """Keep the batch, and say where it is and which checkpoint is the last."""
        path = self.run.path / f"bad_batch_{step}.npz"
        if self.is_main:
            write_batch(path, self.batches.batch(step - 1))
        good = saved(self.run.checkpoints)
        checkpoint = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint before it"
        start = f", and initial={good[-1]} to start from its weights" if good else ""
        return f"its batch is in {path}, and {checkpoint}; {ADVICE}{start}"


def what_is_wrong(losses: Sequence[float], norm: float, step: int, first_loss: float) -> str:
    """With the last of some steps, in words; nothing where nothing is."""
    if not math.isfinite(losses[-1]):
        return f"the loss is {losses[-1]} at step {step}"
    if sum(losses) / len(losses) > FACTOR * max(first_loss, 1.0):
        return f"the loss is {losses[-1]:.4f} at step {step}, and it was {first_loss:.4f} at first: the run diverges"
    return "" if math.isfinite(norm) else f"the gradient is {norm} at step {step}"


def write_batch(path: Path, batch: Batch) -> None:
    """Inputs by their names, and the labels: `numpy.load` reads them."""
    np.savez(path, labels=batch.labels, **batch.inputs)  # type: ignore[arg-type]
