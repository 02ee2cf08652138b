"""A run that has gone wrong stops with the step, the batch that did it, and the checkpoint before."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from configs import UserError
from train.batches import Batch, TrainingBatches
from train.checkpoints import saved
from train.run_folder import RunFolder

ADVICE = "lower optimizer.learning_rate or lengthen schedule.warmup_steps"
FACTOR = 3.0


class Watch:
    """Gradient norms of the steps since the last look: on a GPU, looking at each step would make it wait.

    The norm is that of all processes' gradients, so all of them see the same and stop together.
    """

    def __init__(self, run: RunFolder, batches: TrainingBatches) -> None:
        self.run, self.batches = run, batches
        self.norms: dict[int, torch.Tensor] = {}
        self.first: float | None = None

    def add(self, step: int, norm: torch.Tensor) -> None:
        self.norms[step] = norm

    def look(self, is_main: bool) -> None:
        """Raises UserError for the first of the waiting steps, counted from 1, whose gradient is not finite."""
        if not self.norms:
            return
        steps, norms = list(self.norms), torch.stack([norm.detach() for norm in self.norms.values()]).tolist()
        self.norms = {}
        for step, norm in zip(steps, norms, strict=True):
            if not math.isfinite(norm):
                raise UserError(f"the gradient is {norm} at step {step}; {self.evidence(step, is_main)}; {ADVICE}")

    def look_at(self, step: int, loss: float, is_main: bool) -> None:
        """Raises UserError where the loss is not finite, or three times what it was at first."""
        self.first = loss if self.first is None else self.first
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at step {step}; {self.evidence(step, is_main)}; {ADVICE}")
        if loss > FACTOR * max(self.first, 1.0):
            found = f"the loss is {loss:.4f} at step {step}, and it was {self.first:.4f} at first: the run diverges"
            raise UserError(f"{found}; {self.evidence(step, is_main)}; {ADVICE}")

    def evidence(self, step: int, is_main: bool) -> str:
        """Keep the batch, and say where it is and which checkpoint is the last."""
        path = self.run.path / f"bad_batch_{step}.npz"
        if is_main:
            write_batch(path, self.batches.batch(step - 1))
        good = saved(self.run.checkpoints)
        checkpoint = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint before it"
        return f"its batch is in {path}, and {checkpoint}"


def write_batch(path: Path, batch: Batch) -> None:
    """Inputs by their names, and the labels: `numpy.load` reads them."""
    np.savez(path, labels=batch.labels, **batch.inputs)  # type: ignore[arg-type]
