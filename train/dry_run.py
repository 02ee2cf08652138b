"""What a run would be, without running it: config, parameters, memory and FLOPs of a step, one batch in words."""

from __future__ import annotations

import math
import os

import numpy as np
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from configs import RunConfig
from train.batches import IGNORED, Batch
from train.checkpoints import check_conditions, conditions
from train.launch import uses_cpu
from train.objectives.corpus import Corpus
from train.run_folder import CHECKPOINTS, plan_run, saved, take_lock
from train.without_storage import AsOnDevice
from transformer_torch import Transformer, cross_entropy

SHOWN = 400


def dry_run(config: RunConfig, corpus: Corpus, processes: int, precision: str = "no") -> None:
    """Print all of it. processes: how many share a batch. precision: accelerate's `mixed_precision`, as the run would have it."""
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=140))
    batch = corpus.train.batch(0)
    share = batch.share(processes=processes, parts=config.train.accumulation_steps)
    of_products = "bf16" if precision == "bf16" else "float32"
    counted = config.model_copy(update={"train": config.train.model_copy(update={"precision": of_products})})
    parameters, flops, activations = count_step(counted, share)
    flops *= config.train.accumulation_steps * processes
    fixed = 16 * parameters
    size = f"{len(batch):,} sequences, {batch.tokens:,} tokens, {batch.targets:,} targets"
    steps, epochs = 1 / max(corpus.train.epoch(1), 1e-9), corpus.train.epoch(config.train.max_steps)
    print(f"runs as          {processes} process{'es' * (processes > 1)}, {of_products}")
    print(f"parameters       {parameters:,}")
    print(f"a step           {size}; {flops / 1e9:,.1f} GFLOP in matrix products")
    print(f"an epoch         {steps:,.1f} steps; the run is {epochs:.2f} epochs")
    print(
        f"memory           {(fixed + activations) / 2**20:,.0f} MiB a process at least: {fixed / 2**20:,.0f} of weights, gradients and "
        f"AdamW's moments in float32, {activations / 2**20:,.0f} of what the backward pass needs"
    )
    print("".join(f"data             {note}\n" for note in corpus.notes), end="")
    shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in batch.inputs.items())
    print(f"first example of the first batch, whose inputs are {shapes}")
    for name, text in in_words(batch, corpus).items():
        print(f"  {name:18}{text[:SHOWN]!r}")


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
        logits = model(**inputs)
        loss = cross_entropy(logits, torch.empty(batch.labels.shape, dtype=torch.long, device="meta"), config.objective.label_smoothing)
        activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        loss.backward()
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops(), activations


def dtype_of(values: np.ndarray) -> torch.dtype:
    return torch.float32 if values.dtype.kind == "f" else torch.long


def folder_in_words(config: RunConfig, corpus: Corpus, precision: str) -> str:
    """Where the run would work, and what `train.existing` would do there. Raises UserError where the run would."""
    plan, policy = plan_run(config), f"train.existing={config.train.existing}"
    if not plan.resumed:
        return f"folder           {plan.path} is made" + (f" by {policy}; {plan.beside} stays as it is" if plan.beside else "")
    if lock := take_lock(plan.path):
        lock.close()
    done = 0
    if good := saved(plan.path / CHECKPOINTS):
        on_gpu = torch.cuda.is_available() and not uses_cpu(os.environ)
        now = conditions(precision, "cuda" if on_gpu else "cpu", corpus.fingerprint)
        done = check_conditions(good[-1], now)["step"]
    return f"folder           {plan.path} holds an unfinished run, and {policy} goes on after step {done}"


def in_words(batch: Batch, corpus: Corpus) -> dict[str, str]:
    """Inputs and labels of the first example, ids decoded; '·' stands where no label counts."""
    words = {name: describe(name, values[0], corpus) for name, values in batch.inputs.items() if not name.endswith("mask")}
    if batch.labels.ndim == 1:
        return words | {"label": str(int(batch.labels[0]))}
    assert corpus.tokenizer is not None
    row = batch.labels[0]
    if (row == IGNORED).mean() > 0.5:
        return words | {"labels": " ".join("·" if label == IGNORED else corpus.tokenizer.decode([label]) for label in row)}
    return words | {"labels": corpus.tokenizer.decode(row[row != IGNORED].tolist())}


def describe(name: str, values: np.ndarray, corpus: Corpus) -> str:
    if name.endswith("ids") and corpus.tokenizer is not None and "type" not in name:
        return corpus.tokenizer.decode(values.tolist())
    size = "x".join(map(str, values.shape))
    return f"{math.prod(values.shape)} values ({size}) from {values.min():.3g} to {values.max():.3g}"
