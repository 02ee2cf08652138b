"""What a run would be, told without running it: config, parameters, memory and FLOPs of a step, one batch in words. Of no framework."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import yaml

from configs import RunConfig
from train.batches import IGNORED, Batch
from train.objectives.corpus import Corpus
from train.run_folder import CHECKPOINTS, cannot_be_made, plan_run, saved, take_lock
from train.saved import check_conditions
from weight_mapping import canonical_tensors

SHOWN = 400


class Held(NamedTuple):
    """Bytes of weight, gradient and moments for each parameter, and in which types and shares, in words."""

    bytes_per_parameter: float
    how: str


WHOLE = Held(16, " in float32")


def preview(config: RunConfig, corpus: Corpus, runs_as: str, flops: int, activations: int | None, sharer: str, held: Held = WHOLE) -> None:
    """Print all of it.

    runs_as: who shares a step, and the precision. flops: of a whole step. activations: bytes that the backward pass of one sharer needs,
    None where they are not counted. sharer: what shares a step with others like it, a process or a device.
    held: what each sharer holds of the model.
    """
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=140))
    batch = corpus.train.batch(0)
    parameters = sum(math.prod(tensor.shape) for tensor in canonical_tensors(config.model))
    fixed = round(held.bytes_per_parameter * parameters)
    size = f"{len(batch):,} sequences, {batch.tokens:,} tokens, {batch.targets:,} targets"
    steps, epochs = 1 / max(corpus.train.epoch(1), 1e-9), corpus.train.epoch(config.train.max_steps)
    needed = (
        "what the backward pass needs is not counted"
        if activations is None
        else f"{mebibytes(activations)} of what the backward pass needs"
    )
    print(f"runs as          {runs_as}")
    print(f"parameters       {parameters:,}")
    print(f"a step           {size}; {flops / 1e9:,.1f} GFLOP in matrix products")
    print(f"an epoch         {steps:,.1f} steps; the run is {epochs:.2f} epochs")
    # A compiler keeps less for the backward pass.
    least = "without the compiler" if config.train.compile else "at least"
    print(
        f"memory           {mebibytes(fixed + (activations or 0))} MiB a {sharer} {least}: {mebibytes(fixed)} of weights, gradients and "
        f"AdamW's moments{held.how}, {needed}"
    )
    print("".join(f"data             {note}\n" for note in corpus.notes), end="")
    shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in batch.inputs.items())
    print(f"first example of the first batch, whose inputs are {shapes}")
    for name, text in in_words(batch, corpus).items():
        print(f"  {name:18}{text[:SHOWN]!r}")


def preview_folder(config: RunConfig, conditions: Mapping[str, Any]) -> str:
    """Where the run would work, and what `train.existing` would do there. conditions: those it would go on under. Raises UserError where
    the run would."""
    plan, policy = plan_run(config), f"train.existing={config.train.existing}"
    if not plan.resumed:
        # The nearest folder there is, below which the others are made.
        there = next(folder for folder in plan.path.absolute().parents if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise cannot_be_made(plan.path, f"nothing can be written to {there}")
        return f"folder           {plan.path} is made" + (f" by {policy}; {plan.beside} stays as it is" if plan.beside else "")
    if lock := take_lock(plan.path):
        lock.close()
    done = 0
    if good := saved(plan.path / CHECKPOINTS):
        done = check_conditions(good[-1], conditions)["step"]
    return f"folder           {plan.path} holds an unfinished run, and {policy} goes on after step {done}"


def mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f}"


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
