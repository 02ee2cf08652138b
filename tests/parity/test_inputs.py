"""Inputs that do not fit together are refused by both frameworks, before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import transformer_tf
import transformer_torch
from configs import UserError, load_model_config


def ask(framework: str, preset: str, changes: list[str], **shapes: tuple[int, ...]) -> Any:
    """A small model of a preset, asked with ones of these shapes."""
    sizes = ["width=8", "num_layers=1", "attention={num_heads: 2}", "feed_forward.width=8", "vocab_size=9", "max_length=16"]
    config = load_model_config(preset, [*sizes, "special_tokens={eos: [2], pad: 0, decoder_start: 0}", *changes])
    package, ones = (transformer_torch, torch.ones) if framework == "torch" else (transformer_tf, tf.ones)
    whole = torch.long if framework == "torch" else tf.int64
    real = torch.float32 if framework == "torch" else tf.float32
    inputs = {name: ones(shape, dtype=real if name == "encoded" else whole) for name, shape in shapes.items()}
    return package.Transformer(config)(**inputs)


@pytest.mark.parametrize(
    "changes", [[], ["head={kind: none}", "pooler={kind: mean}"], ["head={kind: none}", "pooler={kind: last}"]], ids=str
)
@pytest.mark.parametrize("length", [3, 7])
def test_a_mask_is_as_long_as_its_tokens(framework: str, changes: list[str], length: int) -> None:
    with pytest.raises(UserError, match=rf"attention_mask has shape \[2, {length}\]; expected \(batch, 5\)"):
        ask(framework, "gpt2", changes, input_ids=(2, 5), attention_mask=(2, length))


@pytest.mark.parametrize("length", [4, 6])
def test_the_mask_of_what_is_encoded_is_as_long(framework: str, length: int) -> None:
    with pytest.raises(UserError, match=rf"attention_mask has shape \[2, {length}\]; expected \(batch, 5\)"):
        ask(framework, "t5-mini", [], encoded=(2, 5, 8), attention_mask=(2, length), decoder_input_ids=(2, 3))


def test_positions_are_rows_too(framework: str) -> None:
    with pytest.raises(UserError, match=r"position_ids has shape \(4,\); expected \(batch, length\)"):
        ask(framework, "llama-character", ["attention.num_key_value_heads=2"], input_ids=(2, 4), position_ids=(4,))


def test_what_fits_is_computed(framework: str) -> None:
    outputs = ask(framework, "t5-mini", [], encoded=(2, 5, 8), attention_mask=(2, 5), decoder_input_ids=(2, 3))
    assert np.isfinite(np.asarray(outputs.detach() if framework == "torch" else outputs)).all()
