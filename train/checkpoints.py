"""Checkpoints that a killed run goes on from, bit for bit: weights, AdamW's moments, random states, step. Safetensors and JSON only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from configs import ModelConfig, UserError, dump
from train import zero
from train.run_folder import saved
from train.saved import MODEL, OPTIMIZER, RANDOM, STATE, check_conditions, shared_by_others
from weight_mapping import whole_folder, write_json
from weight_mapping.checkpoint import MODEL as DESCRIPTION

# Whole tensors under canonical names, however the model is replicated or sharded: to be written by the main process, which alone
# gets them, and to be read by all.
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
WHOLE_EVERYWHERE = StateDictOptions(full_state_dict=True)


@dataclass
class Progress:
    """How far a run is. step: optimizer steps done. tokens: seen in them. seconds: time spent, over all starts.

    conditions: what must be the same for the continuation to be the same: precision, device, text. processes: how many share a step,
    which may change. first_loss: that of the first step, by which `train.diverged` measures.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    conditions: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    first_loss: float | None = None


def save(
    folder: Path,
    accelerator: Accelerator,
    config: ModelConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write step_N as a whole folder. Every process calls this. model: without what replicates it, which would add to its names."""
    weights, moments = whole(accelerator, model, optimizer)
    random_states: dict[str, torch.Tensor] = {}
    for states in gather_object([_random_states(accelerator)]):
        random_states |= states
    if accelerator.is_main_process:
        with whole_folder(folder / f"step_{progress.step}", overwrite=True) as path:
            shared = shared_names(model)
            save_file({name: weight.contiguous() for name, weight in weights.items() if name not in shared}, str(path / MODEL))
            flat = {f"{name}.{key}": value.contiguous() for name, values in moments.items() for key, value in values.items()}
            save_file(flat, str(path / OPTIMIZER))
            save_file(random_states, str(path / RANDOM))
            # With it beside the weights, a checkpoint is a folder that `load` reads.
            dump(config, path / DESCRIPTION)
            write_json(path / STATE, asdict(progress))
    accelerator.wait_for_everyone()


def whole(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
    """Weights, and AdamW's state of each, by canonical name on the CPU of the main process. Every process calls this."""
    if zero.is_zero(accelerator):
        return zero.whole_weights(accelerator, model), zero.whole_moments(accelerator, model, optimizer)
    weights, state = get_state_dict(model, optimizer, options=WHOLE)
    return cast(dict[str, torch.Tensor], weights), cast(dict[str, dict[str, torch.Tensor]], state.get("state", {}))


def conditions(precision: str, device: str, text: str) -> dict[str, Any]:
    """accelerate's `mixed_precision`, the device's type, and the corpus's fingerprint, by the names under which they are saved."""
    return {"precision": precision, "device": device, "text and tokenizer": text}


def load(folder: Path, accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> str:
    """Go back to the last checkpoint, if there is one. Every process calls this, and gets what the user should know about it.

    Raises UserError where the run goes on under other conditions than it was saved under, or where a file is damaged.
    """
    if not (checkpoints := saved(folder)):
        return ""
    path = checkpoints[-1]
    state = check_conditions(path, progress.conditions)
    try:
        weights: dict[str, Any] = load_file(path / MODEL)
        flat, random_states = (load_file(path / name) for name in (OPTIMIZER, RANDOM))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it to go on from the checkpoint before") from None
    moments: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in flat.items():
        parameter, _, key = name.rpartition(".")
        moments.setdefault(parameter, {})[key] = value
    if zero.is_zero(accelerator):
        zero.assign(model, ((name, weight.numpy()) for name, weight in weights.items()))
        zero.assign_moments(model, optimizer, moments)
    else:
        deal_out(model, optimizer, weights, moments)
    rank = accelerator.process_index
    # A process that was not there before keeps the numbers that it was seeded with.
    if f"cpu.{rank}" in random_states:
        torch.set_rng_state(random_states[f"cpu.{rank}"])
    if accelerator.device.type == "cuda" and f"cuda.{rank}" in random_states:
        torch.cuda.set_rng_state(random_states[f"cuda.{rank}"], accelerator.device)
    progress.step, progress.tokens, progress.seconds = state["step"], state["tokens"], state["seconds"]
    progress.first_loss = state.get("first_loss")
    accelerator.wait_for_everyone()
    return shared_by_others(state["processes"], progress.processes, "process", "es")


def deal_out(
    model: nn.Module, optimizer: torch.optim.Optimizer, weights: dict[str, torch.Tensor], moments: dict[str, dict[str, torch.Tensor]]
) -> None:
    """Fill a model and its optimizer, whole or in shares, with the whole tensors of a checkpoint."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, first in shared_names(model).items():
        # PyTorch deals out what it meets, and that is the first name.
        weights[name] = dealt(weights[first], parameters[name])
    groups = get_optimizer_state_dict(model, optimizer)["param_groups"]
    set_state_dict(
        model,
        optimizer,
        model_state_dict=cast(dict[str, Any], weights),
        optim_state_dict=cast(dict[str, Any], {"state": moments, "param_groups": groups}),
        options=WHOLE_EVERYWHERE,
    )


def dealt(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, in shares where a parameter like it is."""
    return distribute_tensor(whole, like.device_mesh, like.placements) if isinstance(like, DTensor) else whole


def shared_names(model: nn.Module) -> dict[str, str]:
    """The further names of parameters that have several, each with the first: a decoder's token table that is the encoder's."""
    first: dict[int, str] = {}
    further: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if (known := first.setdefault(id(parameter), name)) != name:
            further[name] = known
    return further


def whole_weights(accelerator: Accelerator, model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights by canonical name, on the CPU of the main process. Every process calls this, and the others get nothing."""
    if zero.is_zero(accelerator):
        return zero.whole_weights(accelerator, model)
    return cast(dict[str, torch.Tensor], get_model_state_dict(model, options=WHOLE))


def _random_states(accelerator: Accelerator) -> dict[str, torch.Tensor]:
    rank = accelerator.process_index
    states = {f"cpu.{rank}": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        states[f"cuda.{rank}"] = torch.cuda.get_rng_state(accelerator.device)
    return states
