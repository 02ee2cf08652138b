"""Stopping in good order: a signal is obeyed at the end of the step. Of no framework."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Stop:
    """Listens for SIGTERM and Ctrl-C. code: 0, or the exit code to stop with."""

    def __init__(self) -> None:
        self.code = 0
        self.before: dict[int, Any] = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)}

    def _heard(self, number: int, frame: FrameType | None) -> None:
        # A second signal is not to be argued with.
        signal.signal(number, self.before[number])
        self.code = self.code or 128 + number

    def agreed(self) -> int:
        """0 to go on, or the exit code to stop with: 143 for SIGTERM, 130 for Ctrl-C."""
        return self.code

    def end(self) -> None:
        """Signals mean again what they meant before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
