"""The ladder of proof, for every family in the registry and both frameworks. A new family needs no new test here."""

from __future__ import annotations

import numpy as np
import pytest

from configs.run import Optimizer
from parity import tolerances
from parity.differences import largest, relative
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


@pytest.mark.parametrize("length", [1, 2, 11, "longest"])
def test_float64_logits_and_every_hidden_state_are_hugging_faces(subject: Subject, framework: str, length: int | str) -> None:
    inputs = subject.inputs(3, subject.config.max_length if length == "longest" else int(length))
    ours = subject.ours(framework, "float64")
    assert relative(ours.logits(inputs), subject.truth.logits(inputs)) < tolerances.FLOAT64
    states, expected = ours.hidden_states(inputs), subject.truth.hidden_states(inputs)
    assert list(states) == list(expected)
    for name, truth in expected.items():
        assert states[name].dtype == np.float64
        assert relative(states[name], truth) < tolerances.FLOAT64, name


def test_float32_is_no_further_from_the_truth_than_hugging_face_twice(subject: Subject, framework: str) -> None:
    # The largest error over many inputs: one input alone may be lucky on one side.
    ours, error, allowed = subject.ours(framework, "float32"), 0.0, 0.0
    for seed in range(8):
        inputs = subject.inputs(4, subject.config.max_length, seed)
        truth = subject.truth.logits(inputs)
        error = max(error, largest(ours.logits(inputs), truth))
        allowed = max(allowed, largest(subject.reference.logits(inputs), truth))
    assert 0.0 < error <= tolerances.FLOAT32_AGAINST_HUGGING_FACE * allowed


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_that_is_not_padding(subject: Subject, framework: str, side: str) -> None:
    input_ids = subject.ids(3, 12)
    attention_mask = np.ones_like(input_ids)
    attention_mask[0, slice(0, 5) if side == "left" else slice(7, 12)] = 0
    attention_mask[1, slice(0, 2) if side == "left" else slice(10, 12)] = 0
    position_ids = np.maximum(attention_mask.cumsum(-1) - 1, 0)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
    ours = subject.ours(framework, "float64")
    found = ours.logits(inputs)
    assert relative(found[attention_mask == 1], subject.truth.logits(inputs)[attention_mask == 1]) < tolerances.FLOAT64
    alone = ours.logits({"input_ids": input_ids[:1][:, attention_mask[0] == 1]})
    assert relative(found[:1][:, attention_mask[0] == 1], alone) < tolerances.FLOAT64


def test_the_cache_gives_what_the_whole_sequence_gives(subject: Subject, framework: str) -> None:
    inputs = subject.inputs(2, 9)
    ours = subject.ours(framework, "float64")
    found = ours.step_by_step(inputs)
    assert relative(found, ours.logits(inputs)) < tolerances.FLOAT64
    assert relative(found, subject.truth.step_by_step(inputs)) < tolerances.FLOAT64


def test_gradients_of_every_tensor(subject: Subject, framework: str) -> None:
    batch = subject.inputs(4, 13), subject.ids(4, 13, seed=1)
    found, expected = subject.ours(framework, "float64").gradients(*batch), subject.truth.gradients(*batch)
    assert sorted(found) == sorted(expected) == sorted(tensor.name for tensor in canonical_tensors(subject.config))
    largest_of_all = max(np.abs(gradient).max() for gradient in expected.values())
    compared = [name for name in expected if np.abs(expected[name]).max() > tolerances.ZERO_GRADIENT * largest_of_all]
    assert len(compared) >= len(expected) - subject.config.num_layers
    for name in compared:
        assert relative(found[name], expected[name]) < tolerances.FLOAT64_GRADIENTS, name


def test_ten_optimizer_steps(subject: Subject, framework: str) -> None:
    # A power of two: Keras keeps its learning rate in float32.
    optimizer = Optimizer(learning_rate=2.0**-9, beta2=0.99, epsilon=1e-6, weight_decay=0.1)
    batches = [(subject.inputs(4, 13, seed), subject.ids(4, 13, seed + 10)) for seed in range(10)]
    losses, weights = subject.ours(framework, "float64").train(batches, optimizer)
    expected_losses, expected_weights = subject.fresh_truth().train(batches, optimizer)
    assert len(set(expected_losses)) == 10
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerances.FLOAT64_STEPS)
    for name, expected in expected_weights.items():
        if name.endswith("key.bias"):
            continue  # Its gradient is zero by algebra, and AdamW makes a step of the rounding.
        assert relative(weights[name], expected) < tolerances.FLOAT64_STEPS, name


def test_greedy_generation_token_for_token(subject: Subject, framework: str) -> None:
    input_ids = subject.ids(4, 7, seed=3)
    attention_mask = np.ones_like(input_ids)
    attention_mask[0, :4] = attention_mask[1, :1] = 0
    settings = {"max_new_tokens": 20, "eos_token_id": 2, "pad_token_id": 0}
    ours = subject.ours(framework, "float32")
    for mask in (None, attention_mask):
        inputs = {"input_ids": input_ids} | ({"attention_mask": mask} if mask is not None else {})
        np.testing.assert_array_equal(ours.generate(inputs, **settings), subject.reference.generate(inputs, **settings))


def test_plain_attention_is_the_fused_one(subject: Subject, framework: str) -> None:
    if framework == "tensorflow":
        import tensorflow as tf

        model, input_ids = subject.ours(framework, "float64").model, tf.constant(subject.ids(2, 9))
        fused = tf.function(model, jit_compile=True)(input_ids).numpy()
        graph = tf.function(model)(input_ids).numpy()
        assert relative(graph, model(input_ids).numpy()) < tolerances.FLOAT64
        assert relative(fused, model(input_ids).numpy()) < tolerances.FLOAT64
        return
    input_ids = subject.ids(3, 9)
    attention_mask = np.ones_like(input_ids)
    attention_mask[0, :3] = 0
    plain, fused = subject.ours(framework, "float64", "plain"), subject.ours(framework, "float64", "fused")
    inputs = {"input_ids": input_ids}
    assert relative(plain.logits(inputs), fused.logits(inputs)) < tolerances.FLOAT64
    assert relative(plain.step_by_step(inputs), fused.step_by_step(inputs)) < tolerances.FLOAT64
    inputs["attention_mask"] = attention_mask
    masked = [implementation.logits(inputs)[attention_mask == 1] for implementation in (plain, fused)]
    assert relative(*masked) < tolerances.FLOAT64


def test_sampling_draws_the_same_tokens_in_both_frameworks(subject: Subject) -> None:
    inputs = subject.inputs(3, 5)
    settings = {"max_new_tokens": 16, "do_sample": True, "temperature": 1.5, "top_k": 20, "seed": 7, "eos_token_id": ()}
    torch_ids = subject.ours("torch", "float32").generate(inputs, **settings)
    np.testing.assert_array_equal(torch_ids, subject.ours("tensorflow", "float32").generate(inputs, **settings))
    other = subject.ours("torch", "float32").generate(inputs, **{**settings, "seed": 8})
    assert (torch_ids != other).any()


def test_gradient_checkpointing_changes_no_gradient(subject: Subject, framework: str) -> None:
    batch = subject.inputs(2, 9), subject.ids(2, 9, seed=1)
    ours = subject.ours(framework, "float64")
    expected = ours.gradients(*batch)
    if framework == "torch":
        ours.model.train()
    else:
        ours.training = True
    ours.model.set_gradient_checkpointing()
    found = ours.gradients(*batch)
    for name in expected:
        assert largest(found[name], expected[name]) <= tolerances.FLOAT64, name
