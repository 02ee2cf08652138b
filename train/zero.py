"""What DeepSpeed must be told of a run, and what its shares are as whole tensors: ZeRO, stages 1 to 3 (Rajbhandari et al. 2020, section 5).

Stage 1 deals out AdamW's moments and the float32 weights that it changes, stage 2 the gradients too, and stage 3 the weights that compute.
DeepSpeed is no requirement of this project: `pip install deepspeed`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin, DistributedType
from torch import nn

from configs import UserError
from transformer_torch.weights import to_torch

STAGES = (1, 2, 3)
MOMENTS = ("exp_avg", "exp_avg_sq")
# What DeepSpeed would do by its own settings, and what the run's config has for it.
OURS = {
    "optimizer": "optimizer",
    "scheduler": "schedule",
    "gradient_clipping": "optimizer.clip",
    "gradient_accumulation_steps": "train.accumulation_steps",
    "train_batch_size": "train.batch_size",
    "train_micro_batch_size_per_gpu": "train.batch_size",
}
# Settings that change how fast it is and what memory it takes, not what it computes; of `zero_optimization` those below, and stage 3's.
HARMLESS = {"bf16", "steps_per_print", "wall_clock_breakdown", "memory_breakdown", "zero_allow_untested_optimizer", "zero_optimization"}
HARMLESS_OF_ZERO = {
    *("stage", "allgather_partitions", "allgather_bucket_size", "overlap_comm", "reduce_scatter", "reduce_bucket_size"),
    *("contiguous_gradients", "round_robin_gradients", "sub_group_size"),
}
# What accelerate always names, and what is to be left where it is.
OFFLOADED = ("offload_optimizer", "offload_param")
# How many gradients DeepSpeed collects before it sends them, if nothing is said.
BUCKET = 500_000_000


def is_zero(accelerator: Accelerator) -> bool:
    """Whether DeepSpeed holds the model."""
    return bool(accelerator.distributed_type == DistributedType.DEEPSPEED)


def check_settings() -> int:
    """The stage that the launcher asks for. Raises UserError for what would compete with the run's config, or has not been tried."""
    try:
        settings = DeepSpeedPlugin().deepspeed_config
        zero = settings["zero_optimization"]
        stage = zero["stage"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"DeepSpeed was asked for, and its settings cannot be read ({error}); they need zero_optimization.stage") from None
    if stage not in STAGES:
        raise UserError(
            f"DeepSpeed's stage {stage} was asked for, which shares nothing; "
            f"choose zero_stage 1, 2 or 3, or launch replicas with configs/accelerate/eight_gpus.yaml"
        )
    for key, instead in OURS.items():
        # accelerate says 1 where nobody has said anything.
        open_ones = ("auto", 1) if key == "gradient_accumulation_steps" else ("auto",)
        if (found := settings.get(key, "auto")) not in open_ones:
            raise UserError(f"DeepSpeed's settings have {key}={found}, and the run's config has {instead} for it; leave {key} out")
    for key in OFFLOADED:
        if (device := (zero.get(key) or {}).get("device") or "none") != "none":
            raise UserError(f"DeepSpeed's settings have {key} to {device}, which this trainer has not been built for; leave {key} out")
    others = [key for key in settings if key not in HARMLESS | set(OURS)]
    others += [f"zero_optimization.{key}" for key in zero if key not in HARMLESS_OF_ZERO | set(OFFLOADED) and not key.startswith("stage3_")]
    if others:
        raise UserError(f"DeepSpeed's settings have {others[0]}, which this trainer has not been tried with; leave it out")
    return int(stage)


def prepare(accelerator: Accelerator, model: nn.Module, clip: float | None) -> None:
    """Make DeepSpeed's settings whole, and in bf16 the model one that computes in it throughout. Nothing happens without DeepSpeed."""
    if not is_zero(accelerator):
        return
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    complete(accelerator.state.deepspeed_plugin.deepspeed_config, sum(weight.numel() for weight in model.parameters()), clip)
    if accelerator.mixed_precision == "bf16":
        # DeepSpeed casts weights alone, and the tables of positions are none.
        model.to(torch.bfloat16)


def complete(settings: dict[str, Any], parameters: int, clip: float | None) -> None:
    """Say what DeepSpeed would ask a data loader and a model of Hugging Face for, and the run's clipping, which it does itself.

    The losses are divided by all targets of a step, so it has nothing to divide. Gradients are summed in float32.
    """
    settings |= {"train_micro_batch_size_per_gpu": 1, "train_batch_size": "auto", "gradient_accumulation_steps": 1}
    settings |= {"gradient_clipping": clip or 0.0, "communication_data_type": "fp32", "data_types": {"grad_accum_dtype": "fp32"}}
    # It would make room for as many gradients, however small the model is.
    told = {key: value for key, value in settings["zero_optimization"].items() if value != "auto"}
    settings["zero_optimization"] = {"reduce_bucket_size": min(BUCKET, parameters)} | told


def backward(accelerator: Accelerator, loss: torch.Tensor, is_last: bool) -> None:
    """The gradients of one part of a step; with the last part they are summed and clipped, and the optimizer takes its step."""
    accelerator.deepspeed_engine_wrapped.backward(loss, sync_gradients=is_last)


def gradient_norm(accelerator: Accelerator) -> torch.Tensor:
    """Of the step that was taken. Versions of DeepSpeed say inf or -1 where it is not finite."""
    norm = float(accelerator.deepspeed_engine_wrapped.get_global_grad_norm())
    return torch.tensor(norm if norm >= 0 else math.nan)


def bytes_per_parameter(stage: int, processes: int, precision: str) -> float:
    """On each process: weights in the type that computes, gradients in float32, and float32 weights and moments."""
    weights, gradients, state = 2 if precision == "bf16" else 4, 4, 12
    dealt_out = state + (gradients if stage > 1 else 0) + (weights if stage > 2 else 0)
    return weights + gradients + state - dealt_out + dealt_out / processes


def make_moments(optimizer: Any) -> None:
    """AdamW's moving means of this process's share, all zero, as DeepSpeed's own first step would make them."""
    for share in shares(optimizer):
        moments: dict[str, torch.Tensor] = {key: torch.zeros_like(share.data) for key in MOMENTS}
        optimizer.optimizer.state[share] = {"step": torch.zeros((), device=share.device), **moments}
    if hasattr(optimizer, "_lazy_init_hp_params_optimizer_state"):
        optimizer._lazy_init_hp_params_optimizer_state()


def shares(optimizer: Any) -> list[torch.Tensor]:
    """What this process has of the float32 weights, laid end to end, a tensor for each group of the optimizer; of stage 3 further cut."""
    # Of stage 3, of stages 1 and 2, and of stage 1 in bf16.
    names = ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition")
    found: list[torch.Tensor] = list(next(getattr(optimizer, name) for name in names if hasattr(optimizer, name)))
    return found


def whole_weights(accelerator: Accelerator, model: nn.Module) -> dict[str, torch.Tensor]:
    """The float32 weights by canonical name, on the CPU of the main process. Every process calls this, and the others get nothing."""
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, parameter in model.named_parameters():
        weight = safe_get_full_fp32_param(parameter).detach()
        if accelerator.is_main_process:
            weights[name] = weight.cpu()
    return weights


def whole_moments(accelerator: Accelerator, model: nn.Module, optimizer: Any) -> dict[str, dict[str, torch.Tensor]]:
    """AdamW's state of each weight by its canonical name, as `whole_weights` gives them."""
    from deepspeed.utils import safe_get_full_optimizer_state

    step, moments = optimizer.optimizer.state[shares(optimizer)[0]]["step"].cpu(), {}
    for name, parameter in model.named_parameters():
        found = {key: safe_get_full_optimizer_state(parameter, key).detach() for key in MOMENTS}
        if accelerator.is_main_process:
            moments[name] = {"step": step.clone()} | {key: moment.cpu() for key, moment in found.items()}
    return moments


@torch.no_grad()
def assign(model: nn.Module, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Fill every weight, the one that computes and the float32 one: DeepSpeed has made the latter of the former, which bf16 has rounded."""
    from deepspeed import zero
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

    parameters = dict(model.named_parameters())
    for name, array in tensors:
        parameter = parameters[name]
        value = to_torch(array).to(parameter.device).float()
        if is_cut(parameter):
            safe_set_local_fp32_param(parameter, own_part(parameter, value))
        else:
            safe_set_full_fp32_param(parameter, value)
        with zero.GatheredParameters([parameter], modifier_rank=0):
            parameter.copy_(value)


@torch.no_grad()
def assign_moments(model: nn.Module, optimizer: Any, moments: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    """Go on with the state that `whole_moments` gave."""
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    for name, parameter in model.named_parameters():
        for key in MOMENTS:
            moment = moments[name][key].to(parameter.device)
            if is_cut(parameter):
                safe_set_local_optimizer_state(parameter, own_part(parameter, moment), key)
            else:
                safe_set_full_optimizer_state(parameter, moment, key)
    for share in shares(optimizer):
        optimizer.optimizer.state[share]["step"].fill_(next(iter(moments.values()))["step"].item())


def is_cut(parameter: nn.Parameter) -> bool:
    """Whether each process has a part of the weight, as in stage 3."""
    return hasattr(parameter, "ds_tensor")


def own_part(parameter: Any, whole: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor: all are of one size, and the last ones are filled up with zeros."""
    size, rank = parameter.ds_tensor.numel(), torch.distributed.get_rank()
    part = whole.flatten()[rank * size : (rank + 1) * size]
    return torch.nn.functional.pad(part, (0, size - part.numel()))
