"""The learning rate, as a function of the step and nothing else."""

from __future__ import annotations

import math

from configs.run import Schedule


def learning_rate(schedule: Schedule, height: float, step: int, max_steps: int) -> float:
    """The rate of step `step`, which counts from 0 to max_steps - 1.

    A linear rise to `height`, reached at the end of the warm-up, then a cosine or a line (or nothing) down to `final` times the
    height at the last step (SGDR, Loshchilov and Hutter 2017, equation 5, without restarts), or a fall with the inverse root of the
    step ("Attention Is All You Need", equation 3).
    """
    if step < schedule.warmup_steps:
        return height * (step + 1) / (schedule.warmup_steps + 1)
    if schedule.kind == "constant":
        return height
    if schedule.kind == "inverse_sqrt":
        return height * math.sqrt((schedule.warmup_steps + 1) / (step + 1))
    done = (step - schedule.warmup_steps) / max(1, max_steps - 1 - schedule.warmup_steps)
    share = 0.5 * (1 + math.cos(math.pi * done)) if schedule.kind == "cosine" else 1 - done
    return height * (schedule.final + (1 - schedule.final) * share)
