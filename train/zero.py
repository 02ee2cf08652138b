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


def is_zero(accelerator: Accelerator) -> bool:
    """Whether DeepSpeed holds the model."""
    return bool(accelerator.distributed_type == DistributedType.DEEPSPEED)


def check_settings() -> int:
    """The stage that the launcher asks for. Raises UserError for what would compete with the run's config, or has not been tried."""
    try:
        settings = DeepSpeedPlugin().deepspeed_config
    except ValueError as error:
        raise UserError(f"DeepSpeed was asked for, and its settings cannot be read: {error}") from None
    zero = settings["zero_optimization"]
    if zero["stage"] not in STAGES:
        raise UserError(
            f"DeepSpeed's stage {zero['stage']} was asked for, which shares nothing; "
            f"choose zero_stage 1, 2 or 3, or launch replicas with configs/accelerate/eight_gpus.yaml"
        )
    for key, instead in OURS.items():
        if (found := settings.get(key, "auto")) not in ("auto", 1 if key == "gradient_accumulation_steps" else "auto"):
            raise UserError(f"DeepSpeed's settings have {key}={found}, and the run's config has {instead} for it; leave {key} out")
    for key in ("offload_optimizer", "offload_param"):
        if (device := (zero.get(key) or {}).get("device") or "none") != "none":
            raise UserError(f"DeepSpeed's settings have {key} to {device}, which this trainer has not been built for; leave {key} out")
    return int(zero["stage"])


def complete_settings(accelerator: Accelerator, clip: float | None) -> None:
    """Give DeepSpeed what it would ask an own data loader for, and the run's clipping, which it does itself.

    The losses are divided by all targets of a step, so it has nothing to divide. Nothing happens without DeepSpeed.
    """
    if not is_zero(accelerator):
        return
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    settings = accelerator.state.deepspeed_plugin.deepspeed_config
    settings |= {"train_micro_batch_size_per_gpu": 1, "train_batch_size": "auto", "gradient_accumulation_steps": 1}
    settings |= {"gradient_clipping": clip or 0.0, "communication_data_type": "fp32"}


def backward(accelerator: Accelerator, loss: torch.Tensor, is_last: bool) -> None:
    """The gradients of one part of a step; with the last part they are summed and clipped, and the optimizer takes its step."""
    accelerator.deepspeed_engine_wrapped.backward(loss, sync_gradients=is_last)


def gradient_norm(accelerator: Accelerator) -> torch.Tensor:
    """Of the step that was taken. DeepSpeed says -1 where it is not finite."""
    norm = float(accelerator.deepspeed_engine_wrapped.get_global_grad_norm())
    return torch.tensor(norm if norm >= 0 else math.nan)


def bytes_per_parameter(stage: int, processes: int, precision: str) -> float:
    """Of weights, gradients and AdamW's state on each process: in bf16 DeepSpeed keeps float32 weights beside those that compute, and in
    float32 too."""
    size = 2 if precision == "bf16" else 4
    weights, gradients, state = size, size, 12
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
    flat = "fp32_partitioned_groups_flat" if hasattr(optimizer, "fp32_partitioned_groups_flat") else "single_partition_of_fp32_groups"
    found: list[torch.Tensor] = list(getattr(optimizer, flat))
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
    from deepspeed.utils import safe_set_full_fp32_param

    parameters = dict(model.named_parameters())
    for name, array in tensors:
        parameter = parameters[name]
        value = torch.from_numpy(array).to(parameter.device)
        safe_set_full_fp32_param(parameter, value.float())
        with zero.GatheredParameters([parameter], modifier_rank=0):
            parameter.copy_(value)


@torch.no_grad()
def assign_moments(model: nn.Module, optimizer: Any, moments: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    """Go on with the state that `whole_moments` gave."""
    from deepspeed.utils import safe_set_full_optimizer_state

    for name, parameter in model.named_parameters():
        for key in MOMENTS:
            safe_set_full_optimizer_state(parameter, moments[name][key].to(parameter.device), key)
    for share in shares(optimizer):
        optimizer.optimizer.state[share]["step"].fill_(next(iter(moments.values()))["step"].item())
