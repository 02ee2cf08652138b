"""A line of the table broken on purpose must be noticed: by a check of names and shapes, or else by the numbers.

A square matrix left untransposed, or query and key changed for each other, pass every check of shapes. So the sizes are made
square here, and the logits are held against Hugging Face's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import transformer_torch
from configs import UserError
from parity import tolerances
from parity.differences import relative
from parity.huggingface import HuggingFace
from parity.inputs import example_inputs
from parity.pytorch import PyTorch
from tests.weight_mapping.folders import config_of
from weight_mapping import Checkpoint, families
from weight_mapping.family import Family
from weight_mapping.operations import TRANSPOSE
from weight_mapping.table import Rule

# Changes of the revealing sizes that make every matrix that can be square so, and give each query head a key head of its own.
# A family without a line here is held to whichever check sees the mutation.
SQUARE: dict[str, dict[str, Any]] = {
    "gpt2": {"n_inner": 20},
    "llama": {"num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": 6, "intermediate_size": 30},
}
TRANSPOSED = [(name, rule) for name, family in families().items() for rule in family.rules if TRANSPOSE in rule.operations]


def difference(folder: Path) -> float:
    """How far the outputs are from Hugging Face's, at most, relative to the largest."""
    reference, inputs = hugging_face(folder)
    return relative(PyTorch(transformer_torch.load(folder)).logits(inputs), reference)


@cache
def hugging_face(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Hugging Face's outputs for made-up inputs."""
    with Checkpoint(folder) as checkpoint:
        config = checkpoint.config
    model = getattr(transformers, config_of(folder)["architectures"][0]).from_pretrained(folder)
    inputs = example_inputs(config, 2, 9)
    return HuggingFace(model, config).logits(inputs), inputs


def is_noticed(folder: Path) -> bool:
    try:
        return difference(folder) > 10 * tolerances.FLOAT32
    except UserError:
        return True


@pytest.fixture
def square(family: Family, checkpoint_of: Callable[..., Path]) -> Path:
    return checkpoint_of(family, **SQUARE.get(family.name, {}))


def with_rules(monkeypatch: pytest.MonkeyPatch, family: Family, rules: tuple[Rule, ...]) -> None:
    assert rules != family.rules
    monkeypatch.setitem(families(), family.name, replace(family, rules=rules))


def test_unbroken_it_is_right(folder: Path, square: Path) -> None:
    assert difference(folder) < tolerances.FLOAT32
    assert difference(square) < tolerances.FLOAT32


@pytest.mark.parametrize(("name", "rule"), TRANSPOSED, ids=[rule.source for _, rule in TRANSPOSED])
def test_a_dropped_transpose(name: str, rule: Rule, checkpoint_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    family = families()[name]
    folder = checkpoint_of(family, **SQUARE.get(name, {}))
    broken = replace(rule, operations=tuple(operation for operation in rule.operations if operation != TRANSPOSE))
    with_rules(monkeypatch, family, tuple(broken if other == rule else other for other in family.rules))
    if name in SQUARE and len(rule.targets) == 1:
        with Checkpoint(folder) as checkpoint:
            checkpoint.check()  # Square as it is, no check of shapes sees it.
    assert is_noticed(folder)


@pytest.mark.parametrize("pair", [("query", "key"), ("key", "value"), ("query", "value")], ids="-".join)
def test_two_projections_changed_for_each_other(
    family: Family, square: Path, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair

    def exchanged(target: str) -> str:
        return target.replace(f".{first}.", ".?.").replace(f".{second}.", f".{first}.").replace(".?.", f".{second}.")

    rules = tuple(replace(rule, targets=tuple(exchanged(target) for target in rule.targets)) for rule in family.rules)
    with_rules(monkeypatch, family, rules)
    if family.name in SQUARE:
        with Checkpoint(square) as checkpoint:
            checkpoint.check()
    assert is_noticed(square)


def test_two_lines_of_one_shape_changed_for_each_other(family: Family, square: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two norms, two biases, gate and up: each line and the next one that has its shape and operations."""
    with Checkpoint(square) as checkpoint:
        shapes = {
            row.target.replace(".experts.0.", ".experts.{expert}.").replace(".0.", ".{layer}."): row.shape for row in checkpoint.rows()
        }
        config = checkpoint.config
    rules = [rule for rule in family.rules if rule.targets[0] in shapes and rule.counts(config)]
    tried = 0
    for place, first in enumerate(rules):
        for second in rules[place + 1 :]:
            alike = shapes[first.targets[0]] == shapes[second.targets[0]] and first.operations == second.operations
            if not alike or ("{layer}" in first.source) != ("{layer}" in second.source):
                continue
            swap = {first: replace(first, targets=second.targets), second: replace(second, targets=first.targets)}
            with monkeypatch.context() as patch:
                with_rules(patch, family, tuple(swap.get(rule, rule) for rule in family.rules))
                # A key's bias shifts all scores alike, and is nothing to softmax: two of them may change places unseen.
                seen = is_noticed(square)
                assert seen or all(".key.bias" in rule.targets[0] for rule in (first, second)), f"{first.source} and {second.source}"
            tried += 1
            break
    assert tried > 1


def test_a_dropped_line(family: Family, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(folder) as checkpoint:
        config, used = checkpoint.config, {row.target for row in checkpoint.rows()}
    for rule in family.rules:
        # A base model has no head to drop, and one head is not another.
        if rule.targets[0].format(layer=0, expert=0) in used and rule.counts(config):
            with monkeypatch.context() as patch:
                with_rules(patch, family, tuple(other for other in family.rules if other != rule))
                with pytest.raises(UserError, match="has no name for"), Checkpoint(folder) as checkpoint:
                    checkpoint.check()
