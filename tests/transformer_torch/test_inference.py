"""Other products for decoding: the same tokens in float32, near logits in fewer bits."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from configs import ModelConfig, UserError, load_model_config
from tests.parity.rungs import Entry
from tests.revealing import hugging_face_model, save_hugging_face
from tests.weight_mapping.test_files import resident
from transformer_torch import Transformer, for_inference, load, save
from transformer_torch.inference import PRODUCTS
from transformer_torch.linear import Linear
from transformer_torch.packed import Joined, Packed, Part, Quantized

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


@pytest.mark.parametrize("weights", PRODUCTS)
def test_what_is_packed_can_be_compiled(weights: str) -> None:
    """Each product is one operator. Two models of one shape have programs of their own, and a copy has weights of its own."""
    torch._dynamo.reset()
    config = load_model_config("llama-character", ["vocab_size=64", "num_layers=2", "initialization.std=0.3"])
    ids, settings = [[1, 2, 3]], {"max_new_tokens": 20, "eos_token_id": ()}
    said = []
    for seed in (1, 2):
        # The formula, and not the kernel, which compiled programs leave: in bfloat16 the two are rounded otherwise.
        model = for_inference(Transformer(config, seed=seed, attention="plain"), weights)
        expected = model.generate(ids, **settings)
        program = CompileCounterWithBackend("aot_eager")
        model.compile(backend=program, fullgraph=True)
        np.testing.assert_array_equal(model.generate(ids, **settings), expected)
        assert program.frame_count == 1
        said.append(expected.tolist())
    assert said[0] != said[1]
    torch._dynamo.reset()


def test_a_copy_has_a_number_of_its_own() -> None:
    model = for_inference(Transformer(load_model_config("gpt2-mini", ["num_layers=1", "vocab_size=64"]), seed=1), "int8")
    copied = copy.deepcopy(model)
    numbers = [[module.number for module in each.modules() if isinstance(module, Quantized)] for each in (model, copied)]
    assert not set(numbers[0]) & set(numbers[1])
    ids, settings = [[1, 2, 3]], {"max_new_tokens": 5, "eos_token_id": ()}
    expected = model.generate(ids, **settings)
    del model
    torch._dynamo.reset()
    copied.compile(backend="aot_eager", fullgraph=True)
    np.testing.assert_array_equal(copied.generate(ids, **settings), expected)


def test_what_is_packed_is_neither_packed_again_nor_saved(tmp_path: Path) -> None:
    model = for_inference(Transformer(load_model_config("gpt2-mini", ["num_layers=1", "vocab_size=64"]), seed=1), weights="int8")
    with pytest.raises(UserError, match=r"the model is packed already \(int8\); load it again"):
        for_inference(model)
    with pytest.raises(UserError, match=r"packed for inference \(int8\), and its weights are gone; save it before"):
        save(model, tmp_path / "packed")
    assert not list(tmp_path.iterdir())
