"""Runs of configs/accelerate/fsdp2.yaml on processes without a GPU: `torchrun --nproc_per_node 2 -m tests.train.sharded FOLDER`.

On a CPU accelerate replicates where it is asked to shard. Told that the device does not matter, it shards as on GPUs: by its own code,
with the settings of our file, which calls PyTorch's `fully_shard`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import nn
from torch.distributed.tensor import DTensor

from configs import RunConfig, load_run_config
from tests.train.runs import ROOT, run_config
from train import summary
from train.loop import Trainer
from train.objectives import prepare
from train.run_folder import RunFolder, open_run
from train.stop import Stop

DATES = ["data.train=400", "data.validation=20", "data.test=20", "model.width=16", "model.feed_forward.width=24", "model.dropout=0"]
DATES += ["train.batch_tokens=400", "train.max_steps=6", "train.evaluate_every=3", "train.save_every=2", "train.log_every=1"]
DATES += [
    "schedule.warmup_steps=2",
    "optimizer.learning_rate=5e-4",
    "train.precision=float32",
    "train.cpu_threads=1",
    "model.attention.num_heads=2",
    "evaluation.average_checkpoints=1",
]


def dates(folder: Path, name: str, *changes: str) -> RunConfig:
    """An encoder-decoder, whose cross-attention looks at the encoder before its layer is reached."""
    return load_run_config(ROOT / "configs" / "runs" / "dates.yaml", [*DATES, f"train.output={folder / 'runs'}", f"name={name}", *changes])


def sharding_accelerator(precision: str) -> Accelerator:
    """As `accelerate launch --config_file configs/accelerate/fsdp2.yaml` makes it."""
    # What it knows of precision is kept between accelerators.
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    settings = yaml.safe_load((ROOT / "configs" / "accelerate" / "fsdp2.yaml").read_text())["fsdp_config"]
    settings["fsdp_transformer_cls_to_wrap"] = settings.pop("fsdp_transformer_layer_cls_to_wrap")
    os.environ |= {"ACCELERATE_USE_FSDP": "true"} | {key.upper(): str(value) for key, value in settings.items()}
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    if precision == "bf16":
        accelerator.state.fsdp_plugin.set_mixed_precision(precision)
    accelerator.state.distributed_type = DistributedType.FSDP
    assert accelerator.is_fsdp2
    return accelerator


def replicating_accelerator() -> Accelerator:
    """As `accelerate launch --multi_gpu` makes it: each process has all weights."""
    AcceleratorState._reset_state()
    os.environ.pop("ACCELERATE_USE_FSDP", None)
    accelerator = Accelerator(cpu=True)
    assert accelerator.state.distributed_type == DistributedType.MULTI_CPU
    return accelerator


Check = Callable[[Trainer], None]


class After(Stop):
    """Stops in good order after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def agreed(self) -> int:
        self.left -= 1
        return 143 if self.left == 0 else 0


def train(config: RunConfig, accelerator: Accelerator, steps: int = 1000, done: int = 0, check: Check | None = None) -> None:
    """One run, or its first steps. done: steps of a run that goes on. check: what the trainer must hold, default FSDP2's shares."""
    # What it knows of this is lost while it prepares a model.
    is_sharded = accelerator.is_fsdp2
    corpus = prepare(config)
    folder = Path(config.train.output) / config.name
    run = open_run(config) if accelerator.is_main_process else RunFolder(folder, config.train.existing == "resume")
    trainer = Trainer(config, accelerator, corpus, run)
    assert trainer.progress.step == done
    if check is None:
        check_shares(trainer.model, accelerator.num_processes if is_sharded else 1)
    else:
        check(trainer)
    if is_sharded and accelerator.mixed_precision == "bf16":
        assert accelerator.state.fsdp_plugin.mixed_precision_policy.reduce_dtype == torch.float32
    stop = After(steps)
    if trainer.train(stop) == 0:
        summary.finish(config, accelerator, corpus, run, trainer.plain, trainer.progress.seconds)
    stop.end()
    if run.lock:
        run.lock.close()


def check_shares(model: nn.Module, processes: int) -> None:
    """Each of several processes that share the weights holds its part, and where they are not shared, all of them."""
    weights = list(model.parameters())
    held = sum((weight.to_local() if isinstance(weight, DTensor) else weight).numel() for weight in weights)
    assert all(isinstance(weight, DTensor) for weight in weights) == (processes > 1)
    assert held < 1.1 / processes * sum(weight.numel() for weight in weights)


def main(folder: Path) -> None:
    """Sharded runs, or where one process was started, the same runs whole."""
    torch.set_num_threads(1)
    several = "WORLD_SIZE" in os.environ

    def start(config: RunConfig, steps: int = 1000, done: int = 0) -> None:
        precision = "bf16" if config.train.precision == "bf16" else "no"
        train(config, sharding_accelerator(precision) if several else Accelerator(cpu=True, mixed_precision=precision), steps, done)

    kind = "sharded" if several else "one"
    start(run_config(folder, name=kind))
    start(dates(folder, f"dates_{kind}"))
    if several:
        start(run_config(folder, name="parts", train__accumulation_steps=2, train__gradient_checkpointing="true"))
        start(run_config(folder, name="bf16", train__precision="bf16"))
        start(run_config(folder, name="whole", model__dropout=0.2))
        start(run_config(folder, name="stopped", model__dropout=0.2), 3)
        start(run_config(folder, name="stopped", model__dropout=0.2, train__existing="resume"), done=3)
        start(dates(folder, "dates_stopped"), 3)
        start(dates(folder, "dates_stopped", "train.existing=resume"), done=3)
        train(dates(folder, "dates_replicated"), replicating_accelerator(), 3)
        train(dates(folder, "dates_replicated", "train.existing=resume"), replicating_accelerator(), done=3)
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
