"""Token by token, and text that ends at a stop string: the tokens of `generate`, and of Hugging Face's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from configs import UserError
from configs.stopping import Stops
from configs.text import Tokenizer, unicode_to_bytes
from tests.parity.conftest import Subject
from tests.parity.rungs import Entry

DECODERS = [Entry("gpt2", "GPT2LMHeadModel"), Entry("gemma3", "Gemma3ForCausalLM"), Entry("marian", "MarianMTModel")]
SAMPLING = {"do_sample": True, "top_k": 9, "num_return_sequences": 2, "seed": 4, "no_repeat_ngram_size": 2, "bad_words_ids": [[3, 4]]}


@pytest.mark.parametrize(
    ("subject", "sampling"), [(DECODERS[0], SAMPLING), *((entry, {}) for entry in DECODERS[1:])], indirect=["subject"], ids=str
)
def test_streamed_tokens_are_those_of_generate(subject: Subject, framework: str, sampling: dict[str, Any]) -> None:
    model = subject.fresh(framework, "float32").model
    ids, mask = subject.inputs(2, 4)["input_ids"], np.array([[0, 1, 1, 1], [1, 1, 1, 1]])
    settings = {"attention_mask": mask, "max_new_tokens": 9, "eos_token_id": [2, 5], "pad_token_id": 0, **sampling}
    steps = list(model.stream(ids, **settings))
    assert all(step.shape == steps[0].shape == (2 * settings.get("num_return_sequences", 1), 1) for step in steps)
    whole = np.asarray(model.generate(ids, **settings))
    np.testing.assert_array_equal(np.concatenate(steps, 1), whole[:, -len(steps) :])
    if framework == "tensorflow":
        # Neither another length nor another step is traced or compiled anew.
        list(model.stream(ids, **settings | {"max_new_tokens": 5}))
        for key, program in model._programs.items():
            assert program.experimental_get_tracing_count() == 1
            # What reads the prompts is a graph for all lengths, and not compiled.
            assert key[0] == "read" or not slices_at_numbers(program)


def slices_at_numbers(program: Any) -> list[str]:
    """Slices that begin at a number that goes in: XLA takes it for a constant, and compiles anew for each."""
    (concrete,) = program._list_all_concrete_functions()
    slices = [operation for operation in concrete.graph.get_operations() if operation.type in ("Slice", "StridedSlice")]
    return [operation.name for operation in slices if operation.inputs[1].op.type != "Const"]


def test_a_slice_at_a_number_is_seen() -> None:
    program = tf.function(lambda tokens, length: tokens[length], autograph=False)
    program(tf.zeros(5), tf.constant(2))
    assert slices_at_numbers(program)


@pytest.mark.parametrize("subject", DECODERS[:1], indirect=True, ids=str)
def test_a_stream_refuses_before_its_first_token(subject: Subject, framework: str) -> None:
    model, ids = subject.ours(framework, "float32").model, subject.inputs(1, 4)["input_ids"]
    with pytest.raises(UserError, match="which beam is best is known at the end"):
        model.stream(ids, num_beams=2)
    with pytest.raises(UserError, match="give tokenizer="):
        model.stream(ids, stop_strings="a")
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        model.stream(ids, stop_strings="a", tokenizer="nowhere")


@pytest.fixture
def without_compiling() -> Iterator[None]:
    """TensorFlow's programs run as they are written: each setting would be compiled for itself."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def byte_tokenizer(vocab_size: int) -> tokenizers.Tokenizer:
    """Tokens over few letters, so that strings come often: some of several bytes, some of half a character."""
    letters = ["a", "b", "ab", "ba", "Ġa", "bb", "aab", "Ċ", "Ã", "©", "bÃ", "©a", "Ġ", "aa"]
    vocabulary = {token: number for number, token in enumerate(letters[:vocab_size])}
    vocabulary |= {f"{letters[number % 14]}{number}": number for number in range(len(vocabulary), vocab_size)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize("subject", DECODERS[:1], indirect=True, ids=str)
@pytest.mark.parametrize("more", [{}, {"num_beams": 3, "num_return_sequences": 2, "early_stopping": True}], ids=["greedy", "beams"])
def test_stop_strings_give_hugging_faces_tokens(subject: Subject, framework: str, more: dict[str, Any], without_compiling: None) -> None:
    vocab_size = subject.config.vocab_size
    tokenizer = byte_tokenizer(vocab_size)
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    ours, reference = subject.ours(framework, "float32").model, subject.reference.model
    acted, texts = 0, [["\n", "a1"], ["b", "é"], ["\n", "bb"], [" "], ["aba"]]
    for trial, strings in enumerate(texts[: 5 if framework == "torch" else 2]):
        ids = np.random.default_rng(trial).integers(0, vocab_size, (2, 5))
        settings = {"max_new_tokens": 12, "eos_token_id": 3, "pad_token_id": 1, "stop_strings": strings, **more}
        tensors = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.ones(2, 5)}
        expected = reference.generate(**tensors, tokenizer=theirs, do_sample=False, **settings)
        found = np.asarray(ours.generate(ids, tokenizer=theirs if trial else tokenizer, **settings))
        np.testing.assert_array_equal(found, expected, err_msg=str(strings))
        acted += not np.array_equal(found, reference.generate(**tensors, do_sample=False, **settings | {"stop_strings": None}))
    assert acted


def test_a_stop_string_is_found_wherever_it_begins_and_ends() -> None:
    pieces = [b"s", b"to", b"pped", b"las", b"topper", b"p", b"stop", b"x", b"\xc3", b"\xa9t\xc3", b""]
    stops = Stops([7], len(pieces) + 1, ["stop", "ét"], pieces)
    random = np.random.default_rng(0)
    ended = 0
    for _ in range(300):
        prompt, new = random.integers(0, len(pieces), 3), random.integers(0, len(pieces), 6)
        (state,) = stops.begin(prompt[None])
        text = b"".join(pieces[token] for token in prompt)
        for token in new:
            state = stops.table_AV[state, token]
            before, text = text, text + pieces[token]
            is_new = any(text.count(string) > before.count(string) for string in (b"stop", "ét".encode()))
            assert (state == stops.end) == (is_new or token == 7)
            if state == stops.end:
                ended += 1
                break
    assert 50 < ended < 300


def test_pieces_add_up_to_the_text(tmp_path: Path) -> None:
    tokenizer = Tokenizer(byte_tokenizer(14))
    pieces = tokenizer.pieces()
    assert [pieces[number] for number in (0, 4, 7, 8, 9)] == [b"a", b" a", b"\n", b"\xc3", b"\xa9"]
    assert b"".join(pieces[number] for number in (0, 8, 9, 4)).decode() == tokenizer.decode([0, 8, 9, 4]) == "aé a"
    words = tokenizers.Tokenizer(models.WordLevel({"hello": 0, "world": 1, "abcdef": 2, "?": 3}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer(tmp_path).pieces() == [b" hello", b" world", b" abcdef", b" ?"]
    assert unicode_to_bytes()["Ġ"] == 32
    assert sorted(unicode_to_bytes().values()) == list(range(256))
