"""What is shown while a run goes on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay:
    """Bar or lines, on the main process only; use it in a ``with`` block."""

    def __init__(self, shown: bool, step: int, max_steps: int) -> None:
        self.console = Console(quiet=not shown, highlight=False, soft_wrap=True)
        self.start, self.max_steps = step, max_steps
        self.began = time.monotonic()
        self.last_line = self.began - SECONDS_BETWEEN_LINES
        self.bar: Progress | None = None
        if shown and self.console.is_terminal:
            columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn(compact=True))
            self.bar = Progress(*columns, TextColumn("left"), console=self.console, refresh_per_second=2)
            self.task = self.bar.add_task("starting", total=max_steps, completed=step)

    def __enter__(self) -> ProgressDisplay:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, step: int) -> None:
        if self.bar:
            self.bar.update(self.task, completed=step)

    def training(self, row: dict[str, Any]) -> None:
        """A row of training metrics."""
        text = f"loss {row['loss']:.4f}   rate {row['learning_rate']:.2e}   {row['tokens_per_second']:,.0f} tokens/s"
        if "mfu" in row:
            text += f"   {row['mfu']:.1%} of the peak"
        if self.bar:
            self.bar.update(self.task, completed=row["step"], description=f"step {row['step']}/{self.max_steps}   {text}")
        elif (now := time.monotonic()) - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            minutes, seconds = divmod(round((now - self.began) / max(row["step"] - self.start, 1) * (self.max_steps - row["step"])), 60)
            self.say(f"step {row['step']:>6}/{self.max_steps}   {text}   {minutes} min {seconds:02} s left")

    def validation(self, row: dict[str, Any]) -> None:
        """A row of validation metrics."""
        self.say(f"step {row['step']:>6}/{self.max_steps}   validation loss {row['validation_loss']:.4f}")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)
