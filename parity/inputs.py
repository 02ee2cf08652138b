"""Made-up inputs that fit a model, under Hugging Face's names. B batch, T length."""

from __future__ import annotations

from typing import Literal

import numpy as np

from configs import ModelConfig
from configs.parts import AudioInputs
from parity.implementation import Inputs

Side = Literal["left", "right"]


def example_inputs(config: ModelConfig, batch: int, length: int, seed: int = 0, decoder_length: int | None = None) -> dict[str, np.ndarray]:
    """Random ids (B, T), segments where the model has them, or images (B, C, H, W) or audio (B, mel bins, frames), which have a length of
    their own.

    A decoder that has an encoder gets `decoder_length` ids, about two thirds of `length` unless given. The padding token is not among
    the ids: some models count positions without it, and some train no vector for it. A text that is read at its end has one.
    """
    random = np.random.default_rng(seed)
    if config.inputs.kind == "patches":
        size = config.inputs.image_size
        return {"pixel_values": random.standard_normal((batch, config.inputs.num_channels, size, size), np.float32)}
    inputs: dict[str, np.ndarray] = {}
    if isinstance(config.inputs, AudioInputs):
        inputs["input_features"] = random.standard_normal((batch, config.inputs.num_mel_bins, config.inputs.num_frames), np.float32)
    else:
        inputs["input_ids"] = _ids(random, config, batch, length)
    if config.pooler is not None and config.pooler.kind == "end":
        # In the middle, which `padded` leaves as it is.
        inputs["input_ids"][:, length // 2] = config.special_tokens.eos[0]
    if config.embedding.token_types > 1:
        inputs["token_type_ids"] = random.integers(0, config.embedding.token_types, (batch, length))
    if config.architecture == "encoder_decoder":
        inputs["decoder_input_ids"] = _ids(random, config, batch, decoder_length or (2 * length + 1) // 3)
    return inputs


def example_labels(output: np.ndarray, inputs: Inputs, seed: int = 0) -> np.ndarray:
    """A random class for every score vector of `output`, whose last axis is the classes, and -100 for padding.

    Where there is one score alone, it is that of class 1, and class 0 has 0.
    """
    labels = np.random.default_rng(seed).integers(0, max(2, output.shape[-1]), output.shape[:-1])
    mask = inputs.get("decoder_attention_mask" if "decoder_input_ids" in inputs else "attention_mask")
    if mask is not None and mask.shape == labels.shape:
        labels[mask == 0] = -100
    return labels


def padded(inputs: Inputs, config: ModelConfig, side: Side) -> dict[str, np.ndarray]:
    """The same inputs with masks: two fifths of the first row are padding, and one token of the second."""
    found = dict(inputs)
    for ids, mask in (("input_ids", "attention_mask"), ("decoder_input_ids", "decoder_attention_mask")):
        if ids not in inputs:
            continue
        batch, length = inputs[ids].shape
        lost = np.zeros(batch, int)
        lost[:2] = [2 * length // 5, min(1, length - 1)][:batch]
        place = np.arange(length) if side == "left" else np.arange(length)[::-1]
        found[mask] = (place[None] >= lost[:, None]).astype(np.int64)
        if config.special_tokens.pad is not None:
            found[ids] = np.where(found[mask] == 1, inputs[ids], config.special_tokens.pad)
    return found


def positions(attention_mask: np.ndarray) -> np.ndarray:
    """position_ids (B, T) that count the tokens that are not padding."""
    return np.maximum(attention_mask.cumsum(-1) - 1, 0)


def _ids(random: np.random.Generator, config: ModelConfig, batch: int, length: int) -> np.ndarray:
    known = np.setdiff1d(np.arange(config.vocab_size), [config.special_tokens.pad if config.special_tokens.pad is not None else -1])
    return random.choice(known, (batch, length))
