"""Steps that begin before the last one is known, and are recorded with their choice, on a CPU: there a step is run again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transformer_torch
from configs import GenerationConfig
from configs.generation_files import SCORES
from tests.transformer_torch.test_cuda_graphs import SETTINGS, models
from transformer_torch.cuda_graphs import KEPT
from transformer_torch.generation_ahead import best_of_parts

IDS = np.array([[5, 6, 7, 8], [9, 8, 7, 6], [1, 2, 3, 4]])


@pytest.mark.parametrize("more", [{}, {"do_sample": True}, {"return_scores": True}])
def test_what_is_computed_ahead_is_not_part_of_the_text(more: dict[str, Any]) -> None:
    """Texts that end before there is no more room, at steps that differ."""
    plain, recording = models("gpt2-mini")
    said = plain.generate(IDS, max_new_tokens=12, **SETTINGS)
    for ends in ((int(said[0, 6]),), tuple({int(said[row, 5 + row]) for row in range(3)}), tuple({int(token) for token in said[:, 4]})):
        settings = {"max_new_tokens": 12, "eos_token_id": ends, "pad_token_id": 0, **more}
        expected, found = (model.generate(IDS, **settings) for model in (plain, recording))
        for one, other in zip(*((expected, found) if "return_scores" in more else ([expected], [found])), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-6)
    streamed = np.concatenate(list(recording.stream(IDS, max_new_tokens=12, eos_token_id=ends, pad_token_id=0)), 1)
    np.testing.assert_array_equal(streamed, plain.generate(IDS, max_new_tokens=12, eos_token_id=ends, pad_token_id=0)[:, 4:])


def test_a_step_with_its_choice_is_recorded_once_for_texts_that_end_alike() -> None:
    plain, recording = models("gpt2-mini")
    said = plain.generate(IDS, max_new_tokens=12, **SETTINGS)
    for more in ({}, {}, {"pad_token_id": 3}, {"eos_token_id": int(said[0, 6])}, {"eos_token_id": int(said[1, 7])}):
        settings = {"max_new_tokens": 12, **SETTINGS, **more}
        np.testing.assert_array_equal(*(model.generate(IDS, **settings) for model in (plain, recording)))
    (memory,) = recording.step_memories.memories
    assert len(memory.greedy_steps) == 2
    assert not memory.steps
    for pad in range(4, 4 + KEPT):
        recording.generate(IDS, max_new_tokens=3, eos_token_id=(), pad_token_id=pad)
    assert [pad for _, pad, *_ in memory.greedy_steps] == list(range(4, 4 + KEPT))


@pytest.mark.parametrize(
    "more",
    [
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": [[7]]},
        {"forced_bos_token_id": 7},
        {"forced_eos_token_id": 7},
        {"suppress_tokens": [7]},
        {"begin_suppress_tokens": [7]},
        {"renormalize_logits": True},
        {"min_new_tokens": 9},
        {"do_sample": True},
        {"return_scores": True},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_asks_for_more_than_logits_is_chosen_outside(more: dict[str, Any]) -> None:
    plain, recording = models("gpt2-mini")
    (favourite, *_), settings = (
        plain.generate(IDS, max_new_tokens=2, **SETTINGS)[:, 5],
        {"max_new_tokens": 9, "eos_token_id": (), "pad_token_id": 0},
    )
    more = {name: [[int(favourite)]] if value == [[7]] else [int(favourite)] if value == [7] else value for name, value in more.items()}
    if "min_new_tokens" in more:
        settings["eos_token_id"] = int(favourite)
    expected, found = (model.generate(IDS, **settings, **more) for model in (plain, recording))
    for one, other in zip(*((expected, found) if "return_scores" in more else ([expected], [found])), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6)
    (memory,) = recording.step_memories.memories
    assert not memory.greedy_steps


def test_behind_the_shortest_length_choices_are_recorded() -> None:
    plain, recording = models("gpt2-mini")
    first = int(plain.generate(IDS, max_new_tokens=1, **SETTINGS)[0, 4])
    settings = {"max_new_tokens": 9, "min_new_tokens": 1, "eos_token_id": first, "pad_token_id": 0}
    np.testing.assert_array_equal(*(model.generate(IDS, **settings) for model in (plain, recording)))
    (memory,) = recording.step_memories.memories
    assert len(memory.greedy_steps) == 1


def test_all_settings_that_change_scores_are_known() -> None:
    text = (Path(transformer_torch.__file__).parent / "generation_processors.py").read_text(encoding="utf-8")
    read = set(re.findall(r"generation\.(\w+)", text)) & set(GenerationConfig.model_fields)
    assert read - {"eos_token_id"} == set(SCORES)


@pytest.mark.parametrize("size", [1, 5, 127, 128, 129, 1000])
def test_the_best_of_parts_is_the_first_of_the_best(size: int) -> None:
    scores_RV = torch.from_numpy(np.random.default_rng(size).integers(0, 9, (200, size))).float()
    scores_RV[scores_RV < 3] = -torch.inf
    scores_RV[0] = -torch.inf
    torch.testing.assert_close(best_of_parts(scores_RV, 128), scores_RV.argmax(-1))
