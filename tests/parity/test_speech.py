"""Whisper against Hugging Face's own `generate` of it, which tells the decoder language and task first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

import transformer_tf
import transformer_torch
from configs import GenerationConfig, ModelConfig, UserError, speech_prompt, spoken_languages
from parity.inputs import example_inputs
from tests.revealing import hugging_face_model, save_hugging_face
from weight_mapping import families
from weight_mapping.checkpoint import convert

# What the file of a multilingual Whisper has, with ids of a vocabulary of 83.
MULTILINGUAL = {
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": 60, "<|de|>": 61},
    "task_to_id": {"transcribe": 70, "translate": 71},
    "no_timestamps_token_id": 72,
    "prev_sot_token_id": 73,
    "alignment_heads": [[0, 1]],
    "max_initial_timestamp_index": 50,
    "return_timestamps": False,
    "suppress_tokens": [7, 62, 81],
    "begin_suppress_tokens": [3, 2],
}
ENGLISH = {name: value for name, value in MULTILINGUAL.items() if name not in ("lang_to_id", "task_to_id")} | {"is_multilingual": False}
PACKAGES = {"torch": transformer_torch, "tensorflow": transformer_tf}


def saved(folder: Path, generation: dict[str, Any]) -> tuple[Any, Path]:
    """A tiny Whisper whose folder says how it generates."""
    model = hugging_face_model(families()["whisper"], seed=1)
    tokens = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 82, "decoder_start_token_id": 81}
    for name, value in (tokens | generation).items():
        setattr(model.generation_config, name, value)
    return model, save_hugging_face(model, folder)


def features(model: Any) -> np.ndarray:
    with torch.no_grad():
        return np.random.default_rng(5).standard_normal((3, model.config.num_mel_bins, 2 * model.config.max_source_positions), np.float32)


@pytest.mark.parametrize(
    ("generation", "settings", "prompt"),
    [
        (MULTILINGUAL, {"language": "en"}, [81, 60, 70, 72]),
        (MULTILINGUAL, {"language": "<|de|>", "task": "translate"}, [81, 61, 71, 72]),
        ({**MULTILINGUAL, "language": "de", "task": "transcribe"}, {"num_beams": 3}, [81, 61, 70, 72]),
        (ENGLISH, {}, [81, 72]),
        ({**MULTILINGUAL, "language": "German"}, {}, [81, 61, 70, 72]),
        ({**ENGLISH, "forced_decoder_ids": [[1, 60], [2, 70], [3, 72]]}, {}, [81, 60, 70, 72]),
        ({**MULTILINGUAL, "forced_decoder_ids": [[1, 61], [2, 71]]}, {}, [81, 61, 71, 72]),
        ({**MULTILINGUAL, "forced_decoder_ids": [[1, None], [2, 71]]}, {"language": "en"}, [81, 60, 70, 72]),
    ],
    ids=[
        "a language",
        "a language and a task",
        "as the file says, with beams",
        "English alone",
        "a language by name",
        "an old file",
        "an old file of several languages",
        "an old file that leaves the language open",
    ],
)
def test_tokens_are_those_of_hugging_faces_own_generate(
    framework: str, generation: dict[str, Any], settings: dict[str, Any], prompt: list[int], tmp_path: Path
) -> None:
    model, folder = saved(tmp_path, generation)
    audio = features(model)
    # Hugging Face gives back what comes behind the prompt up to the longest end, and fills up each end with padding.
    expected = model.generate(torch.from_numpy(audio), max_new_tokens=12, **settings).numpy()
    found = PACKAGES[framework].load(folder).generate(input_features=audio, max_new_tokens=12, **settings).numpy()
    assert (found[:, : len(prompt)] == prompt).all()
    assert len(np.unique(expected)) > 1
    new = np.where(found == 2, 82, found)[:, len(prompt) :]
    np.testing.assert_array_equal(new[:, : expected.shape[1]], expected)
    assert (new[:, expected.shape[1] :] == 82).all()


def test_the_language_that_is_heard_is_hugging_faces(framework: str, tmp_path: Path) -> None:
    # Any tokens will do for languages, and with all of them recordings differ in theirs.
    model, folder = saved(tmp_path, {**MULTILINGUAL, "lang_to_id": {f"<|{token}|>": token for token in range(3, 60)}})
    audio = np.concatenate([features(model), -9 * features(model)])
    expected = model.detect_language(torch.from_numpy(audio)).tolist()
    found = spoken_languages(PACKAGES[framework].load(folder), audio)
    assert list(map(int, found)) == expected
    assert len(set(found)) > 1
    with pytest.raises(UserError, match="knows one language, or none"):
        spoken_languages(PACKAGES[framework].load(saved(tmp_path / "english", ENGLISH)[1]), audio)


@pytest.mark.parametrize("has_generation_config", [True, False])
@pytest.mark.parametrize("to", ["hf", "run"])
def test_what_an_old_config_json_forces_survives(has_generation_config: bool, to: Literal["hf", "run"], tmp_path: Path) -> None:
    model, folder = saved(tmp_path / "old", {})
    config = json.loads((folder / "config.json").read_text())
    config |= {"forced_decoder_ids": [[1, 60], [2, 70]], "suppress_tokens": [7, 62]}
    (folder / "config.json").write_text(json.dumps(config))
    if not has_generation_config:
        (folder / "generation_config.json").unlink()
    converted = tmp_path / "converted"
    convert(folder, converted, to)
    reference = WhisperForConditionalGeneration.from_pretrained(folder)
    audio = features(model)
    expected = reference.generate(torch.from_numpy(audio), max_new_tokens=6).numpy()
    for place in (folder, converted):
        found = transformer_torch.load(place).generate(input_features=audio, max_new_tokens=6).numpy()
        assert (found[:, :3] == [81, 60, 70]).all()
        np.testing.assert_array_equal(np.where(found == 2, 82, found)[:, 3 : 3 + expected.shape[1]], expected)


def test_a_prompt_of_ones_own_comes_before_what_the_file_says(framework: str, tmp_path: Path) -> None:
    model, folder = saved(tmp_path, MULTILINGUAL)
    ours, audio = PACKAGES[framework].load(folder), features(model)
    told = ours.generate(input_features=audio, decoder_input_ids=[[81, 61, 71, 72]], max_new_tokens=5).numpy()
    np.testing.assert_array_equal(told, ours.generate(input_features=audio, language="de", task="translate", max_new_tokens=5).numpy())


def test_what_a_prompt_of_ones_own_says_is_not_said_again(framework: str, tmp_path: Path) -> None:
    model, folder = saved(tmp_path, MULTILINGUAL)
    ours, audio = PACKAGES[framework].load(folder), features(model)
    for again in ({"language": "en"}, {"config": GenerationConfig(task="translate")}):
        with pytest.raises(UserError, match="leave out decoder_input_ids, or language and task"):
            ours.generate(input_features=audio, decoder_input_ids=[[81, 61, 71, 72]], **again)


def test_another_language_is_no_reason_to_compile_anew(tmp_path: Path) -> None:
    model, folder = saved(tmp_path, MULTILINGUAL)
    ours, audio = transformer_tf.load(folder), features(model)
    for language, task in (("en", "transcribe"), ("de", "translate")):
        ours.generate(input_features=audio, language=language, task=task, max_new_tokens=5)
    assert {program.experimental_get_tracing_count() for program in ours._programs.values()} == {1}
    assert len({key[0] for key in ours._programs}) == len(ours._programs)


def test_a_translator_goes_on_from_what_it_is_given(framework: str, tmp_path: Path) -> None:
    reference = hugging_face_model(families()["marian"], seed=1)
    reference.generation_config.update(eos_token_id=2, pad_token_id=82, decoder_start_token_id=82, forced_eos_token_id=None)
    ours = PACKAGES[framework].load(save_hugging_face(reference, tmp_path))
    source = example_inputs(ours.config, 3, 7)["input_ids"]
    begun = np.array([[82, 5, 6], [82, 7, 8], [82, 9, 10]])
    # Without decoder_start, which then comes first, too.
    for first in (begun, begun[:, 1:]):
        expected = reference.generate(torch.from_numpy(source), decoder_input_ids=torch.from_numpy(first), max_new_tokens=9).numpy()
        np.testing.assert_array_equal(ours.generate(source, decoder_input_ids=first, max_new_tokens=9).numpy(), expected)


def test_an_assistant_must_hear_the_same(framework: str, tmp_path: Path) -> None:
    model, folder = saved(tmp_path / "model", ENGLISH)
    translator = save_hugging_face(hugging_face_model(families()["marian"]), tmp_path / "translator")
    ours, other = PACKAGES[framework].load(folder), PACKAGES[framework].load(translator)
    with pytest.raises(UserError, match=r"assistant_model reads kind='tokens', and the model kind='audio'"):
        ours.generate(input_features=features(model)[:1], assistant_model=other)
    settings = {"max_new_tokens": 9, "eos_token_id": ()}
    alone = ours.generate(input_features=features(model)[:1], **settings).numpy()
    helped = ours.generate(input_features=features(model)[:1], assistant_model=PACKAGES[framework].load(folder), **settings).numpy()
    np.testing.assert_array_equal(helped, alone)


def test_one_graph_hears_and_writes(tmp_path: Path) -> None:
    import tensorflow as tf

    model, folder = saved(tmp_path / "model", MULTILINGUAL)
    ours, audio = transformer_tf.load(folder), features(model)
    prompt = speech_prompt(ours.config, ours.generation_config, "en")
    module = tf.Module()
    module.model, module.generate = ours, transformer_tf.generation_graph(ours, 3, 16)
    with pytest.raises(UserError, match="language='en' and task=None: a graph is given decoder_input_ids"):
        transformer_tf.generation_graph(ours, 3, 16, language="en")
    tf.saved_model.save(module, str(tmp_path / "saved"))
    graph = tf.saved_model.load(str(tmp_path / "saved"))
    found = graph.generate(tf.constant(audio), tf.constant([prompt] * 3, tf.int64), 16, 0)
    expected = ours.generate(input_features=audio, language="en", max_length=16).numpy()
    np.testing.assert_array_equal(found["tokens"].numpy()[:, : expected.shape[1]], expected)


def refused(config: ModelConfig, generation: dict[str, Any] | None, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        speech_prompt(config, generation, **settings)
    return str(caught.value)


def test_a_language_is_asked_for_and_must_be_known() -> None:
    family = families()["whisper"]
    config = family.read_config({**family.revealing, "architectures": ["WhisperForConditionalGeneration"]}, "whisper")
    assert "language is missing; a model of 2 languages is told which one is spoken" in refused(config, MULTILINGUAL)
    assert refused(config, MULTILINGUAL, language="fr") == "language='fr' is none that the model knows; choose one of: de, en"
    assert "did you mean 'translate'?" in refused(config, MULTILINGUAL, language="de", task="translat")
    assert "language is missing" in refused(config, {**MULTILINGUAL, "forced_decoder_ids": [[1, None], [2, 71]]})
    assert "no choice of them" in refused(config, ENGLISH, language="de")
    assert "tells the decoder 600 first, outside the vocabulary of 83" in refused(config, {**ENGLISH, "no_timestamps_token_id": 600})
    assert speech_prompt(config, {**MULTILINGUAL, "task_to_id": {}}, language="DE") == [81, 61, 72]
    assert speech_prompt(config, None) == [81]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": [[3]]}, "this encoder_decoder has no use for input_ids; it generates from: input_features, decoder_input_ids"),
        ({}, "input_features is missing; this encoder_decoder generates from: input_features, decoder_input_ids"),
        (
            {"input_features": np.zeros((1, 6, 45), np.float32)},
            "input_features is float32 of shape [1, 6, 45]; expected floats (batch, 6, 46)",
        ),
        ({"input_features": np.zeros((1, 6, 46), int)}, "input_features is int64 of shape [1, 6, 46]; expected floats"),
        ({"input_features": [[[1.0, 2.0], [3.0]]]}, "input_features is no array of numbers"),
        ({"input_features": np.full((1, 6, 46), np.nan, np.float32)}, "input_features holds numbers that are infinite or none"),
        ({"input_features": np.zeros((1, 6, 46), np.float32), "decoder_input_ids": [[81], [81, 3]]}, "give rows of one length"),
        (
            {"input_features": np.zeros((1, 6, 46), np.float32), "decoder_input_ids": [[81]], "language": "en"},
            "decoder_input_ids say language and task themselves",
        ),
        (
            {"input_features": np.zeros((3, 6, 46), np.float32), "decoder_input_ids": [[81], [81]]},
            "decoder_input_ids has 2 rows, and input_features 3; give one for each, or one for all",
        ),
    ],
)
def test_what_a_model_of_audio_refuses(framework: str, inputs: dict[str, Any], message: str, tmp_path: Path) -> None:
    _, folder = saved(tmp_path, ENGLISH)
    with pytest.raises(UserError) as caught:
        PACKAGES[framework].load(folder).generate(**inputs)
    assert message in str(caught.value)


def test_text_models_refuse_audio_and_languages(framework: str, tmp_path: Path) -> None:
    ours = PACKAGES[framework].load(save_hugging_face(hugging_face_model(families()["gpt2"]), tmp_path))
    with pytest.raises(UserError, match="this decoder has no use for input_features; it generates from: input_ids, attention_mask"):
        ours.generate(input_features=np.zeros((1, 6, 46), np.float32))
    with pytest.raises(UserError, match="this decoder has no use for decoder_input_ids"):
        ours.generate([[3, 4]], decoder_input_ids=[[3]])
    with pytest.raises(UserError, match="language='en' and task=None are for models of audio"):
        ours.generate([[3, 4]], language="en")
