"""`generate` as one graph, saved and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs import UserError, load_model_config
from tests.parity.conftest import Subject
from tests.parity.rungs import Entry
from transformer_tf import Transformer, generation_graph

SETTINGS: list[dict[str, Any]] = [{}, {"num_beams": 3, "num_return_sequences": 2, "no_repeat_ngram_size": 2}]
LONGEST = 24


@pytest.mark.parametrize("settings", SETTINGS, ids=["greedy", "beams"])
@pytest.mark.parametrize("subject", [Entry("gemma3", "Gemma3ForCausalLM"), Entry("marian", "MarianMTModel")], indirect=True, ids=str)
def test_a_saved_graph_gives_the_tokens_of_generate(subject: Subject, settings: dict[str, Any], tmp_path: Path) -> None:
    model = subject.fresh("tensorflow", "float32").model
    module = tf.Module()
    module.model, module.generate = model, generation_graph(model, 2, LONGEST, eos_token_id=2, pad_token_id=0, **settings)
    tf.saved_model.save(module, str(tmp_path))
    saved = tf.saved_model.load(str(tmp_path))
    for length, new in ((3, 12), (6, 5)):
        ids = subject.inputs(2, length)["input_ids"].astype(np.int64)
        mask = np.ones_like(ids)
        mask[0, 0] = 0
        expected = subject.ours("torch", "float32").model.generate(
            ids, attention_mask=mask, eos_token_id=2, pad_token_id=0, max_new_tokens=new, **settings
        )
        start = 1 if subject.config.architecture == "encoder_decoder" else length
        found = saved.generate(tf.constant(ids), tf.constant(mask), tf.constant(start + new), tf.constant(0))
        np.testing.assert_array_equal(found["tokens"][:, : int(found["length"])], expected)


@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel")], indirect=True, ids=str)
def test_a_graph_draws_by_its_seed(subject: Subject) -> None:
    draw = generation_graph(subject.fresh("tensorflow", "float32").model, 1, LONGEST, do_sample=True, temperature=3.0, eos_token_id=())
    ids = tf.constant(subject.inputs(1, 4)["input_ids"], tf.int64)
    one, same, other = (draw(ids, tf.ones_like(ids), LONGEST, seed)["tokens"].numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel")], indirect=True, ids=str)
def test_a_graph_has_the_settings_that_the_model_came_with(subject: Subject) -> None:
    model = subject.fresh("tensorflow", "float32").model
    ids = subject.inputs(1, 4)["input_ids"].astype(np.int64)
    plain = model.generate(ids, max_new_tokens=6, eos_token_id=()).numpy()
    model.generation_config = {"bad_words_ids": [[int(token)] for token in plain[0, 4:]]}
    expected = model.generate(ids, max_new_tokens=6, eos_token_id=()).numpy()
    found = generation_graph(model, 1, 10, eos_token_id=())(tf.constant(ids), tf.ones_like(ids), 10, 0)["tokens"].numpy()
    np.testing.assert_array_equal(found, expected)
    assert (found != plain).any()


@pytest.mark.parametrize(
    ("length", "settings", "said"),
    [
        (LONGEST, {"stop_strings": ["a"]}, "generation_graph has no stop_strings; leave it out, or use generate"),
        (LONGEST, {"prompt_lookup_num_tokens": 3}, "generation_graph has no prompt_lookup_num_tokens"),
        (10_000, {}, "generation_graph: max_length=10000 is more than the model's"),
        (LONGEST, {"min_new_tokens": LONGEST}, f"texts of at least {LONGEST + 1} tokens do not fit into max_length={LONGEST}"),
        (LONGEST, {"batch_size": 0}, "batch_size=0; expected at least 1"),
        (LONGEST, {"eos_token_id": 99_999}, "eos_token_id or pad_token_id is 99999, outside the vocabulary"),
    ],
)
@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel")], indirect=True, ids=str)
def test_what_a_graph_has_not_is_refused(subject: Subject, length: int, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        generation_graph(subject.ours("tensorflow", "float32").model, **{"batch_size": 1, "max_length": length, **settings})


def test_a_model_that_generates_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"this model has head\.kind='masked_language_model'; only a language-model head generates"):
        generation_graph(Transformer(load_model_config("bert-tiny", ["num_layers=1"]), seed=1), 1, 10)
