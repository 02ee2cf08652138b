"""A cache gives what reading everything anew gives, however a text comes in; with windows it holds little more than them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from parity import tolerances
from parity.differences import relative
from tests.parity.conftest import Subject
from tests.parity.rungs import Entry
from transformer_tf.cache import Cache as TensorFlowCache
from transformer_torch.cache import Cache as PyTorchCache

WINDOWED = [Entry("mistral", "MistralForCausalLM"), Entry("gemma3", "Gemma3ForCausalLM")]
LENGTH, AHEAD = 24, 3


def empty_cache(model: Any, framework: str, rows: int) -> Any:
    if framework == "torch":
        return PyTorchCache(model.config, rows, LENGTH, torch.float64, torch.device("cpu"), ahead=AHEAD)
    return TensorFlowCache(model.config, rows, LENGTH, tf.float64, ahead=AHEAD)


@torch.no_grad()
def read(model: Any, framework: str, ids: np.ndarray, mask: np.ndarray, cache: Any) -> np.ndarray:
    tensor = torch.from_numpy if framework == "torch" else tf.constant
    start = 0 if cache is None else cache.length
    positions = np.maximum(mask.cumsum(-1) - 1, 0)[:, start : start + ids.shape[1]]
    return np.asarray(model(tensor(ids), attention_mask=tensor(mask), position_ids=tensor(positions), cache=cache))


@pytest.mark.parametrize("subject", WINDOWED, indirect=True, ids=str)
def test_a_text_in_pieces_is_read_as_one_in_a_whole(subject: Subject, framework: str) -> None:
    """Pieces of one token, of a few, and of more than the window; some are taken back and read again."""
    model = subject.ours(framework, "float64").model
    ids = np.random.default_rng(0).integers(3, subject.config.vocab_size, (2, LENGTH))
    mask = np.ones_like(ids)
    mask[0, :2] = 0
    expected = read(model, framework, ids, mask, None)
    for pieces in ([1] * LENGTH, [7, 1, 1, 3, 2, 6, 1, 3], [2, 1, 13, 1, 1, 4, 2]):
        cache, start = empty_cache(model, framework, 2), 0
        for piece in pieces:
            # Other tokens are read first, and taken back.
            if 0 < start < LENGTH - AHEAD:
                read(model, framework, ids[:, :AHEAD], mask, cache)
                cache.length = start
            found = read(model, framework, ids[:, start : start + piece], mask, cache)
            start += piece
            rows = mask[:, start - 1] == 1
            assert relative(found[rows, -1], expected[rows, start - 1]) < tolerances.FLOAT64, f"{pieces} before {start}"
        assert start == LENGTH


@pytest.mark.parametrize("subject", WINDOWED, indirect=True, ids=str)
def test_a_layer_with_a_window_holds_little_more(subject: Subject, framework: str) -> None:
    config = subject.config
    cache = empty_cache(subject.ours(framework, "float64").model, framework, 2)
    sizes = [layer.key_BGNK.shape[2] for layer in cache.layers]
    windows = [config.window_of(layer) for layer in range(config.num_layers)]
    assert sizes == [LENGTH if window is None else window - 1 + AHEAD for window in windows]
    assert min(sizes) < LENGTH
