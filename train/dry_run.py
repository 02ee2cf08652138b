"""What a step of a PyTorch run takes, without running it, for `train.preview`."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from configs import RunConfig
from train import zero
from train.batches import Batch
from train.checkpoints import conditions
from train.launch import uses_cpu, uses_deepspeed, uses_fsdp
from train.loss import training_loss
from train.objectives.corpus import Corpus
from train.preview import WHOLE, Held, preview, preview_folder
from train.without_storage import AsOnDevice
from transformer_torch import Transformer


def dry_run(config: RunConfig, corpus: Corpus, processes: int, precision: str = "no") -> None:
    """Print all of it. processes: how many share a batch. precision: accelerate's `mixed_precision`, as the run would have it."""
    of_products = "bf16" if precision == "bf16" else "float32"
    counted = config.model_copy(update={"train": config.train.model_copy(update={"precision": of_products})})
    parts = config.train.accumulation_steps
    _, flops, activations = count_step(counted, corpus.train.batch(0).share(processes=processes, parts=parts))
    device = torch.cuda.get_device_name() if runs_on_gpu() else "a CPU"
    runs_as = f"{processes} process{'es' * (processes > 1)}, {of_products}, on {device}"
    preview(config, corpus, runs_as, flops * parts * processes, activations, "process", held(os.environ, processes, precision))


def held(environment: Mapping[str, str], processes: int, precision: str) -> Held:
    """What each process holds of weights, gradients and AdamW's moments, whole or in shares, as the launcher asks for."""
    share = ", its share" if processes > 1 else ""
    if uses_deepspeed(environment):
        kinds = " in bf16 and float32" if precision == "bf16" else " in float32"
        return Held(zero.bytes_per_parameter(zero.check_settings(), processes, precision), kinds + share)
    return Held(WHOLE.bytes_per_parameter / processes, WHOLE.how + share) if uses_fsdp(environment) else WHOLE


def count_step(config: RunConfig, batch: Batch) -> tuple[int, int, int]:
    """Parameters, FLOPs of one forward and backward pass, and bytes that are kept in between; nothing is computed for it.

    A matrix product of (m, k) and (k, n) is 2 m k n FLOPs, as the PaLM paper counts (Chowdhery et al. 2022, appendix B).
    Attention is counted as one kernel that keeps no scores; where a device has none for it, more is kept.
    """
    with torch.device("meta"):
        model = Transformer(config.model, seed=None)
    model.set_gradient_checkpointing(config.train.gradient_checkpointing)
    AsOnDevice(config.train.precision == "bf16").cover(model)
    own = {tensor.untyped_storage()._cdata for tensor in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor
        return tensor

    inputs = {name: torch.empty(values.shape, dtype=dtype_of(values), device="meta") for name, values in batch.inputs.items()}
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks:
        labels = torch.empty(batch.labels.shape, dtype=torch.long, device="meta")
        loss = training_loss(model, inputs, labels, config.objective.label_smoothing, config.objective.r_drop)
        activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        loss.backward()
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops(), activations


def dtype_of(values: np.ndarray) -> torch.dtype:
    return torch.float32 if values.dtype.kind == "f" else torch.long


def folder_in_words(config: RunConfig, corpus: Corpus, precision: str) -> str:
    """Where the run would work, by `train.preview`."""
    return preview_folder(config, conditions(precision, "cuda" if runs_on_gpu() else "cpu", corpus.fingerprint))


def runs_on_gpu() -> bool:
    """Whether there is a GPU, and the launcher was not told to leave it alone."""
    return torch.cuda.is_available() and not uses_cpu(os.environ)
