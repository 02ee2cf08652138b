"""Stopping in good order with several processes: all of them after the same step."""

from __future__ import annotations

import os
import signal

import torch
from torch import distributed

from train.stop import Stop


class StopTogether(Stop):
    """A `Stop` that also notices when the launcher that started us has died, which forwards nothing.

    launcher: its process id, or None where we were started directly.
    """

    def __init__(self, launcher: int | None) -> None:
        self.launcher = launcher
        self.group = None
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            # On the CPU, so that asking does not make the GPU wait.
            self.group = distributed.new_group(backend="gloo")
        super().__init__()

    def agreed(self) -> int:
        """As `Stop.agreed`, and the same on every process."""
        if self.launcher is not None and os.getppid() != self.launcher:
            self.code = self.code or 128 + signal.SIGTERM
        if self.group is None:
            return self.code
        code = torch.tensor([self.code])
        distributed.all_reduce(code, distributed.ReduceOp.MAX, group=self.group)
        return int(code)
