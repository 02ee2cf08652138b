"""What the training loop costs beside the bare step: `python -m benchmarks.loop`

The run of configs/runs/gpt2_stdlib.yaml as `train.loop` does it, with data, logging, display and checks, in turns with the same steps by
hand: forward, backward, clipping, AdamW, on batches that were made before. Validation and checkpoints are left out. The losses of both must
be the same bits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.harness import is_whole, keep, processor, versions
from configs import RunConfig, load_run_config
from train.batches import Batch
from train.loop import Trainer
from train.metrics import read_metrics
from train.objectives import prepare
from train.objectives.corpus import Corpus
from train.run_folder import open_run
from train.schedule import learning_rate
from train.stop import Stop
from transformer_torch import Transformer, cross_entropy
from transformer_torch.optimizer import build_optimizer, make_moments

CONFIG = Path(__file__).parents[1] / "configs" / "runs" / "gpt2_stdlib.yaml"
TITLE = "The training loop, GPT-2 4 x 256, 12 x 128 tokens, float32"
LATER = 10**6


class TimedBatches:
    """The run's batches, and the seconds that each took to make."""

    def __init__(self, corpus: Corpus) -> None:
        self.batches, self.fixed, self.epoch = corpus.train, corpus.train.fixed, corpus.train.epoch
        self.seconds: list[float] = []

    def batch(self, step: int) -> Batch:
        began = time.perf_counter()
        batch = self.batches.batch(step)
        self.seconds.append(time.perf_counter() - began)
        return batch


class Bare:
    """The same model, and steps with nothing around them."""

    def __init__(self, config: RunConfig, corpus: Corpus, steps: int) -> None:
        self.config = config
        self.model = Transformer(config.model, seed=config.seed)
        self.adamw = build_optimizer(self.model, config.optimizer)
        make_moments(self.adamw)
        made = [corpus.train.batch(step) for step in range(steps)]
        self.batches = [(torch.from_numpy(batch.inputs["input_ids"]), torch.from_numpy(batch.labels)) for batch in made]
        self.done = 0

    def step(self) -> float:
        settings = self.config
        inputs_BT, labels_BT = self.batches[self.done]
        loss = cross_entropy(self.model(inputs_BT), labels_BT) / labels_BT.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.optimizer.clip or float("inf"))
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate(settings.schedule, settings.optimizer.learning_rate, self.done, settings.train.max_steps)
        self.adamw.step()
        self.adamw.zero_grad()
        self.done += 1
        return float(loss.detach())


def now() -> tuple[float, float]:
    """Seconds by the clock, and of this process."""
    return time.perf_counter(), time.process_time()


class Turns(Stop):
    """Asked by the loop at the end of each step, it takes the time of that step and lets a bare one follow.

    Times are pairs: by the clock, and of the processor, which does not count what else runs on the machine.
    """

    def __init__(self, bare: Bare, steps: int) -> None:
        super().__init__()
        self.bare, self.steps = bare, steps
        self.loop: list[tuple[float, float]] = []
        self.alone: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.began = now()

    def agreed(self) -> int:
        between = now()
        self.loop.append((between[0] - self.began[0], between[1] - self.began[1]))
        self.losses.append(self.bare.step())
        self.began = now()
        self.alone.append((self.began[0] - between[0], self.began[1] - between[1]))
        return 143 if len(self.loop) == self.steps else 0


def measure(config: RunConfig, steps: int) -> tuple[Turns, TimedBatches]:
    """So many steps of both, in turns. Raises SystemExit where their losses differ."""
    torch.set_num_threads(1)
    corpus = prepare(config)
    watched = TimedBatches(corpus)
    run = open_run(config)
    trainer = Trainer(config, Accelerator(cpu=True), Corpus(**{**vars(corpus), "train": watched}), run)
    turns = Turns(Bare(config, corpus, steps), steps)
    trainer.train(turns)
    turns.end()
    for row in read_metrics(run.path):
        if row["loss"] != turns.losses[row["step"] - 1]:
            raise SystemExit(f"step {row['step']}: the loop's loss is {row['loss']}, the bare step's {turns.losses[row['step'] - 1]}")
    return turns, watched


def blocks(pairs: list[tuple[float, float]], which: int, size: int) -> list[float]:
    """Seconds a step, of `size` steps together, one of which is logged; the first of them, which warm up, are left out."""
    seconds = [pair[which] for pair in pairs]
    return [statistics.fmean(seconds[first : first + size]) for first in range(size, len(seconds), size)]


def compare(turns: Turns, size: int) -> dict[str, dict[str, Any]]:
    """Medians by the clock and of the processor: the bare step, the loop's, and by how much it is more."""
    found = {}
    for which, name in enumerate(("clock", "processor")):
        loop, bare = blocks(turns.loop, which, size), blocks(turns.alone, which, size)
        more = [a / b - 1 for a, b in zip(loop, bare, strict=True)]
        found[name] = {
            "bare_seconds": statistics.median(bare),
            "loop_seconds": statistics.median(loop),
            "loop_costs": statistics.median(more),
            "spread": [min(more), max(more)],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=TITLE)
    parser.add_argument("--steps", type=int, default=210, help="steps of each, ten of them to warm up")
    options = parser.parse_args()
    steps = options.steps
    with tempfile.TemporaryDirectory() as folder:
        free = {"output": folder, "evaluate_every": LATER, "save_every": LATER, "existing": "refuse"}
        config = load_run_config(CONFIG, [f"train.{key}={value}" for key, value in free.items()])
        turns, watched = measure(config, steps)
    found = compare(turns, config.train.log_every)
    made = statistics.median(watched.seconds)
    where = f"{processor()}, one thread"
    print(f"{TITLE}\n{where}\n")
    print("| seconds by | bare step | step of the loop | the loop costs | of which making the batch |\n|---|---|---|---|---|")
    for name, row in found.items():
        row["batch_share"] = made / statistics.median([pair[0] for pair in turns.alone])
        steps_ms = f"{row['bare_seconds'] * 1000:.1f} ms | {row['loop_seconds'] * 1000:.1f} ms"
        print(f"| {name} | {steps_ms} | {row['loop_costs']:+.2%} | {row['batch_share']:.2%} |")
    rows = {**found, "batch_seconds": made, "steps": steps - config.train.log_every}
    content = {"title": TITLE, "hardware": where, "command": "python -m benchmarks.loop", "versions": versions(), "rows": rows}
    if is_whole(parser, options):
        keep("loop", content)


if __name__ == "__main__":
    main()
