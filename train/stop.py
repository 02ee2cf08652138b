"""Stopping in good order: a signal is obeyed at the end of the step, by all processes together."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import torch
from torch import distributed


class Stop:
    """Listens for SIGTERM and Ctrl-C, and notices when the launcher that started us has died, which forwards nothing.

    launcher: its process id, or None where we were started directly.
    """

    def __init__(self, launcher: int | None) -> None:
        self.launcher = launcher
        self.code = 0
        self.group = None
        self.before: dict[int, Any] = {}
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            # On the CPU, so that asking does not make the GPU wait.
            self.group = distributed.new_group(backend="gloo")
        for number in (signal.SIGTERM, signal.SIGINT):
            self.before[number] = signal.signal(number, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        # A second signal is not to be argued with.
        signal.signal(number, self.before[number])
        self.code = self.code or 128 + number

    def end(self) -> None:
        """Signals mean again what they meant before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def agreed(self) -> int:
        """0 to go on, or the exit code to stop with: 143 for SIGTERM, 130 for Ctrl-C. The same on every process."""
        if self.launcher is not None and os.getppid() != self.launcher:
            self.code = self.code or 128 + signal.SIGTERM
        if self.group is None:
            return self.code
        code = torch.tensor([self.code])
        distributed.all_reduce(code, distributed.ReduceOp.MAX, group=self.group)
        return int(code)
