"""Runs of configs/accelerate/deepspeed.yaml on processes without a GPU: `torchrun --nproc_per_node 2 -m tests.train.zero FOLDER`.

On a CPU accelerate leaves DeepSpeed out. Told that it is there, both work as on GPUs, by their own code, and exchange by gloo.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType

from configs import RunConfig, UserError
from tests.train.runs import ROOT, run_config
from tests.train.sharded import dates, replicating_accelerator, train
from train.loop import Trainer
from train.zero import check_settings, shares
from weight_mapping import canonical_tensors

STAGES = (1, 2, 3)


def sharing_accelerator(precision: str, stage: int) -> Accelerator:
    """As `accelerate launch --config_file configs/accelerate/deepspeed.yaml --zero_stage N` makes it."""
    AcceleratorState._reset_state()
    if PartialState._shared_state:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_CPU
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    settings = yaml.safe_load((ROOT / "configs" / "accelerate" / "deepspeed.yaml").read_text())["deepspeed_config"] | {"zero_stage": stage}
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true"} | {
        f"ACCELERATE_DEEPSPEED_{key.upper()}": str(value) for key, value in settings.items()
    }
    assert check_settings() == stage
    plugin = DeepSpeedPlugin()
    # Else weights as small as these stay whole once they have been gathered.
    plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    plugin.set_mixed_precision(precision)
    plugin.select(_from_accelerator_state=True)
    accelerator.state.deepspeed_plugins = plugin
    accelerator.deepspeed_engine_wrapped = None
    PartialState._shared_state["distributed_type"] = accelerator.state.distributed_type = DistributedType.DEEPSPEED
    return accelerator


def replicating() -> Accelerator:
    """Without DeepSpeed."""
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_CPU
    return replicating_accelerator()


def check_shares(trainer: Trainer) -> None:
    """Each process has its part of what AdamW changes, in float32 and beside the weights that compute."""
    whole = sum(math.prod(tensor.shape) for tensor in canonical_tensors(trainer.config.model))
    held = sum(share.numel() for share in shares(trainer.optimizer))
    assert held < 0.6 * whole
    assert all(share.dtype == torch.float32 for share in shares(trainer.optimizer))
    assert trainer.model.get_data_types()[1] == torch.float32, "gradients are summed in it"
    here = sum(parameter.numel() for parameter in trainer.plain.parameters())
    assert here == (0 if trainer.accelerator.state.deepspeed_plugin.zero_stage == 3 else whole)


# Sizes that two processes cannot halve.
ODD = {"model__positions": "{kind: rotary}", "model__feed_forward__width": 41}
# A step of next to no length.
STILL = {"optimizer__learning_rate": 1e-30, "optimizer__weight_decay": 0, "schedule__warmup_steps": 0}
STILL |= {"train__max_steps": 1, "train__save_every": 1}
BF16 = {"train__precision": "bf16"}
PARTS = {"train__accumulation_steps": 2, "train__gradient_checkpointing": "true"}


def main(folder: Path) -> None:
    """The same runs in every stage, and one that goes on in other ways than it began; or, where one process was started, whole."""
    torch.set_num_threads(1)
    if "WORLD_SIZE" not in os.environ:
        for name, changes in (("one", {}), ("odd_one", ODD), ("still", STILL)):
            train(run_config(folder, name=name, **changes), Accelerator(cpu=True))
        return train(dates(folder, "dates_one"), Accelerator(cpu=True))

    def start(config: RunConfig, stage: int, steps: int = 1000, done: int = 0) -> None:
        precision = "bf16" if config.train.precision == "bf16" else "no"
        train(config, sharing_accelerator(precision, stage), steps, done, check_shares)

    for stage in STAGES:
        start(run_config(folder, name=f"stage_{stage}"), stage)
        start(run_config(folder, name=f"odd_{stage}", **ODD), stage)
        start(dates(folder, f"dates_{stage}"), stage)
        start(run_config(folder, name=f"parts_{stage}", **PARTS), stage)
        if stage < 3:
            start(run_config(folder, name=f"compiled_{stage}", train__compile="true"), stage)
        for name, changes in (("dropout", {"model__dropout": 0.2}), ("bf16", BF16), ("odd_bf16", ODD | BF16)):
            start(run_config(folder, name=f"{name}_{stage}", **changes), stage)
            stopped = {"name": f"{name}_stopped_{stage}", **changes}
            start(run_config(folder, **stopped), stage, 3)
            start(run_config(folder, **stopped, train__existing="resume"), stage, done=3)
        start(run_config(folder, name=f"bf16_parts_{stage}", **BF16, **PARTS), stage)
        start(dates(folder, f"dates_bf16_{stage}", "train.precision=bf16"), stage)
        start(run_config(folder, name=f"still_{stage}", **BF16, **STILL), stage)
        start(run_config(folder, name=f"initial_{stage}", **BF16, **STILL, initial=folder / "initial"), stage)
        start(run_config(folder, name=f"left_{stage}"), stage, 3)
        train(run_config(folder, name=f"left_{stage}", train__existing="resume"), replicating(), done=3)
        train(run_config(folder, name=f"taken_{stage}"), replicating(), 3)
        start(run_config(folder, name=f"taken_{stage}", train__existing="resume"), stage, done=3)
        try:
            start(run_config(folder, name=f"wrong_{stage}", optimizer__learning_rate=1e30, optimizer__clip="null"), stage)
        except UserError as error:
            (folder / "runs" / f"wrong_{stage}.txt").write_text(str(error))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
