"""A ladder that nothing falls off proves nothing: each mutation breaks one rule on purpose, and the comparison must see it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import transformer_torch
from configs import build
from parity import tolerances
from parity.differences import relative
from parity.pytorch import PyTorch
from tests.parity.conftest import Subject
from weight_mapping import Checkpoint


def mutated(subject: Subject, **changes: Any) -> PyTorch:
    """The PyTorch model with some config fields changed under the same weights."""
    with Checkpoint(subject.folder) as checkpoint:
        values = checkpoint.config.model_dump()
        for dotted, value in changes.items():
            *parents, last = dotted.split("__")
            group = values
            for parent in parents:
                group = group[parent]
            group[last] = value
        model = transformer_torch.Transformer(build(type(checkpoint.config), values, "mutation"), seed=None).double()
        transformer_torch.weights.assign(model, checkpoint.tensors())
    return PyTorch(model.eval())


def distance(subject: Subject, ours: PyTorch) -> float:
    inputs = subject.inputs(3, 11)
    return relative(ours.logits(inputs), subject.truth.logits(inputs))


def test_without_a_mutation_all_is_well(subject: Subject) -> None:
    assert distance(subject, mutated(subject)) < tolerances.FLOAT64


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"])
def test_another_activation_is_caught(subject: Subject, activation: str) -> None:
    if activation == subject.config.feed_forward.activation:
        return
    assert distance(subject, mutated(subject, feed_forward__activation=activation)) > 1e-6


@pytest.mark.parametrize("factor", [0.99, 1.01, 1e-3])
def test_another_epsilon_is_caught(subject: Subject, factor: float) -> None:
    epsilon = subject.config.norm.epsilon * factor
    assert distance(subject, mutated(subject, norm__epsilon=epsilon)) > 1e3 * tolerances.FLOAT64


def test_another_scale_of_the_scores_is_caught(subject: Subject) -> None:
    scale = 1 / math.sqrt(subject.config.width)
    assert distance(subject, mutated(subject, attention__scale=scale)) > 1e-6


def swap(first: str, second: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def mutate(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if first in name]:
            one, other = weights[name], weights[name.replace(first, second)]
            rows = min(len(one), len(other))
            kept = one[:rows].clone()
            one[:rows].copy_(other[:rows])
            other[:rows].copy_(kept)

    return mutate


def transpose(part: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def mutate(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.endswith(f"{part}.weight")]:
            rows, columns = weights[name].shape
            size = min(rows, columns)
            square = weights[name][:size, :size]
            square.copy_(square.T.clone())

    return mutate


def zero(part: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def mutate(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.endswith(part)]:
            weights[name].zero_()

    return mutate


WEIGHTS = {
    "query and key swapped": swap("self_attention.query", "self_attention.key"),
    "key and value swapped": swap("self_attention.key", "self_attention.value"),
    "layers swapped": swap("layers.0.", "layers.1."),
    "norms swapped": swap("self_attention.norm", "feed_forward.norm"),
    "output left untransposed": transpose("output"),
    "query left untransposed": transpose("query"),
    "no query bias": zero("query.bias"),
    "no output bias": zero("output.bias"),
    "no norm bias": zero("norm.bias"),
    "no down bias": zero("down.bias"),
}


@torch.no_grad()
@pytest.mark.parametrize("mutation", WEIGHTS)
def test_weights_in_the_wrong_place_are_caught(subject: Subject, mutation: str) -> None:
    ours = mutated(subject)
    weights = dict(ours.model.named_parameters())
    before = {name: weight.clone() for name, weight in weights.items()}
    WEIGHTS[mutation](weights)
    if all(torch.equal(before[name], weights[name]) for name in weights):
        # A family without the bias has nothing to lose.
        assert "bias" in mutation
        return
    assert distance(subject, ours) > 1e-6


def test_a_mask_off_by_one_is_caught(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = transformer_torch.attention
    right = attention.causal_mask
    with Checkpoint(subject.folder):
        ours = PyTorch(transformer_torch.load(subject.folder, "float64", "plain"))
    assert distance(subject, ours) < tolerances.FLOAT64

    def shifted(length: int, keys: int, start: int, *more: Any, **settings: Any) -> torch.Tensor:
        return right(length, keys, start + 1, *more, **settings)

    monkeypatch.setattr(attention, "causal_mask", shifted)
    assert distance(subject, ours) > 1e-6


def test_positions_off_by_one_are_caught(subject: Subject) -> None:
    ours, inputs = mutated(subject), subject.inputs(2, 9)
    right, shifted = np.arange(9)[None], np.arange(9)[None] * 2
    assert relative(ours.logits({**inputs, "position_ids": right}), subject.truth.logits(inputs)) < tolerances.FLOAT64
    assert relative(ours.logits({**inputs, "position_ids": shifted}), subject.truth.logits(inputs)) > 1e-6


def test_float32_inside_float64_is_caught(subject: Subject) -> None:
    with Checkpoint(subject.folder):
        ours = PyTorch(transformer_torch.load(subject.folder, "float32"))
    assert distance(subject, ours) > 1e3 * tolerances.FLOAT64
