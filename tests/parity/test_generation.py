"""Generation against Hugging Face's `generate`: tokens, scores and log-probabilities, over settings drawn at random."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import torch
from transformers import GenerationConfig as HuggingFaceConfig
from transformers import GenerationMixin

import transformer_tf
import transformer_torch
from configs import GenerationConfig
from parity import tolerances
from tests.parity.conftest import Subject
from tests.parity.rungs import Entry, climbs, entries
from tests.revealing import hugging_face_model, save_hugging_face

# How many settings each model is tried with. TensorFlow runs them without compiling: every setting would be a program of its own.
TRIALS = {
    "torch": {"greedy": 6, "beams": 12, "sampling": 6},
    "tensorflow": {"greedy": 3, "beams": 2, "sampling": 2},
}
RUNG = "test_random_settings_give_hugging_faces_tokens_and_scores"


def random_prompts(subject: Subject, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Up to three prompts of up to six tokens, now and then with padding on the left."""
    batch, length = int(random.integers(1, 4)), int(random.integers(1, 7))
    prompts = subject.prompts(batch, length, seed=int(random.integers(1000)))
    padding = int(random.integers(0, length))
    if "input_ids" in prompts:
        prompts["attention_mask"] = np.ones_like(prompts["input_ids"])
        prompts["attention_mask"][0, :padding] = 0
    return prompts


def trials(entry: Entry, kind: str, framework: str) -> list[dict[str, Any]]:
    """The settings that a model is tried with: others for each model and each kind of search."""
    random = seeded(entry, kind)
    return [random_settings(random, kind) for _ in range(TRIALS[framework][kind])]


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(" ".join(map(str, what)).encode()))


def random_settings(random: np.random.Generator, kind: str) -> dict[str, Any]:
    """Settings of one kind of search, and of what may follow."""
    new = int(random.integers(2, 12))
    words = [[3], [6, 7], [8, 9, 10]]
    ends: list[Any] = [[2], [2, 5, 7], [4]]
    settings = {"max_new_tokens": new, "eos_token_id": ends[random.integers(3)], "pad_token_id": int(random.integers(2))}
    if kind == "beams":
        beams = int(random.integers(2, 6))
        settings |= {"num_beams": beams, "num_return_sequences": int(random.integers(1, beams + 1))}
        settings |= {"length_penalty": float(random.choice([-1.0, 0.0, 0.5, 1.0, 2.0]))}
        settings |= {"early_stopping": [False, True, "never"][random.integers(3)]}
    if kind == "sampling":
        settings |= {"do_sample": True, "num_return_sequences": int(random.integers(1, 4)), "seed": int(random.integers(1000))}
        # typical_p is left to rounding where two tokens are equally far from the entropy, one on each side: once in some 10,000 tokens.
        optional = {"temperature": 3.0, "top_k": 9, "top_p": 0.8, "min_p": 0.05, "typical_p": 0.7}
        settings |= {name: value for name, value in optional.items() if random.random() < 0.5}
    optional = {
        "repetition_penalty": float(random.choice([0.7, 1.5])),
        "no_repeat_ngram_size": int(random.integers(1, 4)),
        "bad_words_ids": words[: random.integers(1, 4)],
        "min_new_tokens": int(random.integers(1, new)),
        "forced_bos_token_id": 11,
        # Several would be equally probable, and which of equals a search of beams takes is nobody's word.
        "forced_eos_token_id": [2, 7][: 1 if kind == "beams" else random.integers(1, 3)],
        "renormalize_logits": True,
        "suppress_tokens": [6, 12],
        "begin_suppress_tokens": [4, 13],
    }
    return settings | {name: value for name, value in optional.items() if random.random() < 0.3}


@contextmanager
def without_compiling() -> Iterator[None]:
    """In TensorFlow: every setting would be a program of its own."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@contextmanager
def the_same_random_numbers(seed: int, new: int) -> Iterator[None]:
    """Hugging Face draws by the numbers that we draw by, in the place of those of `torch.multinomial`."""
    steps: list[np.ndarray] = []

    def draw(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        if not steps:
            steps.extend(np.random.default_rng(seed).random((new, len(probabilities))))
        values, order = probabilities.double().sort(stable=True, dim=-1, descending=True)
        sums = values.cumsum(-1)
        index = (sums < torch.from_numpy(steps.pop(0))[:, None] * sums[:, -1:]).sum(-1, keepdim=True)
        return order.gather(-1, index)

    with mock.patch("torch.multinomial", draw):
        yield


def hugging_face(subject: Subject, prompts: dict[str, np.ndarray], settings: dict[str, Any]) -> Any:
    """Tokens, scores of beams, and the log-probability of each token."""
    settings = dict(settings)
    if settings.get("do_sample"):
        settings.setdefault("top_k", 0)
    model, tensors = subject.reference.model, {name: torch.from_numpy(array) for name, array in prompts.items()}
    with the_same_random_numbers(settings.pop("seed", 0), settings["max_new_tokens"]), torch.no_grad():
        answer = GenerationMixin.generate(model, **tensors, **settings, return_dict_in_generate=True, output_scores=True)
    beams = getattr(answer, "beam_indices", None)
    log_probs = model.compute_transition_scores(answer.sequences, answer.scores, beams, normalize_logits=beams is None)
    return answer, log_probs.numpy()


@pytest.mark.parametrize("kind", ["greedy", "beams", "sampling"])
def test_every_setting_is_drawn(framework: str, kind: str) -> None:
    """Over all models that are tried, each name, and each value of those that take a few; in PyTorch any two names together."""
    drawn = [settings for entry in entries() if climbs(entry, RUNG) for settings in trials(entry, kind, framework)]
    many = [random_settings(seeded(number), kind) for number in range(1000)]

    def values(all_settings: list[dict[str, Any]]) -> set[tuple[str, str]]:
        few = ("length_penalty", "early_stopping", "repetition_penalty", "forced_eos_token_id")
        return {(name, str(settings[name]) if name in few else "") for settings in all_settings for name in settings}

    def pairs(all_settings: list[dict[str, Any]]) -> set[tuple[str, ...]]:
        return {pair for settings in all_settings for pair in combinations(sorted(settings), 2)}

    assert values(drawn) == values(many)
    if framework == "torch":
        assert pairs(drawn) == pairs(many)
    assert len({str(settings) for settings in drawn}) > 0.9 * len(drawn), "models are tried with the same"


@pytest.mark.parametrize("kind", ["greedy", "beams", "sampling"])
def test_random_settings_give_hugging_faces_tokens_and_scores(subject: Subject, framework: str, kind: str) -> None:
    random = seeded(subject.entry, kind, "prompts")
    with without_compiling():
        for settings in trials(subject.entry, kind, framework):
            agree(subject, framework, random_prompts(subject, random), settings)


@pytest.mark.parametrize("kind", ["greedy", "beams", "sampling"])
@pytest.mark.parametrize(
    ("entry", "longer"),
    [(Entry("mistral", "MistralForCausalLM"), {"max_position_embeddings": 64}), (Entry("t5", "T5ForConditionalGeneration"), {})],
    ids=["mistral", "t5"],
)
def test_long_texts_are_hugging_faces_too(entry: Entry, longer: dict[str, int], kind: str, tmp_path: Path) -> None:
    model = hugging_face_model(entry.described, entry.architecture, seed=1, **longer)
    subject = Subject(entry, save_hugging_face(model, tmp_path), model)
    random = seeded(entry, kind, "long")
    for _ in range(3):
        settings = random_settings(random, kind) | {"max_new_tokens": 50, "min_new_tokens": 40}
        agree(subject, "torch", random_prompts(subject, random), settings)


def agree(subject: Subject, framework: str, prompts: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
    """Compare tokens, scores of beams, and log-probabilities."""
    found = subject.ours(framework, "float32").model.generate(**prompts, **settings, return_scores=True)
    expected, log_probs = hugging_face(subject, prompts, settings)
    np.testing.assert_array_equal(found.tokens, expected.sequences, err_msg=str(settings))
    allowed = tolerances.FLOAT32_SCORES | {"err_msg": str(settings)}
    if "num_beams" in settings:
        np.testing.assert_allclose(found.scores, expected.sequences_scores, **allowed)
    is_text = before_the_end(np.asarray(found.tokens)[:, -found.log_probs.shape[1] :], settings["eos_token_id"])
    np.testing.assert_allclose(np.asarray(found.log_probs)[is_text], log_probs[is_text], **allowed)
    assert not np.asarray(found.log_probs)[~is_text].any()


def before_the_end(tokens: np.ndarray, ends: list[int]) -> np.ndarray:
    """True for each token up to the first end, with it."""
    is_end = np.isin(tokens, ends)
    return np.cumsum(is_end, -1) - is_end == 0


@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel"), Entry("marian", "MarianMTModel")], indirect=True, ids=str)
def test_what_xla_compiles_searches_as_pytorch_does(subject: Subject) -> None:
    ids = subject.inputs(3, 5)["input_ids"]
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    settings = {"num_beams": 3, "num_return_sequences": 2, "no_repeat_ngram_size": 2, "bad_words_ids": [[3], [6, 7]], "eos_token_id": 2}
    models = [subject.fresh(framework, "float32").model for framework in ("torch", "tensorflow")]
    for first, more in ((0, {"max_new_tokens": 12}), (1, {"max_new_tokens": 5, "min_new_tokens": 3})):
        inputs = {"input_ids": ids[:, first:], "attention_mask": mask[:, first:]}
        expected, found = (model.generate(**inputs, return_scores=True, **settings, **more) for model in models)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_allclose(found.scores, expected.scores, **tolerances.FLOAT32_SCORES)
    # Another length, of prompts too, is no reason to compile anew.
    assert [program.experimental_get_tracing_count() for program in models[1]._programs.values()] == [1, 1, 1]


@pytest.mark.parametrize("subject", [Entry("bart", "BartForConditionalGeneration")], indirect=True, ids=str)
def test_a_generation_config_means_what_it_means_to_hugging_face(subject: Subject) -> None:
    """That of facebook/bart-large-cnn, with shorter lengths."""
    values = {
        "_from_model_config": True,
        "bos_token_id": 0,
        "decoder_start_token_id": 2,
        "early_stopping": True,
        "eos_token_id": 2,
        "forced_bos_token_id": 0,
        "forced_eos_token_id": 2,
        "length_penalty": 2.0,
        "max_length": 14,
        "min_length": 6,
        "no_repeat_ngram_size": 3,
        "num_beams": 4,
        "pad_token_id": 1,
        "transformers_version": "4.27.0.dev0",
    }
    ids = subject.inputs(3, 7)["input_ids"]
    start = subject.config.special_tokens.decoder_start
    expected = subject.reference.model.generate(
        torch.from_numpy(ids),
        attention_mask=torch.ones(ids.shape, dtype=torch.long),
        generation_config=HuggingFaceConfig(**values | {"decoder_start_token_id": start}),
    )
    found = subject.ours("torch", "float32").model.generate(ids, config=GenerationConfig.from_hugging_face(values))
    np.testing.assert_array_equal(found, expected)
    assert found.shape[1] > 6


@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel"), Entry("marian", "MarianMTModel")], indirect=True, ids=str)
@pytest.mark.parametrize("package", [transformer_torch, transformer_tf], ids=["torch", "tensorflow"])
def test_a_loaded_model_keeps_to_its_folders_generation_config(subject: Subject, package: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(subject.folder, folder)
    file = folder / "generation_config.json"
    values = {**json.loads(file.read_text()), "repetition_penalty": 1.8, "max_new_tokens": 12, "eos_token_id": [2, 5]}
    file.write_text(json.dumps(values), encoding="utf-8")
    reference = type(subject.hugging_face).from_pretrained(folder)
    ours, ids = package.load(folder), subject.inputs(3, 5, seed=2)["input_ids"]
    prompts = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    tensors = {name: torch.from_numpy(array) for name, array in prompts.items()}
    trials: list[dict[str, Any]] = [{}, {"num_beams": 2}, {"max_new_tokens": 4}, {"repetition_penalty": 1.0, "eos_token_id": [3]}]
    with without_compiling():
        for settings in trials:
            found = np.asarray(ours.generate(**prompts, **settings))
            np.testing.assert_array_equal(found, reference.generate(**tensors, **settings), err_msg=str(settings))
            # Without the file the model would say something else.
            bare = np.asarray(subject.ours("torch", "float32").model.generate(**prompts, **settings))
            assert not np.array_equal(found, bare), settings
    for form in ("hf", "run"):
        package.save(ours, tmp_path / form, to=form)
        assert json.loads((tmp_path / form / file.name).read_text()) == values
        assert package.load(tmp_path / form).generation_config == values


@pytest.mark.parametrize("subject", [Entry("marian", "MarianMTModel")], indirect=True, ids=str)
def test_an_old_config_json_has_the_settings_of_generation(subject: Subject, tmp_path: Path) -> None:
    """As in Helsinki-NLP's models of 2020, whose padding would be said without bad_words_ids."""
    folder = tmp_path / "folder"
    shutil.copytree(subject.folder, folder)
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    first = int(subject.ours("torch", "float32").model.generate(ids := subject.inputs(2, 5)["input_ids"])[0, 1])
    config |= {"num_beams": 3, "bad_words_ids": [[first]], "max_length": 12, "no_repeat_ngram_size": 2}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    reference, ours = type(subject.hugging_face).from_pretrained(folder), transformer_torch.load(folder)
    found, tensor = ours.generate(ids), torch.from_numpy(ids)
    np.testing.assert_array_equal(found, reference.generate(tensor, attention_mask=torch.ones_like(tensor)))
    assert first not in found
    # What Hugging Face finds in a generation_config.json it looks for nowhere else.
    transformer_torch.save(ours, tmp_path / "saved", to="hf")
    again = type(reference).from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(found, again.generate(tensor, attention_mask=torch.ones_like(tensor)))


@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel")], indirect=True, ids=str)
def test_draws_have_the_distribution_that_is_asked_for(subject: Subject) -> None:
    """Pearson's chi-squared over 4,000 first tokens. A wrong temperature is seen."""
    prompt = subject.inputs(1, 5)["input_ids"]
    logits_V = subject.truth.logits({"input_ids": prompt})[0, -1]
    ours = subject.ours("torch", "float32").model
    draws = ours.generate(
        prompt, do_sample=True, temperature=2.0, top_k=12, top_p=0.95, num_return_sequences=4000, max_new_tokens=1, seed=5
    )
    counts_V = np.bincount(draws[:, -1].numpy(), minlength=len(logits_V))
    for temperature, is_right in ((2.0, True), (2.3, False)):
        weights_V = np.exp((logits_V - logits_V.max()) / temperature)
        weights_V[np.argsort(-weights_V)[12:]] = 0
        sums = np.cumsum(np.sort(weights_V)[::-1]) / weights_V.sum()
        weights_V[np.argsort(-weights_V)[int((sums < 0.95).sum()) + 1 :]] = 0
        expected_V = 4000 * weights_V / weights_V.sum()
        assert is_right <= (counts_V[expected_V == 0] == 0).all()
        kept = expected_V > 0
        statistic = ((counts_V - expected_V)[kept] ** 2 / expected_V[kept]).sum()
        # Its mean is the degrees of freedom, its variance twice that: four standard deviations.
        degrees = kept.sum() - 1
        assert (statistic < degrees + 4 * np.sqrt(2 * degrees)) == is_right, (statistic, degrees)


@pytest.mark.parametrize("subject", [Entry("marian", "MarianMTModel")], indirect=True, ids=str)
def test_ids_may_be_of_any_integer_type(subject: Subject, framework: str) -> None:
    """One call after the other: what was made for the first serves the next. uint16 is how token files are often stored."""
    model = subject.fresh(framework, "float32").model
    ids, mask = subject.inputs(2, 5)["input_ids"], np.ones((2, 5), np.int64)
    expected = model.generate(ids.astype(np.int64), attention_mask=mask, max_new_tokens=4, eos_token_id=())
    for dtype, mask_dtype in ((np.int32, np.int32), (np.uint16, np.uint8)):
        found = model.generate(ids.astype(dtype), attention_mask=mask.astype(mask_dtype), max_new_tokens=4, eos_token_id=())
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel")], indirect=True, ids=str)
def test_n_grams_longer_than_the_text_forbid_nothing(subject: Subject, framework: str) -> None:
    model, ids = subject.ours(framework, "float32").model, subject.inputs(1, 3)["input_ids"]
    expected = model.generate(ids, max_new_tokens=4, eos_token_id=())
    np.testing.assert_array_equal(model.generate(ids, max_new_tokens=4, eos_token_id=(), no_repeat_ngram_size=500), expected)
