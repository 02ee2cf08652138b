"""A ladder that nothing falls off proves nothing: each mutation breaks one rule on purpose, and the comparison must see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import transformer_torch
from configs import build
from parity import tolerances
from parity.differences import relative
from parity.inputs import Side, padded
from parity.pytorch import PyTorch
from tests.parity.conftest import Subject
from tests.parity.mutations import MUTATIONS, Mutation
from tests.parity.rungs import entries
from weight_mapping import Checkpoint, families


def mutated(subject: Subject, mutation: Mutation | None, framework: str = "torch", attention: str = "plain") -> Any:
    """A model in float64 with one mistake in its config or its weights, or with none."""
    with Checkpoint(subject.folder) as checkpoint:
        values = checkpoint.config.model_dump()
        for dotted, value in (mutation.settings(checkpoint.config) if mutation and mutation.settings else {}).items():
            *parents, last = dotted.split(".")
            group: Any = values
            for parent in parents:
                group = group[parent]
            group[last] = value
        config = build(type(checkpoint.config), values, "mutation")
        weights = {name: torch.tensor(array) for name, array in checkpoint.tensors()}
    if mutation and mutation.weights:
        mutation.weights(weights)
    tensors = ((name, weight.numpy()) for name, weight in weights.items())
    if framework == "tensorflow":
        import transformer_tf
        from parity.tensorflow import TensorFlow

        twin = transformer_tf.Transformer(config, seed=None, attention=attention, dtype="float64")
        transformer_tf.weights.assign(twin, tensors)
        return TensorFlow(twin)
    model = transformer_torch.Transformer(config, seed=None, attention=attention).double()
    transformer_torch.weights.assign(model, tensors)
    return PyTorch(model.eval())


def expected(subject: Subject, side: Side | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs that are as long as the model knows positions, up to two dozen, and the truth about them; each made once."""
    key = ("truth for mutations", side)
    if key not in subject.loaded:
        inputs = subject.inputs(3, min(subject.longest, 24))
        inputs = padded(inputs, subject.config, side) if side else inputs
        subject.loaded[key] = inputs, subject.truth.logits(inputs)
    return subject.loaded[key]


def test_without_a_mutation_all_is_well(subject: Subject) -> None:
    inputs, truth = expected(subject, None)
    assert relative(subject.ours("torch", "float64", "plain").logits(inputs), truth) < tolerances.FLOAT64


@pytest.mark.parametrize("side", ["left", "right"])
def test_without_a_mutation_all_is_well_beside_padding(subject: Subject, side: Side) -> None:
    inputs, truth = expected(subject, side)
    found = subject.ours("torch", "float64", "plain").logits(inputs)
    assert relative(subject.valid(found, inputs), subject.valid(truth, inputs)) < tolerances.FLOAT64


def test_a_mutation_is_caught(subject: Subject, mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, truth = expected(subject, mutation.padded)
    ours = mutated(subject, mutation)
    if mutation.patch:
        name, replaced = mutation.patch
        for module in (transformer_torch.attention, transformer_torch.layers):
            monkeypatch.setattr(module, name, replaced(getattr(module, name)))
    found = ours.logits(mutation.inputs(ours.model, inputs) if mutation.inputs else inputs)
    assert relative(subject.valid(found, inputs), subject.valid(truth, inputs)) > 1e3 * tolerances.FLOAT64


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_every_mutation_has_a_model_to_apply_to(mutation: Mutation) -> None:
    assert mutation.family in families()
    assert any(mutation.applies(entry.config) for entry in entries() if entry.family == mutation.family)


def test_float32_inside_float64_is_caught(subject: Subject) -> None:
    inputs, truth = expected(subject, None)
    assert relative(subject.ours("torch", "float32").logits(inputs), truth) > 1e3 * tolerances.FLOAT64
