"""What `generate` refuses before it computes anything."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from configs import GenerationConfig, ModelConfig, UserError, as_prompts, load_model_config

MODEL = load_model_config("gpt2-mini", ["special_tokens={bos: 0, eos: [3, 4]}"])
PROMPT = np.array([[1, 2, 3], [4, 5, 6]])


def check(config: GenerationConfig, model: ModelConfig = MODEL, prompt: np.ndarray = PROMPT, mask: np.ndarray | None = None) -> None:
    config.check_model(model)
    config.check_room(model, as_prompts(model, prompt, mask))


def refused(config: GenerationConfig = GenerationConfig(), prompt: np.ndarray = PROMPT, mask: np.ndarray | None = None) -> str:
    with pytest.raises(UserError) as caught:
        check(config, MODEL, prompt, mask)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_prompt_passes() -> None:
    check(GenerationConfig())
    check(GenerationConfig(max_new_tokens=125), mask=np.array([[0, 1, 1], [1, 1, 1]]))


@pytest.mark.parametrize(
    "prompt", [np.array([1, 2]), np.zeros((1, 0), int), np.zeros((0, 3), int), np.array([[1.0, 2.0]]), np.array([[True, False]])]
)
def test_a_prompt_is_integers_of_two_axes(prompt: np.ndarray) -> None:
    assert "expected integers (batch, length)" in refused(prompt=prompt)


def test_ids_outside_the_vocabulary() -> None:
    assert "id 4096, outside the vocabulary of 4096" in refused(prompt=np.array([[1, 4096]]))
    assert "id -1" in refused(prompt=np.array([[1, -1]]))


def test_too_long() -> None:
    assert "a prompt of 3 tokens and max_new_tokens=126 exceed the model's max_length of 128" in refused(
        GenerationConfig(max_new_tokens=126)
    )


def test_top_k_beyond_the_vocabulary() -> None:
    assert "top_k=5000" in refused(GenerationConfig(do_sample=True, top_k=5000))


def test_some_token_may_follow() -> None:
    words = tuple((token,) for token in range(MODEL.vocab_size))
    assert "forbid each of the 4096 tokens, and nothing may follow" in refused(GenerationConfig(bad_words_ids=words))
    check(GenerationConfig(bad_words_ids=(*words[1:], (0, 0))))
    # An end that is a bad word too stays allowed.
    check(GenerationConfig(bad_words_ids=words).complete(MODEL))
    # The others are forbidden in other ways.
    rest = tuple(range(1, MODEL.vocab_size))
    assert "forbid each of the 4096 tokens" in refused(GenerationConfig(bad_words_ids=((0,),), begin_suppress_tokens=rest))
    assert "forced_bos_token_id=8 is among the tokens that are suppressed" in refused(
        GenerationConfig(forced_bos_token_id=8, suppress_tokens=(8,))
    )
    # What is forced first or last is not in the place that begin_suppress_tokens are for, unless there is but one.
    check(GenerationConfig(forced_bos_token_id=8, forced_eos_token_id=9, begin_suppress_tokens=(8, 9)))
    one = GenerationConfig(forced_eos_token_id=9, begin_suppress_tokens=(9,), max_new_tokens=1)
    assert "forced_eos_token_id=9 is among the tokens that are suppressed" in refused(one)
    assert "forbid each of the 4096" in refused(GenerationConfig(suppress_tokens=rest[1:], eos_token_id=(0, 1), min_new_tokens=1))
    assert "suppress_tokens is 4096, outside the vocabulary" in refused(GenerationConfig(suppress_tokens=(4096,)))


def test_hugging_faces_default_of_top_k_is_cut_to_the_vocabulary() -> None:
    small = load_model_config("gpt2-mini", ["vocab_size=40"])
    generation = GenerationConfig.from_hugging_face({"do_sample": True}).complete(small)
    check(generation, small)
    assert generation.top_k == 40
    assert GenerationConfig.from_hugging_face({"do_sample": True}).complete(MODEL).top_k == 50


def test_masks() -> None:
    assert "attention_mask has 2; expected 1 for tokens and 0 for padding" in refused(mask=np.array([[1, 2, 1], [1, 1, 1]]))
    assert "attention_mask has 0.5" in refused(mask=np.array([[0.5, 1, 1], [1, 1, 1]]))
    check(GenerationConfig(), mask=np.array([[False, True, True], [True, True, True]]))
    assert "attention_mask has shape [2, 2]" in refused(mask=np.ones((2, 2), int))
    assert "pad prompts on the left" in refused(mask=np.array([[1, 1, 0], [1, 1, 1]]))


def test_only_language_models_generate() -> None:
    with pytest.raises(UserError, match="only a language-model head generates"):
        check(GenerationConfig(), load_model_config("gpt2-mini", ["head.kind=none"]))


IMPOSSIBLE = [{"max_new_tokens": 0}, {"temperature": 0.0}, {"top_k": -1}, {"seed": -1}, {"top_q": 1}, {"length_penalty": 400.0}]


@pytest.mark.parametrize("settings", IMPOSSIBLE)
def test_impossible_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GenerationConfig.model_validate(settings)


def test_special_tokens_come_from_the_model_unless_given() -> None:
    assert GenerationConfig().complete(MODEL).eos_token_id == (3, 4)
    assert GenerationConfig().complete(MODEL).pad_token_id == 3
    assert GenerationConfig(eos_token_id=7).complete(MODEL).eos_token_id == (7,)
    assert GenerationConfig(eos_token_id=()).complete(MODEL).eos_token_id == ()
    assert GenerationConfig(eos_token_id=()).complete(MODEL).pad_token_id == 0
    assert GenerationConfig(pad_token_id=9).complete(MODEL).pad_token_id == 9


def test_what_a_file_says_of_stop_strings_and_guesses() -> None:
    config = GenerationConfig.from_hugging_face({"stop_strings": "a", "prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 4})
    assert (config.stop_strings, config.prompt_lookup_num_tokens, config.max_matching_ngram_size) == (("a",), 3, 4)
    assert GenerationConfig(stop_strings=["a", "b"]).stop_strings == ("a", "b")
    with pytest.raises(ValidationError):
        GenerationConfig(stop_strings=["a", ""])


def test_what_is_given_goes_before_what_a_file_says() -> None:
    file = {"do_sample": True, "temperature": 0.6, "max_length": 9, "eos_token_id": [1, 2]}
    assert GenerationConfig.merged(file, {}) == {**file, "top_k": 50}
    assert GenerationConfig.merged(file, {"max_new_tokens": 3, "top_k": None})["max_new_tokens"] == 3
    assert "max_length" not in GenerationConfig.merged(file, {"max_new_tokens": 3})
    assert GenerationConfig.merged(file, {"do_sample": False}) == {"do_sample": False, "max_length": 9, "eos_token_id": [1, 2]}
    assert GenerationConfig.merged({"top_k": 0, "do_sample": True}, {})["top_k"] is None
    # Hugging Face's top_k is that of files that sample, and not of everyone who does.
    assert GenerationConfig.merged({"eos_token_id": 2}, {"do_sample": True}) == {"eos_token_id": 2, "do_sample": True}
    assert GenerationConfig.merged(None, {"num_beams": 2}) == {"num_beams": 2}


def test_settings_go_before_a_config_as_that_goes_before_a_file() -> None:
    given = {"do_sample": True, "top_p": 0.9, "max_length": 30, "min_length": 3}
    assert GenerationConfig.changed(given, {"do_sample": False, "max_new_tokens": 3}) == {
        "do_sample": False,
        "max_new_tokens": 3,
        "min_length": 3,
    }
    beams = {"num_beams": 3, "length_penalty": 2.0}
    assert GenerationConfig.changed(beams, {"num_beams": 1}) == {"num_beams": 1}


def test_numbers_of_numpy_and_no_top_k() -> None:
    config = GenerationConfig(
        max_new_tokens=np.int64(3), eos_token_id=np.array([1, 2]), do_sample=True, top_k=0, temperature=np.float32(0.5)
    )
    assert (config.max_new_tokens, config.eos_token_id, config.top_k, config.temperature) == (3, (1, 2), None, 0.5)
