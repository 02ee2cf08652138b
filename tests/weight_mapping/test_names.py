"""The canonical names are what the paper says a GPT-2 is made of."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from configs import load_model_config
from configs.tables import audio_table
from weight_mapping import canonical_tensors, initial_tensors, tied_tensors

GPT2_WITH_ONE_LAYER = {
    "decoder.embeddings.token.weight": (50257, 768),
    "decoder.embeddings.position.weight": (1024, 768),
    "decoder.layers.0.self_attention.norm.weight": (768,),
    "decoder.layers.0.self_attention.norm.bias": (768,),
    "decoder.layers.0.self_attention.query.weight": (768, 768),
    "decoder.layers.0.self_attention.query.bias": (768,),
    "decoder.layers.0.self_attention.key.weight": (768, 768),
    "decoder.layers.0.self_attention.key.bias": (768,),
    "decoder.layers.0.self_attention.value.weight": (768, 768),
    "decoder.layers.0.self_attention.value.bias": (768,),
    "decoder.layers.0.self_attention.output.weight": (768, 768),
    "decoder.layers.0.self_attention.output.bias": (768,),
    "decoder.layers.0.feed_forward.norm.weight": (768,),
    "decoder.layers.0.feed_forward.norm.bias": (768,),
    "decoder.layers.0.feed_forward.up.weight": (3072, 768),
    "decoder.layers.0.feed_forward.up.bias": (3072,),
    "decoder.layers.0.feed_forward.down.weight": (768, 3072),
    "decoder.layers.0.feed_forward.down.bias": (768,),
    "decoder.norm.weight": (768,),
    "decoder.norm.bias": (768,),
}
LLAMA_WITH_ONE_LAYER = {
    "decoder.embeddings.token.weight": (65, 128),
    "decoder.layers.0.self_attention.norm.weight": (128,),
    "decoder.layers.0.self_attention.query.weight": (96, 128),
    "decoder.layers.0.self_attention.key.weight": (48, 128),
    "decoder.layers.0.self_attention.value.weight": (48, 128),
    "decoder.layers.0.self_attention.output.weight": (128, 96),
    "decoder.layers.0.feed_forward.norm.weight": (128,),
    "decoder.layers.0.feed_forward.gate.weight": (336, 128),
    "decoder.layers.0.feed_forward.up.weight": (336, 128),
    "decoder.layers.0.feed_forward.down.weight": (128, 336),
    "decoder.norm.weight": (128,),
    "head.weight": (65, 128),
}


def test_gpt2_by_hand() -> None:
    config = load_model_config("gpt2", ["num_layers=1"])
    assert {tensor.name: tensor.shape for tensor in canonical_tensors(config)} == GPT2_WITH_ONE_LAYER
    assert tied_tensors(config) == {"head.weight": "decoder.embeddings.token.weight"}


def test_grouped_heads_a_gate_and_a_head_by_hand() -> None:
    config = load_model_config(
        "llama-character",
        ["num_layers=1", "attention.num_key_value_heads=2", "attention.head_size=24", "head.tied=false"],
    )
    assert {tensor.name: tensor.shape for tensor in canonical_tensors(config)} == LLAMA_WITH_ONE_LAYER
    assert tied_tensors(config) == {}


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("bert-base", 109_514_298),
        ("bert-tiny", 4_416_698),
        ("roberta-base", 124_697_433),
        ("distilbert-base", 66_985_530),
        ("electra-small", 13_549_057),
        ("modernbert-base", 149_655_232),
        ("transformer-base", 63_045_632),
        ("transformer-big", 214_171_648),
        ("opus-mt-en-de", 73_886_208 + 58_101),
        ("bart-base", 139_420_416 + 50_265),
        ("t5-small", 60_506_624),
        ("t5-v1_1-small", 76_961_152),
        ("vit-base-patch16-224", 86_567_656),
        ("deit-small-patch16-224", 22_050_664),
        ("clip-text-base", 63_428_096),
        ("clip-vision-base-patch32", 87_849_216),
        ("llama-3.2-1b", 1_235_814_400),
        ("mistral-7b", 7_241_732_096),
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen2-0.5b", 494_032_768),
        ("qwen3-0.6b", 596_049_920),
        ("gemma2-2b", 2_614_341_888),
        ("gemma3-1b", 999_885_952),
        ("opt-125m", 125_239_296),
        ("pythia-70m", 70_426_624),
        ("whisper-tiny", 37_760_640),
    ],
)
def test_parameters_in_total(preset: str, parameters: int) -> None:
    assert sum(prod(tensor.shape) for tensor in canonical_tensors(load_model_config(preset))) == parameters


def test_every_name_stands_once() -> None:
    names = [tensor.name for tensor in canonical_tensors(load_model_config("gpt2"))]
    assert len(names) == len(set(names)) == 4 + 12 * 16


def test_initial_weights() -> None:
    config = load_model_config("gpt2-mini")
    first, again, other = (dict(initial_tensors(config, seed)) for seed in (1, 1, 2))
    assert list(first) == [tensor.name for tensor in canonical_tensors(config)]
    for tensor in canonical_tensors(config):
        array = first[tensor.name]
        assert array.shape == tensor.shape
        assert (array == again[tensor.name]).all()
        if tensor.name.endswith("bias"):
            assert not array.any()
        elif "norm" in tensor.name:
            assert (array == 1).all()
        else:
            ends_in_the_sum = tensor.name.endswith(("output.weight", "down.weight"))
            assert (array != other[tensor.name]).any()
            assert array.std() == pytest.approx(0.02 / (8**0.5 if ends_in_the_sum else 1), rel=0.05)


def test_positions_of_audio_begin_as_sines() -> None:
    config = load_model_config("whisper-tiny", ["num_layers=1"])
    drawn = dict(initial_tensors(config, 1))
    np.testing.assert_array_equal(drawn["encoder.embeddings.position.weight"], audio_table(1500, 384).astype(np.float32))
    assert 0.015 < drawn["decoder.embeddings.position.weight"].std() < 0.025


def test_initial_weights_of_the_original_transformer() -> None:
    """Matrices evenly within sqrt(6 / (inputs + outputs)); a token table whose rows, times sqrt(width), have unit variance."""
    config = load_model_config("transformer-tiny", ["initialization.kind=xavier"])
    weights = dict(initial_tensors(config, 1))
    assert weights["encoder.embeddings.token.weight"].std() == pytest.approx(128**-0.5, rel=0.01)
    for name, outputs, inputs in (("self_attention.query", 128, 128), ("feed_forward.up", 256, 128), ("feed_forward.down", 128, 256)):
        array, bound = weights[f"encoder.layers.0.{name}.weight"], (6 / (outputs + inputs)) ** 0.5
        assert 0.99 * bound < abs(array).max() <= bound
        assert array.std() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert array.mean() == pytest.approx(0, abs=0.02 * bound)


def test_initial_weights_of_a_vision_transformer_after_xavier() -> None:
    weights = dict(initial_tensors(load_model_config("vit-digits", ["initialization={kind: xavier, scale_residual: true}"]), 1))
    patch = weights["encoder.embeddings.patch.weight"]
    assert abs(patch).max() <= (6 / (patch[0].size + len(patch))) ** 0.5
    output, query = (abs(weights[f"encoder.layers.0.self_attention.{name}.weight"]).max() for name in ("output", "query"))
    layers = load_model_config("vit-digits").num_layers
    assert output == pytest.approx(query / (2 * layers) ** 0.5, rel=0.02)
