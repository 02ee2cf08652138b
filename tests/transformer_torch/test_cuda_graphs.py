"""The memory of recorded steps, on a CPU: a step is not recorded there, but run again. `tests/gpu` records."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from configs import load_model_config
from transformer_torch import Transformer
from transformer_torch.cuda_graphs import KEPT, StepMemories
from transformer_torch.generation_rows import Rows

SETTINGS: dict[str, Any] = {"eos_token_id": (), "pad_token_id": 0}


def run_again(step: Callable[[], torch.Tensor], device: torch.device) -> tuple[Callable[[], Any], torch.Tensor]:
    logits_RTV = step().clone()
    return lambda: logits_RTV.copy_(step()), logits_RTV


def record_on_cpu(model: Transformer) -> None:
    """As `compile` does on a GPU, without a compiler."""
    model.compiled_continue = Rows.continue_with
    model.step_memories = StepMemories(model.compiled_continue, run_again, "cpu")


def models(preset: str, *changes: str) -> tuple[Transformer, Transformer]:
    """One as it is, and one with memories."""
    config = load_model_config(preset, changes)
    plain, recording = Transformer(config).eval(), Transformer(config).eval()
    record_on_cpu(recording)
    return plain, recording


@pytest.mark.parametrize("preset", ["gpt2-mini", "llama-character", "t5-mini", "transformer-dates"])
def test_texts_of_one_shape_use_one_memory_after_another(preset: str) -> None:
    plain, recording = models(preset, "vocab_size=60", "special_tokens={eos: [0], pad: 1, decoder_start: 1}")
    for ids, more in (
        ([[5, 6, 7, 8], [9, 8, 7, 6]], {}),
        ([[4, 6, 2, 8], [9, 8, 3, 6]], {"do_sample": True}),
        ([[5, 6, 7, 8], [9, 8, 7, 6]], {"num_beams": 3}),
        ([[4, 6, 2, 8], [9, 8, 3, 6]], {"num_beams": 3}),
    ):
        expected, found = (model.generate(np.array(ids), max_new_tokens=9, **SETTINGS, **more) for model in (plain, recording))
        np.testing.assert_array_equal(found, expected)
    assert len(recording.step_memories.memories) == 2


def test_padding_is_part_of_the_memory() -> None:
    plain, recording = models("gpt2-mini")
    ids, masks = np.array([[5, 6, 7, 8], [9, 8, 7, 6]]), ([[0, 0, 1, 1], [1, 1, 1, 1]], [[1, 1, 1, 1], [0, 1, 1, 1]])
    for mask in (None, *map(np.array, masks)):
        expected, found = (model.generate(ids, attention_mask=mask, max_new_tokens=9, **SETTINGS) for model in (plain, recording))
        np.testing.assert_array_equal(found, expected)
    assert len(recording.step_memories.memories) == 2


def test_texts_that_grow_at_once_have_a_memory_each() -> None:
    plain, recording = models("gpt2-mini")
    prompts = np.array([[5, 6, 7, 8]]), np.array([[9, 3, 2, 4]])
    streams = [recording.stream(prompt, max_new_tokens=8, **SETTINGS) for prompt in prompts]
    found = np.array([[int(next(stream)[0, 0]) for stream in streams] for _ in range(8)]).T
    expected = [plain.generate(prompt, max_new_tokens=8, **SETTINGS)[0, 4:] for prompt in prompts]
    np.testing.assert_array_equal(found, np.stack(expected))
    assert len(recording.step_memories.memories) == 2


def test_each_number_of_guesses_is_a_step_of_its_own_in_one_memory() -> None:
    plain, recording = models("gpt2-mini")
    ids = np.tile([[5, 6, 7, 8]], 4)
    settings = {"max_new_tokens": 16, "prompt_lookup_num_tokens": 3, **SETTINGS}
    np.testing.assert_array_equal(recording.generate(ids, **settings), plain.generate(ids, **settings))
    (memory,) = recording.step_memories.memories
    assert len(memory.steps) > 1


def test_only_the_last_shapes_are_kept_and_a_copy_begins_with_none() -> None:
    _, recording = models("gpt2-mini")
    for rows in range(1, KEPT + 3):
        recording.generate(np.full((rows, 2), 5), max_new_tokens=3, **SETTINGS)
    assert len(recording.step_memories.memories) == KEPT
    assert not copy.deepcopy(recording.step_memories).memories


def test_weights_elsewhere_make_a_new_memory() -> None:
    plain, recording = models("gpt2-mini")
    ids = np.array([[5, 6, 7, 8]])
    recording.generate(ids, max_new_tokens=3, **SETTINGS)
    for model in (plain, recording):
        model.double().float()
    assert not recording.step_memories.memories
    np.testing.assert_array_equal(*(model.generate(ids, max_new_tokens=3, **SETTINGS) for model in (plain, recording)))
    assert len(recording.step_memories.memories) == 1


def test_what_was_recorded_in_training_is_not_run_elsewhere() -> None:
    """Nor inside of inference mode what was recorded outside."""
    plain, recording = models("gpt2-mini", "dropout=0.5")
    ids = np.array([[5, 6, 7, 8]])
    stream = recording.stream(ids, max_new_tokens=4, **SETTINGS)
    next(stream)
    recording.train()
    list(stream)
    recording.eval()
    expected = plain.generate(ids, max_new_tokens=4, **SETTINGS)
    with torch.inference_mode():
        np.testing.assert_array_equal(recording.generate(ids, max_new_tokens=4, **SETTINGS), expected)
    np.testing.assert_array_equal(recording.generate(ids, max_new_tokens=4, **SETTINGS), expected)


def test_threads_have_memories_of_their_own() -> None:
    plain, recording = models("gpt2-mini")
    prompts = [np.array([[5, 6, 7, number]]) for number in range(12)]
    expected = [plain.generate(prompt, max_new_tokens=6, **SETTINGS) for prompt in prompts]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda prompt: recording.generate(prompt, max_new_tokens=6, **SETTINGS), prompts))
    finally:
        sys.setswitchinterval(interval)
    np.testing.assert_array_equal(np.stack(found), np.stack(expected))
