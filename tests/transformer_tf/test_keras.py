"""The TensorFlow model as Keras people use it. Equality with Hugging Face stands in tests/parity."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from configs import UserError, load_model_config
from transformer_tf import Transformer, load, save
from transformer_tf.cache import Cache
from transformer_tf.optimizer import AdamW

CONFIG = load_model_config("llama-character", ["num_layers=2", "width=32", "feed_forward.width=48", "vocab_size=16", "max_length=12"])


def batch() -> np.ndarray:
    """Sequences that count upwards: a model that learns nothing stays at log(16) = 2.77."""
    return (np.arange(13)[None] + np.arange(64)[:, None]) % 16


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compile_and_fit(jit_compile: bool) -> None:
    model = Transformer(CONFIG, seed=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=AdamW(1e-2, 0.9, 0.99, 1e-8, 0.1), loss=loss, jit_compile=jit_compile)
    history = model.fit(batch()[:, :-1], batch()[:, 1:], batch_size=16, epochs=6, verbose=0).history["loss"]
    assert history[0] > 2.0
    assert history[-1] < 0.5


def test_graph_and_xla_give_what_eager_gives_at_any_length() -> None:
    model = Transformer(CONFIG, seed=1)
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None), tf.int64)])
    compiled = tf.function(model, jit_compile=True)
    for length in (1, 5, 12):
        ids_BT = tf.constant(batch()[:3, :length])
        for way in (graph, compiled):
            np.testing.assert_allclose(way(ids_BT).numpy(), model(ids_BT).numpy(), atol=1e-6)


def test_a_keras_archive_holds_the_model(tmp_path: Path) -> None:
    model = Transformer(CONFIG, seed=1)
    model.save_weights(tmp_path / "model.weights.h5")
    other = Transformer.from_config(model.get_config())
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(batch()[:, :12]).numpy(), model(batch()[:, :12]).numpy())


def test_a_keras_archive_is_loaded_by_name_and_knows_how_its_model_generates(tmp_path: Path) -> None:
    model = Transformer(CONFIG, seed=1)
    model.generation_config = {"suppress_tokens": [3]}
    model.compile(optimizer=AdamW(1e-2, 0.9, 0.99, 1e-8, 0.1), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.save(tmp_path / "model.keras")
    other = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(other(batch()[:, :12]).numpy(), model(batch()[:, :12]).numpy())
    assert other.generation_config == {"suppress_tokens": [3]}
    assert isinstance(other.optimizer, AdamW)


def test_mixed_precision_keeps_weights_in_float32(tmp_path: Path) -> None:
    save(Transformer(CONFIG, seed=1), tmp_path / "run")
    expected = load(tmp_path / "run")(batch()[:, :12]).numpy()
    mixed = Transformer(CONFIG, seed=1, dtype="mixed_bfloat16")
    logits_BTV = mixed(batch()[:, :12])
    assert logits_BTV.dtype == tf.bfloat16
    assert {weight.dtype for weight in mixed.trainable_variables} == {"float32"}
    np.testing.assert_allclose(tf.cast(logits_BTV, tf.float32).numpy(), expected, atol=0.01)


@pytest.mark.parametrize("place", ["embedding", "attention", "residual", "feed_forward", "head"])
def test_each_dropout_acts_in_training_alone(place: str) -> None:
    head = ["head={kind: classification, num_labels: 3}", "pooler={kind: first}"]
    preset, changes = ("bert-tiny", head) if place == "head" else ("gpt2-character", [])
    model = Transformer(load_model_config(preset, [*changes, "num_layers=1", f"dropout={{{place}: 0.5}}"]), seed=1)
    ids_BT = np.arange(8)[None]
    assert (model(ids_BT, training=True).numpy() != model(ids_BT, training=True).numpy()).any()
    np.testing.assert_array_equal(model(ids_BT).numpy(), model(ids_BT).numpy())


@pytest.mark.parametrize("in_graph", [False, True])
def test_gradient_checkpointing_drops_the_same_values_when_it_computes_again(in_graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ids_BT = np.arange(24).reshape(2, 12)

    def gradients() -> list[np.ndarray]:
        model = Transformer(load_model_config("gpt2-character", ["dropout=0.5", "num_layers=2", "width=32", "max_length=12"]), seed=1)
        model.set_gradient_checkpointing()
        model.decoder.seeds.state.assign([5, 0])

        def differentiate() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                # The first embeddings' dropout draws its own seed.
                hidden_BTD = model.decoder(ids_BT, training=True)
                loss = tf.reduce_sum(hidden_BTD**3)
            return tape.gradient(loss, model.decoder.layers[0].trainable_variables)

        return [gradient.numpy() for gradient in (tf.function(differentiate) if in_graph else differentiate)()]

    keras.utils.set_random_seed(3)
    found = gradients()
    monkeypatch.setattr(tf, "recompute_grad", lambda function: function)
    keras.utils.set_random_seed(3)
    expected = gradients()
    for gradient, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-5)
    assert any(gradient.any() for gradient in expected)


def test_a_mask_may_be_shorter_than_the_cache() -> None:
    model, ids_BT = Transformer(CONFIG, seed=1), batch()[:2, :6]
    cache = Cache(CONFIG, 2, 12, tf.float32)
    model(ids_BT[:, :4], cache=cache)
    found = model(ids_BT[:, 4:], np.ones((2, 6), np.int64), cache=cache)
    np.testing.assert_allclose(found.numpy(), model(ids_BT).numpy()[:, 4:], atol=1e-6)


def test_the_optimizer_decays_matrices_only() -> None:
    matrix, vector = keras.Variable(np.ones((2, 2))), keras.Variable(np.ones(2))
    AdamW(0.5, 0.9, 0.99, 1e-8, 0.1).apply([tf.zeros((2, 2)), tf.zeros(2)], [matrix, vector])
    np.testing.assert_allclose(matrix.numpy(), 1 - 0.5 * 0.1)
    np.testing.assert_array_equal(vector.numpy(), 1)


def test_what_cannot_be_is_refused_in_one_line() -> None:
    model = Transformer(CONFIG)
    with pytest.raises(UserError, match=r"13 tokens are more than the model's max_length of 12"):
        model(batch())
    with pytest.raises(UserError, match="choose one of: plain"):
        Transformer(CONFIG, attention="fused")
    with pytest.raises(UserError, match="outside the vocabulary of 16"):
        model.generate([[16]])


def test_a_mask_of_truth_values_and_one_that_is_too_short() -> None:
    model = Transformer(CONFIG)
    ids = np.ones((2, 5), np.int64)
    whole = np.ones((2, 5), bool)
    np.testing.assert_array_equal(model(ids, attention_mask=whole).numpy(), model(ids, attention_mask=whole.astype(np.int64)).numpy())
    with pytest.raises(UserError, match=r"attention_mask has shape \[2, 3\]; expected \(batch, 5\)"):
        model.call(tf.constant(ids), attention_mask=tf.ones((2, 3), tf.int64))


def test_a_cache_that_is_full() -> None:
    model = Transformer(CONFIG)
    cache = Cache(CONFIG, 2, 4, tf.float32)
    with pytest.raises(UserError, match="5 tokens do not fit into a cache of 4"):
        model.call(tf.ones((2, 5), tf.int64), cache=cache)


def test_a_mistake_inside_of_keras_is_one_line() -> None:
    model = Transformer(CONFIG)
    with pytest.raises(UserError, match=r"^this decoder has no use for token_type_ids[^\n]*$"):
        model(tf.ones((1, 3), tf.int64), token_type_ids=tf.zeros((1, 3), tf.int64))


def test_several_inputs_as_one_dict() -> None:
    model = Transformer(CONFIG)
    ids, mask = np.arange(20).reshape(4, 5) % 16, np.array([[0, 1, 1, 1, 1]] * 4)
    expected = model(ids, attention_mask=mask).numpy()
    found = model.predict({"input_ids": ids, "attention_mask": mask}, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected - model(ids).numpy()).max() > 1e-5
