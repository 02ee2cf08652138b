"""The next batch is made while a step runs, so that no device waits for data."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from train.batches import Batch, TrainingBatches


class BatchesAhead:
    """Training batches, of which one is made ahead, on a thread of its own. Any step may be asked for; the next one is ready sooner.

    What goes wrong with a batch is raised where it is asked for.
    """

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches, self.fixed, self.epoch = batches, batches.fixed, batches.epoch
        self.thread = ThreadPoolExecutor(1)
        self.coming: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        asked = self.coming.get(step) or self.thread.submit(self.batches.batch, step)
        self.coming = {step + 1: self.thread.submit(self.batches.batch, step + 1)}
        return asked.result()
