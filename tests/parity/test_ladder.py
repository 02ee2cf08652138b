"""The ladder of proof, for every family in the registry and both frameworks. A new family needs no new test here."""

from __future__ import annotations

import numpy as np
import pytest

import transformer_torch
from configs.positions import LearnedPositions, RotaryPositions
from configs.run import Optimizer
from parity import tolerances
from parity.differences import largest, relative, usual
from parity.inputs import Side, padded, positions
from tests.parity import rungs
from tests.parity.conftest import Subject
from weight_mapping import canonical_tensors


def test_names_and_shapes_are_the_canonical_ones(subject: Subject, framework: str) -> None:
    implementation = subject.ours(framework, "float32")
    if framework == "torch":
        from transformer_torch.weights import named_weights, reader
    else:
        from transformer_tf.weights import named_weights, reader
    read = reader(implementation.model)
    found = {name: read(name).shape for name in named_weights(implementation.model)}
    assert found == {tensor.name: tensor.shape for tensor in canonical_tensors(subject.config)}


def test_float64_logits_and_every_hidden_state_are_hugging_faces(subject: Subject, framework: str) -> None:
    ours = subject.ours(framework, "float64")
    for length, decoder_length in subject.lengths:
        inputs = subject.inputs(3, length, decoder_length=decoder_length)
        assert relative(ours.logits(inputs), subject.truth.logits(inputs)) < tolerances.FLOAT64, length
        states, expected = ours.hidden_states(inputs), subject.truth.hidden_states(inputs)
        assert list(states) == list(expected)
        assert len(states) == sum(subject.config.layers_of(stack) + 1 for stack in subject.config.stacks)
        for name, truth in expected.items():
            assert states[name].dtype == np.float64
            assert relative(states[name], truth) < tolerances.FLOAT64, (name, length)


def test_float32_is_no_further_from_the_truth_than_hugging_face_twice(subject: Subject, framework: str) -> None:
    inputs = subject.inputs(32, subject.longest)
    ours, theirs, truth = (
        {"logits": implementation.logits(inputs), **implementation.hidden_states(inputs)}
        for implementation in (subject.ours(framework, "float32"), subject.reference, subject.truth)
    )
    assert list(ours) == list(theirs) == list(truth)
    errors = {name: usual(ours[name], expected) for name, expected in truth.items()}
    assert errors["logits"] > 0.0
    for name, error in errors.items():
        assert error <= tolerances.FLOAT32_AGAINST_HUGGING_FACE * usual(theirs[name], truth[name]), name


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_that_is_not_padding(subject: Subject, framework: str, side: Side) -> None:
    config, ours = subject.config, subject.ours(framework, "float64")
    plain = subject.inputs(3, 12)
    inputs = padded(plain, config, side)
    if takes_positions(subject):
        inputs["position_ids"] = positions(inputs["attention_mask"])
    found = subject.valid(ours.logits(inputs), inputs)
    assert relative(found, subject.valid(subject.truth.logits(inputs), inputs)) < tolerances.FLOAT64
    if side == "left" and not moves_with_padding(subject):
        return
    masks = {name: inputs.get("decoder_attention_mask" if "decoder" in name else "attention_mask") for name in plain}
    # Audio has no mask, and is heard whole.
    alone = ours.logits({name: array[:1] if masks[name] is None else array[:1, masks[name][0] == 1] for name, array in plain.items()})
    first = {name: array[:1] for name, array in inputs.items()}
    assert relative(subject.valid(ours.logits(first), first), alone.reshape(-1, alone.shape[-1])) < tolerances.FLOAT64


def takes_positions(subject: Subject) -> bool:
    """Whether both sides can be told the positions, and count them alike."""
    learned = isinstance(subject.config.positions, LearnedPositions) and subject.config.positions.counted == "all"
    return subject.truth.takes("position_ids") and (learned or isinstance(subject.config.positions, RotaryPositions))


def moves_with_padding(subject: Subject) -> bool:
    """Whether padding on the left should change nothing: positions are told or relative, and the first token stands for nothing."""
    config = subject.config
    if config.pooler is not None and config.pooler.kind == "first":
        return False
    if isinstance(config.positions, LearnedPositions):
        return config.positions.counted != "all" or takes_positions(subject)
    return config.positions.kind != "sinusoidal"


def test_the_cache_gives_what_the_whole_sequence_gives(subject: Subject, framework: str) -> None:
    inputs = subject.inputs(2, 9)
    if subject.config.architecture == "encoder_decoder" and "input_ids" in inputs:
        inputs["attention_mask"] = padded(inputs, subject.config, "right")["attention_mask"]
    ours = subject.ours(framework, "float64")
    found = ours.step_by_step(inputs)
    assert relative(found, ours.logits(inputs)) < tolerances.FLOAT64
    assert relative(found, subject.truth.step_by_step(inputs)) < tolerances.FLOAT64


def test_gradients_of_every_tensor(subject: Subject, framework: str) -> None:
    inputs = subject.inputs(4, 13)
    if subject.config.inputs.kind != "patches":
        inputs = padded(inputs, subject.config, "right")
    labels = subject.labels(inputs, seed=1)
    found, expected = subject.ours(framework, "float64").gradients(inputs, labels), subject.truth.gradients(inputs, labels)
    trained = [tensor.name for tensor in canonical_tensors(subject.config) if tensor.initial != "sines"]
    assert sorted(found) == sorted(expected) == sorted(trained)
    largest_of_all = max(np.abs(gradient).max() for gradient in expected.values())
    for name in expected:
        is_zero = np.abs(expected[name]).max() < tolerances.ZERO_GRADIENT * largest_of_all
        assert is_zero == has_zero_gradient(subject, name), name
        if is_zero:
            assert np.abs(found[name]).max() < tolerances.ZERO_GRADIENT * largest_of_all, name
        else:
            assert relative(found[name], expected[name]) < tolerances.FLOAT64_GRADIENTS, name


def has_zero_gradient(subject: Subject, name: str) -> bool:
    """A key's bias adds the same number to all scores of a query, which softmax takes out again, unless keys are turned, normalized or
    capped on the way."""
    config = subject.config
    is_turned = isinstance(config.positions, RotaryPositions) and "self_attention" in name
    return name.endswith("key.bias") and not (is_turned or config.attention.query_key_norm or config.attention.soft_cap)


def test_ten_optimizer_steps(subject: Subject, framework: str) -> None:
    # A power of two: Keras keeps its learning rate in float32. And a small one: larger steps multiply the rounding of those before.
    optimizer = Optimizer(learning_rate=2.0**-12, beta2=0.99, epsilon=1e-6, weight_decay=0.1)
    inputs = [subject.inputs(4, 13, seed) for seed in range(10)]
    batches = [(batch, subject.labels(batch, seed)) for seed, batch in enumerate(inputs)]
    losses, weights = subject.fresh(framework, "float64").train(batches, optimizer)
    key = "ten optimizer steps"
    if key not in subject.loaded:
        subject.loaded[key] = subject.fresh_truth().train(batches, optimizer)
    expected_losses, expected_weights = subject.loaded[key]
    assert len(set(expected_losses)) == 10
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerances.FLOAT64_STEPS)
    assert sorted(weights) == sorted(expected_weights)
    for name, expected in expected_weights.items():
        assert relative(weights[name], expected) < tolerances.FLOAT64_STEPS, name


def test_greedy_generation_token_for_token(subject: Subject, framework: str) -> None:
    generate_greedily(subject, framework)


def test_greedy_generation_of_variants_in_pytorch(subject: Subject) -> None:
    generate_greedily(subject, "torch")


def generate_greedily(subject: Subject, framework: str) -> None:
    inputs = subject.prompts(4, 7, seed=3)
    settings = {"max_new_tokens": min(20, subject.longest - 7), "eos_token_id": 2, "pad_token_id": 0}
    ours = subject.ours(framework, "float32")
    for prompts in (inputs, padded(inputs, subject.config, "left")):
        np.testing.assert_array_equal(ours.generate(prompts, **settings), subject.reference.generate(prompts, **settings))


def test_plain_attention_is_the_fused_one(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow has no fused one. In PyTorch short sequences go to the formula, but not here."""
    monkeypatch.setattr(transformer_torch.attention, "SHORT", 0)
    plain, fused = subject.ours("torch", "float64", "plain"), subject.ours("torch", "float64", "fused")
    inputs = subject.inputs(3, 9)
    assert relative(plain.logits(inputs), fused.logits(inputs)) < tolerances.FLOAT64
    if rungs.kind_of(subject.config) in rungs.NEXT_TOKEN:
        assert relative(plain.step_by_step(inputs), fused.step_by_step(inputs)) < tolerances.FLOAT64
    if subject.config.inputs.kind != "patches":
        inputs = padded(inputs, subject.config, "left")
        masked = [subject.valid(implementation.logits(inputs), inputs) for implementation in (plain, fused)]
        assert relative(*masked) < tolerances.FLOAT64


def test_compiled_is_eager(subject: Subject) -> None:
    import tensorflow as tf

    ours, inputs = subject.ours("tensorflow", "float64"), subject.inputs(3, 9)
    tensors = {name: tf.constant(array, "float64" if array.dtype.kind == "f" else None) for name, array in inputs.items()}
    compiled = tf.function(ours.model, jit_compile=True)
    assert relative(compiled(**tensors).numpy(), ours.logits(inputs)) < tolerances.FLOAT64


def test_sampling_draws_the_same_tokens_in_both_frameworks(subject: Subject) -> None:
    inputs = subject.prompts(4, 7)
    settings = {"max_new_tokens": 16, "do_sample": True, "temperature": 1.5, "top_k": 20, "seed": 7, "eos_token_id": ()}
    torch_ids = subject.ours("torch", "float32").generate(inputs, **settings)
    np.testing.assert_array_equal(torch_ids, subject.ours("tensorflow", "float32").generate(inputs, **settings))
    other = subject.ours("torch", "float32").generate(inputs, **{**settings, "seed": 8})
    assert (torch_ids != other).any()


def test_gradient_checkpointing_changes_no_gradient(subject: Subject, framework: str) -> None:
    inputs = subject.inputs(2, 9)
    labels = subject.labels(inputs)
    expected = subject.ours(framework, "float64").gradients(inputs, labels)
    ours = subject.fresh(framework, "float64")
    if framework == "torch":
        ours.model.train()
    else:
        ours.training = True
    ours.model.set_gradient_checkpointing()
    found = ours.gradients(inputs, labels)
    assert sorted(found) == sorted(expected)
    for name in expected:
        assert largest(found[name], expected[name]) <= tolerances.FLOAT64, name
