"""Guessed tokens change when tokens come, and not which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import transformer_tf
import transformer_torch
from configs import GenerationConfig, ModelConfig, UserError, load_model_config
from configs.speculation import check_speculation, longest_with_guesses, look_up
from parity import tolerances
from tests.parity.conftest import Subject
from tests.parity.rungs import Entry
from tests.parity.test_streaming import byte_tokenizer, slices_at_numbers
from transformer_tf.generation_lookup import NO_TOKEN
from transformer_tf.generation_speculative import PromptLookup
from transformer_torch.generation_speculative import accept

DECODERS = [
    Entry("gpt2", "GPT2LMHeadModel"),
    Entry("mistral", "MistralForCausalLM"),
    Entry("gemma3", "Gemma3ForCausalLM"),
    Entry("t5", "T5ForConditionalGeneration"),
]
# As many kinds of guesses, each right now and then and wrong now and then.
GUESSES: list[dict[str, Any]] = [{"prompt_lookup_num_tokens": 3}, {"num_assistant_tokens": 2}]


@pytest.fixture(autouse=True)
def without_compiling(request: pytest.FixtureRequest) -> Iterator[None]:
    """TensorFlow's programs run as they are written, but in the test of XLA."""
    tf.config.run_functions_eagerly("xla" not in request.node.name)
    yield
    tf.config.run_functions_eagerly(False)


@torch.no_grad()
def noisy(subject: Subject, framework: str) -> Any:
    """An assistant that is right now and then: the same model with some noise in its weights."""
    folder = subject.folder.parent / f"{subject.folder.name}-noisy"
    if not folder.exists():
        model, generator = transformer_torch.load(subject.folder), torch.Generator().manual_seed(0)
        for weight in model.parameters():
            weight.data = weight + 0.01 * torch.randn(weight.shape, generator=generator)
        transformer_torch.save(model, folder)
    return (transformer_torch if framework == "torch" else transformer_tf).load(folder)


# In TensorFlow without compiling these take long: there some decoders guess.
TRIALS = [(entry, guesses, framework) for entry in DECODERS for guesses in GUESSES for framework in ("torch", "tensorflow")]
TRIALS = [trial for number, trial in enumerate(TRIALS) if trial[2] == "torch" or number in (1, 7, 15)]


@pytest.mark.parametrize(("subject", "guesses", "framework"), TRIALS, indirect=["subject"], ids=lambda value: str(value)[:20])
def test_greedy_tokens_are_those_without_guesses(subject: Subject, framework: str, guesses: dict[str, Any]) -> None:
    model = subject.ours(framework, "float32").model
    assistant = noisy(subject, framework) if "num_assistant_tokens" in guesses else None
    ids = np.tile(subject.inputs(1, 4)["input_ids"], 2)
    mask = np.array([[0, 1, 1, 1, 1, 1, 1, 1]])
    rounds = new = 0
    trials: list[dict[str, Any]] = [{"attention_mask": mask, "repetition_penalty": 1.3, "eos_token_id": [2, 7], "min_new_tokens": 4}, {}]
    for more in trials[: 2 if framework == "torch" else 1]:
        settings = {"max_new_tokens": 14, "eos_token_id": (), "pad_token_id": 0, **more}
        expected = subject.ours("torch", "float32").model.generate(ids, return_scores=True, **settings)
        found = model.generate(ids, return_scores=True, assistant_model=assistant, **settings, **guesses)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=10 * tolerances.FLOAT32)
        if framework == "torch":
            steps = list(model.stream(ids, assistant_model=assistant, **settings, **guesses))
            rounds, new = rounds + len(steps), new + sum(step.shape[1] for step in steps)
            start = 1 if subject.config.architecture == "encoder_decoder" else ids.shape[1]
            np.testing.assert_array_equal(np.concatenate(steps, 1), expected.tokens[:, start:])
    assert framework == "tensorflow" or rounds < new, "no guess was ever right"


@pytest.mark.parametrize("subject", DECODERS[:1], indirect=True, ids=str)
def test_a_stop_string_ends_a_text_in_the_midst_of_guesses(subject: Subject, framework: str) -> None:
    model, vocab_size = subject.ours(framework, "float32").model, subject.config.vocab_size
    settings = {"max_new_tokens": 12, "eos_token_id": (), "tokenizer": byte_tokenizer(vocab_size)}
    lengths = []
    for trial, strings in enumerate([["\n", "a1"], ["b", "é"]]):
        ids = np.tile(np.random.default_rng(trial).integers(0, vocab_size, (1, 5)), 2)
        found = model.generate(ids, stop_strings=strings, prompt_lookup_num_tokens=4, **settings)
        expected = subject.ours("torch", "float32").model.generate(ids, stop_strings=strings, **settings)
        np.testing.assert_array_equal(found, expected)
        lengths.append(found.shape[1])
    assert min(lengths) < 22


@pytest.mark.parametrize("subject", DECODERS[:1], indirect=True, ids=str)
@pytest.mark.parametrize("guesses", GUESSES, ids=["lookup", "assistant"])
def test_both_frameworks_sample_the_same_tokens(subject: Subject, guesses: dict[str, Any]) -> None:
    ids = np.tile(subject.inputs(1, 3)["input_ids"], 2)
    settings = {"do_sample": True, "temperature": 2.0, "top_k": 20, "max_new_tokens": 10, "eos_token_id": (), **guesses}
    drawn = []
    for framework in ("torch", "tensorflow"):
        assistant = noisy(subject, framework) if "num_assistant_tokens" in guesses else None
        model = subject.ours(framework, "float32").model
        drawn.append(np.concatenate([model.generate(ids, assistant_model=assistant, **settings, seed=seed) for seed in range(3)]))
    np.testing.assert_array_equal(*drawn)
    assert len(np.unique(drawn[0], axis=0)) == 3


@pytest.mark.parametrize("subject", DECODERS[:1], indirect=True, ids=str)
def test_what_xla_compiles_guesses_and_is_traced_once(subject: Subject) -> None:
    model, assistant = subject.fresh("tensorflow", "float32").model, noisy(subject, "tensorflow")
    ids = subject.inputs(1, 8)["input_ids"]
    for settings in ({"max_new_tokens": 14}, {"max_new_tokens": 9, "min_new_tokens": 2}):
        expected = subject.ours("torch", "float32").model.generate(ids, eos_token_id=(), **settings)
        found = model.generate(ids, eos_token_id=(), **settings, assistant_model=assistant, num_assistant_tokens=2)
        np.testing.assert_array_equal(found, expected)
    counts = {key[0]: program.experimental_get_tracing_count() for key, program in (model._programs | assistant._programs).items()}
    # With guesses, and where there is no room for any without.
    assert counts["guess"] == 1
    assert counts["check"] <= 2
    (guess,) = (program for key, program in assistant._programs.items() if key[0] == "guess")
    assert not slices_at_numbers(guess)


@pytest.mark.parametrize("longest", [24, 40])
def test_an_assistant_may_know_other_lengths(longest: int) -> None:
    """Where a source of many tokens has less room in one model than in the other."""
    sizes = ["width=16", "num_layers=1", "attention.num_heads=2", "feed_forward.width=24", "vocab_size=30"]
    tokens = "special_tokens={bos: 0, eos: [2], pad: 1, decoder_start: 2}"
    model, assistant = (
        transformer_tf.Transformer(load_model_config("bart-base", [*sizes, tokens, f"max_length={length}"]), seed=1)
        for length in (64 - longest, longest)
    )
    ids = np.arange(3, 25)[None]
    expected = model.generate(ids, max_new_tokens=8)
    np.testing.assert_array_equal(model.generate(ids, max_new_tokens=8, assistant_model=assistant, num_assistant_tokens=2), expected)


@pytest.mark.parametrize("subject", DECODERS[:1], indirect=True, ids=str)
def test_guesses_leave_the_distribution_as_it_is(subject: Subject) -> None:
    """Pearson's chi-squared over 1,000 pairs of tokens. A temperature of 1.3 times the right one is seen, in first tokens alone too, and
    so is the assistant's distribution."""
    model, assistant = subject.ours("torch", "float32").model, noisy(subject, "torch")
    prompt = subject.inputs(1, 5)["input_ids"]
    settings = {"do_sample": True, "top_k": 8, "max_new_tokens": 2, "eos_token_id": ()}
    draws = 1000
    counts_VV = np.zeros((subject.config.vocab_size,) * 2)
    for seed in range(draws):
        text = model.generate(prompt, assistant_model=assistant, num_assistant_tokens=1, seed=seed, **settings)
        counts_VV[text[0, 5], text[0, 6]] += 1
    # What follows the prompt, and what follows each first token.
    logits_V = subject.truth.logits({"input_ids": prompt})[0, -1]
    both = np.concatenate([prompt.repeat(len(logits_V), 0), np.arange(len(logits_V))[:, None]], 1)
    logits_VV = subject.truth.logits({"input_ids": both})[:, -1]
    for temperature, is_right in ((1.0, True), (1.3, False)):
        first_V = top(logits_V, temperature)
        pairs_VV = first_V[:, None] * np.stack([top(row_V, temperature) for row_V in logits_VV])
        assert is_alike(counts_VV.sum(1), draws * first_V) == is_right
        assert is_alike(counts_VV.ravel(), draws * pairs_VV.ravel()) == is_right
    with torch.no_grad():
        theirs_V = assistant(torch.from_numpy(prompt))[0, -1].double().numpy()
    assert not is_alike(counts_VV.sum(1), draws * top(theirs_V, 1.0))


def top(logits_V: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of the best 8."""
    weights_V = np.exp((logits_V - logits_V.max()) / temperature)
    weights_V[np.argsort(-weights_V)[8:]] = 0
    return weights_V / weights_V.sum()


def is_alike(counts: np.ndarray, expected: np.ndarray) -> bool:
    kept = expected > 0
    if counts[~kept].any():
        return False
    statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    # Its mean is the degrees of freedom, its variance twice that: four standard deviations.
    degrees = kept.sum() - 1
    return bool(statistic < degrees + 4 * np.sqrt(2 * degrees))


def test_the_rule_of_acceptance_gives_the_models_own_distribution() -> None:
    """8,000 draws of one guess and of what follows it, for two distributions that are far apart."""
    random = np.random.default_rng(1)
    mine_TV, theirs_KV = random.dirichlet(np.ones(6), 2), random.dirichlet(np.ones(6), 1)
    first_V, second_V, accepted = np.zeros(6), np.zeros(6), 0
    p_TV, q_KV = torch.from_numpy(mine_TV), torch.from_numpy(theirs_KV)
    for guess, uniforms in zip(random.choice(6, 8_000, p=theirs_KV[0]), torch.from_numpy(random.random((8_000, 2))), strict=True):
        kept, last = accept(torch.tensor([guess]), q_KV, p_TV, uniforms)
        first_V[guess if kept else int(last)] += 1
        if kept:
            accepted += 1
            second_V[int(last)] += 1
    assert is_alike(first_V, 8_000 * mine_TV[0])
    assert not is_alike(first_V, 8_000 * theirs_KV[0])
    assert is_alike(second_V, accepted * mine_TV[1])
    # Leviathan et al. 2023, 3.2: accepted is the share that both have in common.
    assert abs(accepted / 8_000 - np.minimum(mine_TV[0], theirs_KV[0]).sum()) < 0.03


def test_what_followed_the_last_tokens() -> None:
    assert look_up([1, 2, 3, 4, 1, 2], 2, 2) == [3, 4]
    assert look_up([1, 2, 3, 9, 2, 5, 1, 2], 2, 6) == [3, 9, 2, 5, 1, 2]
    assert look_up([9, 2, 5, 1, 2], 2, 1) == [5]
    # A text that goes round in a circle is followed all the way.
    assert look_up([7, 7, 7], 3, 4) == [7, 7, 7, 7]
    assert look_up([9, 1, 2, 3, 1, 2], 2, 7) == [3, 1, 2, 3, 1, 2, 3]
    assert look_up([1, 2, 3], 2, 4) == look_up([1], 2, 4) == []


@pytest.mark.parametrize("seed", range(16))
def test_a_graph_finds_what_followed_the_last_tokens(seed: int) -> None:
    """In a source with padding on its left, and in a text with room behind it, in which anything may stand."""
    random = np.random.default_rng(seed)
    source, text = (random.integers(0, 4, size).tolist() for size in random.integers((0, 1), (7, 9)))
    longest, count = random.integers(1, 5, 2).tolist()
    tokens_RN = tf.constant([text + random.integers(0, 4, 5).tolist()])
    padded = tf.constant([NO_TOKEN] * (8 - len(source)) + source)
    drafter = PromptLookup(GenerationConfig(max_matching_ngram_size=longest), 4, padded)
    guessed_M, _, found = drafter.propose(tokens_RN, tf.constant(len(text)), tf.constant(count), tf.zeros(count))
    expected = look_up(source + text, longest, count)
    assert int(found) == len(expected)
    if expected:
        assert guessed_M.numpy().tolist() == expected


MODEL = load_model_config("gpt2-mini")


@pytest.mark.parametrize(
    ("settings", "assistant", "batch", "said"),
    [
        ({"prompt_lookup_num_tokens": 3}, None, 2, "for one prompt, and there are 2"),
        ({"prompt_lookup_num_tokens": 3, "num_beams": 2}, None, 1, "num_beams=2"),
        ({"do_sample": True, "num_return_sequences": 2}, MODEL, 1, "num_return_sequences=2"),
        ({"prompt_lookup_num_tokens": 3}, MODEL, 1, "both guess"),
        ({}, load_model_config("gpt2"), 1, "a vocabulary of 50257"),
        ({}, load_model_config("gpt2-mini", ["max_length=16"]), 1, "exceed assistant_model's max_length of 16"),
    ],
)
def test_what_cannot_be_guessed(settings: dict[str, Any], assistant: ModelConfig | None, batch: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_speculation(GenerationConfig(**settings), MODEL, assistant, batch, 20)


@pytest.mark.parametrize(("package", "other"), [(transformer_torch, transformer_tf), (transformer_tf, transformer_torch)])
def test_an_assistant_is_a_model_of_the_same_framework(package: Any, other: Any) -> None:
    config = load_model_config("gpt2-mini", ["num_layers=1"])
    for assistant in ("a/folder", other.Transformer(config)):
        with pytest.raises(UserError, match=rf"assistant_model is a \w+; expected a model of {package.__name__}, as load gives it"):
            package.Transformer(config).generate([[1, 2]], assistant_model=assistant)


def test_dynamic_angles_are_not_guessed_beyond_their_start() -> None:
    scaled = load_model_config(
        "llama-character", ["positions={kind: rotary, scaling: {kind: dynamic, factor: 2.0, original_max_length: 16}}"]
    )
    check_speculation(GenerationConfig(prompt_lookup_num_tokens=3), scaled, None, 1, 16)
    with pytest.raises(UserError, match="dynamic scaling"):
        check_speculation(GenerationConfig(prompt_lookup_num_tokens=3), scaled, None, 1, 17)


def test_how_far_guesses_may_reach() -> None:
    """A graph reads guesses that do not count too: with dynamic angles they would turn those that do."""
    assert longest_with_guesses(load_model_config("gpt2")) == 1024
    assert longest_with_guesses(load_model_config("t5-small")) is None
    scaling = "positions={kind: rotary, scaling: {kind: dynamic, factor: 4.0}}"
    scaled = load_model_config("llama-character", [scaling, "max_length=12"])
    assert scaled.longest != 12
    assert longest_with_guesses(scaled) == 12


def test_guesses_that_do_not_count_turn_no_angles() -> None:
    """Texts that end at the length at which dynamic angles begin to grow, so that a graph's last guesses would lie beyond it."""
    scaling = "positions={kind: rotary, scaling: {kind: dynamic, factor: 4.0}}"
    config = load_model_config("llama-character", [scaling, "max_length=16", "num_layers=2", "initialization.std=0.3"])
    ids = np.arange(12)[None]
    plain, guessing, assistant = (package.Transformer(config, seed=3) for package in (transformer_torch, transformer_tf, transformer_tf))
    expected = plain.generate(ids, max_new_tokens=4, eos_token_id=(), return_scores=True)
    more = {"assistant_model": assistant, "num_assistant_tokens": 4}
    found = guessing.generate(ids, max_new_tokens=4, eos_token_id=(), return_scores=True, **more)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)
