"""The Transformer of the paper has no class in Hugging Face: it is held against Marian with the paper's layout and without its biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transformer_tf
import transformer_torch
from configs import ModelConfig, load_model_config, sinusoidal_table
from parity import tolerances
from parity.differences import relative
from parity.huggingface import HuggingFace
from parity.inputs import example_inputs
from tests.revealing import hugging_face_model
from weight_mapping import families
from weight_mapping.mapping import pairs

SIZES = {"vocab_size": 83, "max_length": 29, "width": 30, "num_layers": 3, "attention.num_heads": 5, "feed_forward.width": 37}
TOKENS = "special_tokens={eos: [2], pad: 82, decoder_start: 82}"
MARIAN = ["positions.layout=halves", "attention.bias=[query,key,value,output]", "head.bias=true"]


def original(*more: str) -> ModelConfig:
    return load_model_config("transformer-base", [*(f"{name}={value}" for name, value in SIZES.items()), TOKENS, *more])


@pytest.fixture(scope="module")
def marian() -> Any:
    """A random Marian whose attention and head have biases of zero, which is to have none."""
    model = hugging_face_model(families()["marian"], seed=5, activation_function="relu", decoder_layers=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "attn." in name and name.endswith("bias"):
                parameter.zero_()
        model.final_logits_bias.zero_()
    return model


@pytest.fixture(scope="module")
def truth(marian: Any) -> HuggingFace:
    """Marian in true float64, its sines and cosines in the paper's order."""
    truth = HuggingFace(marian, original(*MARIAN), double=True)
    for stack in (truth.model.model.encoder, truth.model.model.decoder):
        stack.embed_positions.weight.data.copy_(torch.from_numpy(sinusoidal_table(original())))
    return truth


def test_positions_are_as_wide_as_the_token_table() -> None:
    config = original("architecture=encoder", "num_decoder_layers=null", "head={kind: none}", "embedding={width: 16}")
    ids = example_inputs(config, 2, 7)["input_ids"]
    assert sinusoidal_table(config).shape == (29, 16)
    ours, twin = transformer_torch.Transformer(config).eval(), transformer_tf.Transformer(config)
    transformer_tf.weights.assign(twin, ((name, weight.detach().numpy()) for name, weight in ours.named_parameters()))
    np.testing.assert_allclose(twin(ids).numpy(), ours(torch.from_numpy(ids)).detach().numpy(), rtol=1e-4, atol=1e-5)


def weights(marian: Any) -> dict[str, np.ndarray]:
    state = {name: tensor.numpy() for name, tensor in marian.state_dict().items()}
    with_biases = {
        target.name: array
        for pair in pairs(original(*MARIAN))
        for target, array in zip(pair.targets, pair.forward(state[pair.source]), strict=True)
    }
    names = {name for name, _ in transformer_torch.Transformer(original()).named_parameters()}
    assert not any(with_biases[name].any() for name in set(with_biases) - names)
    return {name: with_biases[name] for name in names}


def test_pytorch(marian: Any, truth: HuggingFace) -> None:
    model = transformer_torch.Transformer(original(), seed=None).double().eval()
    transformer_torch.weights.assign(model, weights(marian).items())
    inputs = example_inputs(original(), 3, 11)
    found = model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).detach().numpy()
    assert relative(found, truth.logits(inputs)) < tolerances.FLOAT64


def test_tensorflow(marian: Any, truth: HuggingFace) -> None:
    model = transformer_tf.Transformer(original(), seed=None, dtype="float64")
    transformer_tf.weights.assign(model, weights(marian).items())
    inputs = example_inputs(original(), 3, 11)
    assert relative(model(**inputs).numpy(), truth.logits(inputs)) < tolerances.FLOAT64


def test_with_marians_layout_and_biases_it_is_written_as_marian(tmp_path: Path) -> None:
    model = transformer_torch.Transformer(original(*MARIAN))
    transformer_torch.save(model, tmp_path / "hf", "hf")
    from transformers import MarianMTModel

    loaded, report = MarianMTModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(report[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), report
    inputs = {name: torch.from_numpy(array) for name, array in example_inputs(model.config, 2, 7).items()}
    with torch.no_grad():
        assert relative(model.eval()(**inputs).numpy(), loaded.eval()(**inputs).logits.numpy()) < tolerances.FLOAT32


def test_label_smoothing_is_the_same_everywhere() -> None:
    """The smoothed target is (1 - e) at the label and e / V everywhere (section 5.4; Szegedy et al. 2016, section 7)."""
    random = np.random.default_rng(0)
    logits, labels = random.standard_normal((2, 5, 7)), random.integers(0, 7, (2, 5))
    labels[0, 3] = -100
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    target = 0.9 * np.eye(7)[np.maximum(labels, 0)] + 0.1 / 7
    expected = -(target * np.log(probabilities)).sum(-1)[labels != -100].sum()
    found = [
        transformer_torch.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), 0.1).item(),
        float(transformer_tf.cross_entropy(logits_BTV=np_to_tf(logits), labels_BT=np_to_tf(labels), label_smoothing=0.1)),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def np_to_tf(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(array)
