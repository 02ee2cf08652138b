"""The oracle itself: true float64 is float64 everywhere, its tables are the formulas', and one question does not change the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers.models.t5.modeling_t5 import T5Attention

from configs.positions import RotaryPositions
from parity import true_float64
from parity.differences import relative
from tests.parity.conftest import Subject
from tests.parity.rungs import Entry, entries
from weight_mapping import Checkpoint

EXACT = 4 * np.finfo(np.float64).eps


class Float32Made(TorchDispatchMode):
    """Remembers every operation that makes a float32 tensor, but for those that are meant to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function: Callable, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        tensors = [value for value in tree_flatten(result)[0] if isinstance(value, torch.Tensor)]
        if not true_float64._MODE.paused and any(tensor.dtype == torch.float32 for tensor in tensors):
            self.found.add(str(function))
        return result


def test_nothing_is_computed_in_float32(subject: Subject) -> None:
    inputs = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in subject.inputs(2, 9).items()}
    labels, truth = subject.labels(inputs), subject.truth
    with Float32Made() as watch:
        truth.gradients(inputs, labels)
    assert not watch.found
    with Float32Made() as watch:
        subject.reference.gradients(inputs, labels)
    assert watch.found


def test_no_table_was_rounded_to_float32(subject: Subject) -> None:
    """A table of sines or frequencies whose every number fits into float32 has been there, or in a file."""
    model = subject.truth.model
    with Checkpoint(subject.folder) as checkpoint:
        held = set(checkpoint.files.names())
    saved = model.state_dict()
    tables = {name: buffer for name, buffer in model.named_buffers() if name not in saved and buffer.is_floating_point()}
    tables |= {name: parameter.detach() for name, parameter in model.named_parameters() if not parameter.requires_grad and name not in held}
    for name, table in tables.items():
        assert table.dtype == torch.float64, name
        assert table.numel() <= 2 or (table != table.float().double()).any(), name


def test_the_last_hidden_state_is_what_leaves_the_stack(subject: Subject) -> None:
    inputs, model, left = subject.inputs(2, 9), subject.truth.model, []
    alone = subject.config.architecture == "encoder"
    modules = {"encoder": model.base_model if alone else model.get_encoder(), "decoder": model if alone else model.get_decoder()}
    stacks = [modules[stack] for stack in subject.config.stacks]
    hooks = [stack.register_forward_hook(lambda module, arguments, out: left.append(out.last_hidden_state)) for stack in stacks]
    states = subject.truth.hidden_states(inputs)
    for hook in hooks:
        hook.remove()
    for stack, module, state in zip(subject.config.stacks, stacks, left, strict=True):
        # Of CLIP's tower of images, as its pooled vector is.
        state = getattr(module, "post_layernorm", torch.nn.Identity())(state).detach()
        np.testing.assert_array_equal(states[f"{stack}.layers.{subject.config.layers_of(stack) - 1}"], state.numpy())


def test_one_question_does_not_change_the_next(subject: Subject) -> None:
    short, long = subject.inputs(2, 2 * subject.longest // 3), subject.inputs(2, subject.longest)
    before = subject.truth.logits(short)
    subject.truth.logits(long)
    np.testing.assert_array_equal(subject.truth.logits(short), before)


def frequencies(rope: dict[str, Any], size: int, max_length: int, length: int) -> tuple[np.ndarray, float]:
    """The papers' formulas, written once more: how far each pair turns at one position, and the factor on cosines and sines."""
    base, kind, pairs = rope["rope_theta"], rope["rope_type"], np.arange(0, size, 2)
    if kind == "dynamic":
        grown = max(1.0, rope["factor"] * length / max_length - (rope["factor"] - 1))
        return (base * grown ** (size / (size - 2))) ** (-pairs / size), 1.0
    plain = base ** (-pairs / size)
    if kind == "default":
        return plain, 1.0
    if kind == "linear":
        return plain / rope["factor"], 1.0
    original = rope.get("original_max_position_embeddings") or max_length
    turns = original * plain / (2 * math.pi)
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        share = np.clip((turns - low) / (high - low), 0, 1)
        return share * plain + (1 - share) * plain / rope["factor"], 1.0
    borders = [
        size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (rope.get("beta_fast") or 32, rope.get("beta_slow") or 1)
    ]
    low, high = (math.floor(borders[0]), math.ceil(borders[1])) if rope.get("truncate", True) else borders
    low, high = max(low, 0), min(high, size - 1)
    ramp = np.clip((np.arange(size // 2) - low) / (high - low if high != low else 0.001), 0, 1)
    return ramp * plain / rope["factor"] + (1 - ramp) * plain, rope.get("attention_factor") or 0.1 * math.log(rope["factor"]) + 1


ROTARY = [entry for entry in entries() if entry.family == "llama" and isinstance(entry.config.positions, RotaryPositions)]


@pytest.mark.parametrize("subject", ROTARY, indirect=True, ids=str)
def test_rotary_frequencies_are_the_formulas(subject: Subject) -> None:
    settings, length = subject.hugging_face.config, subject.longest
    expected, factor = frequencies(settings.rope_parameters, subject.config.rotary_size, settings.max_position_embeddings, length)
    subject.truth.logits(subject.inputs(1, length))
    modules = [module for module in subject.truth.model.modules() if hasattr(module, "inv_freq")]
    assert modules
    for module in modules:
        assert relative(module.inv_freq.numpy(), expected) < EXACT
        assert abs(float(module.attention_scaling) - factor) < EXACT


def test_every_kind_of_rotary_frequencies_is_there() -> None:
    kinds = {entry.config.positions.scaling.kind for entry in ROTARY if entry.config.positions.scaling}
    assert kinds == {"linear", "dynamic", "llama3", "yarn"}


@pytest.mark.parametrize("subject", [Entry("marian", "MarianMTModel")], indirect=True, ids=str)
def test_sines_and_cosines_are_the_formulas(subject: Subject) -> None:
    width = subject.config.width
    angles = np.arange(subject.config.max_length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for stack in ("encoder", "decoder"):
        table = subject.truth.model.get_parameter(f"model.{stack}.embed_positions.weight")
        assert np.abs(table.numpy() - expected).max() < EXACT


@pytest.mark.parametrize("subject", [Entry("t5", "T5ForConditionalGeneration")], indirect=True, ids=str)
def test_buckets_of_distances_are_those_of_float32(subject: Subject) -> None:
    """With 18 buckets and 128 positions the distances 8, 16 and 64 lie on borders, and fall into other buckets in float64."""
    distances, settings = torch.arange(-300, 301), {"bidirectional": True, "num_buckets": 18, "max_distance": 128}
    expected = T5Attention._relative_position_bucket(distances, **settings)
    oracle = next(module for module in subject.truth.model.modules() if isinstance(module, T5Attention))
    with subject.truth._arithmetic():
        assert (oracle._relative_position_bucket(distances, **settings) == expected).all()
        assert (T5Attention._relative_position_bucket(distances, **settings) != expected).any()
