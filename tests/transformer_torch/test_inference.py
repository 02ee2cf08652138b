"""Other products for decoding: the same tokens in float32, near logits in fewer bits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from configs import ModelConfig, UserError, load_model_config
from tests.parity.rungs import Entry
from tests.revealing import hugging_face_model, save_hugging_face
from tests.weight_mapping.test_files import resident
from transformer_torch import Transformer, for_inference, load, save
from transformer_torch.inference import Joined, Packed, Part, Quantized
from transformer_torch.linear import Linear

ENTRIES = [
    Entry("gpt2", "GPT2LMHeadModel"),
    Entry("gemma2", "Gemma2ForCausalLM"),
    Entry("mixtral", "MixtralForCausalLM"),
    Entry("t5", "T5ForConditionalGeneration"),
]
# Norm of the difference by the norm of the logits: bfloat16 and int8 have 8 bits, and a model has many products one behind the other.
NEAR = {"bf16": 0.05, "int8": 0.05}


def inputs_of(config: ModelConfig) -> dict[str, torch.Tensor]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(3, config.vocab_size, (2, 7)))
    return {"input_ids": ids} | ({"decoder_input_ids": ids[:, :5]} if config.architecture == "encoder_decoder" else {})


@torch.no_grad()
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_float32_gives_the_same_tokens(entry: Entry, tmp_path: Path) -> None:
    folder = save_hugging_face(hugging_face_model(entry.described, entry.architecture, seed=1), tmp_path / "model")
    plain, fast = load(folder), for_inference(load(folder))
    assert any(isinstance(module, Packed) for module in fast.modules())
    assert not any(type(module) is Linear for module in fast.modules())
    inputs = inputs_of(plain.config)
    torch.testing.assert_close(fast(**inputs), plain(**inputs), rtol=1e-4, atol=1e-4)
    settings = {"max_new_tokens": 12, "eos_token_id": ()}
    np.testing.assert_array_equal(fast.generate(inputs["input_ids"], **settings), plain.generate(inputs["input_ids"], **settings))


@torch.no_grad()
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
@pytest.mark.parametrize("weights", NEAR)
def test_fewer_bits_give_near_logits(entry: Entry, weights: str) -> None:
    """With fresh weights: those of the ladder are exaggerated, and so is what rounding does to them."""
    plain, fast = Transformer(entry.config).eval(), for_inference(Transformer(entry.config), weights)
    inputs = inputs_of(entry.config)
    expected, found = plain(**inputs), fast(**inputs).float()
    assert 0 < (found - expected).norm() / expected.norm() < NEAR[weights]
    assert fast.generate(inputs["input_ids"], max_new_tokens=3, eos_token_id=()).shape[1] > 3


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what is in memory")
@pytest.mark.parametrize("weights", ["float32", "bf16", "int8"])
def test_what_is_packed_does_not_stay_as_it_was(weights: str, tmp_path: Path) -> None:
    """Of the file only what is looked up row by row is left, the tables of tokens and positions."""
    config = load_model_config("gpt2", ["num_layers=3", "vocab_size=1000", "special_tokens={eos: [0]}"])
    save(Transformer(config), tmp_path / "model")
    model = load(tmp_path / "model")
    for parameter in model.parameters():
        parameter.sum()
    assert resident(tmp_path) > 80
    for_inference(model, weights)
    tables = (1000 + 1024) * 768 * 4 / 2**20
    assert resident(tmp_path) < tables + 1


def test_layers_of_one_input_are_one_product_and_give_what_they_gave() -> None:
    """Also where another input comes before all are asked, and where one of them has no bias."""
    layers = [Linear(3, 4, True), Linear(3, 2, False)]
    for weight in (weight for layer in layers for weight in layer.parameters()):
        torch.nn.init.normal_(weight)
    joined = Joined(layers, Packed)
    first, second = (Part(joined, place) for place in range(2))
    one, other = torch.randn(2, 5, 3), torch.randn(1, 1, 3)
    with torch.no_grad():
        for hidden in (one, other):
            torch.testing.assert_close(first(hidden), layers[0](hidden))
        torch.testing.assert_close(second(one), layers[1](one))
        torch.testing.assert_close(second(other), layers[1](other))
    assert joined.kept is None
    model = for_inference(Transformer(load_model_config("llama-character", ["vocab_size=64", "num_layers=1"])))
    assert sum(isinstance(module, Joined) for module in model.modules()) == 2
    assert sum(isinstance(module, Packed) for module in model.modules()) == 2 + 2 + 1


def test_eight_bits_are_what_they_are_said_to_be() -> None:
    """A row's largest weight is 127 steps, and activations that 8 bits hold are not rounded."""
    weight, bias = torch.tensor([[1.27, -0.634], [12.7, 0.14]]), torch.tensor([0.5, -0.5])
    hidden = torch.tensor([[127.0, 0.0], [0.0, 127.0]])
    rounded = torch.tensor([[1.27, -0.63], [12.7, 0.1]])
    torch.testing.assert_close(Quantized(weight, bias)(hidden), hidden @ rounded.T + bias, rtol=1e-5, atol=1e-3)


def test_what_is_refused(tmp_path: Path) -> None:
    entry = ENTRIES[0]
    folder = save_hugging_face(hugging_face_model(entry.described, entry.architecture), tmp_path / "model")
    with pytest.raises(UserError, match="choose one of: float32, bf16, int8"):
        for_inference(load(folder), "int3")
    with pytest.raises(UserError, match=r"the model is torch\.float64 on cpu"):
        for_inference(load(folder, dtype="float64"))


@pytest.mark.parametrize("weights", ["float32", "bf16"])
def test_what_a_compiler_cannot_read_is_not_compiled(weights: str) -> None:
    model = for_inference(Transformer(load_model_config("gpt2-mini", ["num_layers=1", "vocab_size=64"]), seed=1), weights)
    with pytest.raises(UserError, match=rf"the weights are packed \({weights}\), and no compiler reads them"):
        model.compile()


def test_what_is_packed_is_neither_packed_again_nor_saved(tmp_path: Path) -> None:
    model = for_inference(Transformer(load_model_config("gpt2-mini", ["num_layers=1", "vocab_size=64"]), seed=1), weights="int8")
    with pytest.raises(UserError, match=r"the model is packed already \(int8\); load it again"):
        for_inference(model)
    with pytest.raises(UserError, match=r"packed for inference \(int8\), and its weights are gone; save it before"):
        save(model, tmp_path / "packed")
    assert not list(tmp_path.iterdir())
