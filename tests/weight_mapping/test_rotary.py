"""Rotary keys of config.json in all dialects: what is read turns queries and keys as Hugging Face's own reading does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from configs import ModelConfig
from configs.positions import RotaryPositions
from configs.tables import rotary_frequencies
from tests.weight_mapping.folders import refused
from weight_mapping import families

YARN = {"factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 2.0, "beta_slow": 0.5}
LLAMA3 = {"factor": 4.0, "low_freq_factor": 0.5, "high_freq_factor": 2.0, "original_max_position_embeddings": 32}

FLAT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "base at the top": {"rope_theta": 70.0},
    "base inside": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "default"}},
    "base in both": {"rope_theta": 7.0, "rope_parameters": {"rope_theta": 70.0, "rope_type": "default"}},
    "no scaling": {"rope_theta": 70.0, "rope_scaling": None},
    "linear": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "linear", "factor": 4.0}},
    "linear, old": {"rope_theta": 70.0, "rope_scaling": {"type": "linear", "factor": 4}},
    "linear, less old": {"rope_theta": 70.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "two types": {"rope_theta": 70.0, "rope_scaling": {"type": "linear", "rope_type": "default", "factor": 4.0}},
    "old and new": {
        "rope_theta": 7.0,
        "rope_scaling": {"type": "linear", "factor": 4.0},
        "rope_parameters": {"rope_theta": 70.0, "rope_type": "linear", "factor": 2.0},
    },
    "dynamic": {"rope_theta": 70.0, "rope_scaling": {"type": "dynamic", "factor": 4.0}},
    "dynamic, with an original length": {"rope_scaling": {"type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 16}},
    "llama3": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "llama3", **LLAMA3}},
    "llama3, old": {"rope_theta": 70.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "llama3, length at the top": {
        "original_max_position_embeddings": 48,
        "rope_parameters": {"rope_theta": 70.0, "rope_type": "llama3", **LLAMA3},
    },
    "llama3, no length": {
        "rope_parameters": {"rope_theta": 70.0, "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    },
    "yarn": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN}},
    "yarn, old": {"rope_theta": 70.0, "rope_scaling": {"type": "yarn", **YARN}},
    "yarn, not truncated": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN, "truncate": False}},
    "yarn, zero betas": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN, "beta_fast": 0, "beta_slow": None}},
    "yarn, length at the top": {
        "original_max_position_embeddings": 24,
        "rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN},
    },
    "yarn, no length": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", "factor": 4.0, "beta_fast": 8.0}},
    "yarn, no factor": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN, "factor": None}},
    "yarn, attention factor": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN, "attention_factor": 1.7}},
    "yarn, two scales": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN, "mscale": 2.0, "mscale_all_dim": 0.5}},
    "yarn, one scale": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "yarn", **YARN, "mscale": 2.0}},
    "yarn, scales and attention factor": {
        "rope_parameters": {
            "rope_theta": 70.0,
            "rope_type": "yarn",
            **YARN,
            "mscale": 2.0,
            "mscale_all_dim": 0.5,
            "attention_factor": 1.7,
        }
    },
}
LINEAR = {"rope_type": "linear", "factor": 8.0}
NESTED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "new": {
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
            "full_attention": {"rope_theta": 70.0, **LINEAR},
        }
    },
    "old": {"rope_theta": 70.0, "rope_local_base_freq": 30.0, "rope_scaling": LINEAR},
    "old without scaling": {"rope_theta": 70.0, "rope_local_base_freq": 30.0, "rope_scaling": None},
    "the older word for the type": {"rope_theta": 70.0, "rope_scaling": {"type": "linear", "factor": 8.0}},
    "old and new": {
        "rope_theta": 7.0,
        "rope_scaling": LINEAR,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 70.0}},
    },
    "both layer types scaled alike": {
        "rope_parameters": {
            "sliding_attention": {"rope_theta": 70.0, **LINEAR},
            "full_attention": {"rope_theta": 70.0, **LINEAR},
        }
    },
    "yarn": {"rope_parameters": {"full_attention": {"rope_theta": 70.0, "rope_type": "yarn", **YARN, "truncate": False}}},
    "yarn, length at the top": {
        "original_max_position_embeddings": 24,
        "rope_parameters": {"full_attention": {"rope_theta": 70.0, "rope_type": "yarn", **YARN}},
    },
}
PARTIAL: dict[str, dict[str, Any]] = {
    "nothing": {},
    "old": {"rotary_emb_base": 70, "rotary_pct": 0.5},
    "new": {"rope_parameters": {"rope_theta": 70.0, "rope_type": "default", "partial_rotary_factor": 0.5}},
    "old with scaling": {"rotary_emb_base": 70, "rotary_pct": 0.5, "rope_scaling": {"type": "linear", "factor": 4.0}},
}


def settings(family: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a config.json with these rotary keys and heads of 16 values."""
    sizes = {"head_dim": 16} if family != "gpt_neox" else {"hidden_size": 48}
    revealing = {key: value for key, value in families()[family].revealing.items() if key != "rope_parameters"}
    return {"model_type": families()[family].model_type, **revealing, **sizes, "max_position_embeddings": 64, **keys}


def read(family: str, source: Mapping[str, Any]) -> ModelConfig:
    return families()[family].read_config(source, "config.json")


def hugging_face(source: Mapping[str, Any]) -> Any:
    """Hugging Face's config of a config.json, of which it changes the nested parts in place."""
    copied = {key: dict(value) if isinstance(value, dict) else value for key, value in source.items() if key != "model_type"}
    for key in ("full_attention", "sliding_attention"):
        if key in copied.get("rope_parameters", {}):
            copied["rope_parameters"][key] = dict(copied["rope_parameters"][key])
    return transformers.AutoConfig.for_model(source["model_type"], **copied)


def assert_turned_alike(config: ModelConfig, windowed: bool, frequencies: torch.Tensor, factor: float) -> None:
    found, found_factor = rotary_frequencies(config, windowed)
    np.testing.assert_allclose(found, frequencies.numpy(), rtol=1e-6)
    assert found_factor == factor


@pytest.mark.parametrize("name", FLAT)
def test_one_rotation_for_all_layers(name: str) -> None:
    source = settings("llama", FLAT[name])
    config = read("llama", source)
    for keys in (source, families()["llama"].write_config(config)):
        theirs = LlamaRotaryEmbedding(hugging_face(keys))
        assert_turned_alike(config, False, theirs.inv_freq, theirs.attention_scaling)
        kind = config.positions.scaling.kind if config.positions.scaling else "default"  # type: ignore[union-attr]
        assert kind == theirs.rope_type
    assert read("llama", families()["llama"].write_config(config)) == config


@pytest.mark.parametrize("name", NESTED)
def test_a_rotation_for_each_layer_type(name: str) -> None:
    source = settings("gemma3", NESTED[name])
    config = read("gemma3", source)
    for keys in (source, families()["gemma3"].write_config(config)):
        theirs = Gemma3RotaryEmbedding(hugging_face(keys))
        for windowed, kind in ((False, "full_attention"), (True, "sliding_attention")):
            assert_turned_alike(config, windowed, getattr(theirs, f"{kind}_inv_freq"), getattr(theirs, f"{kind}_attention_scaling"))
    assert read("gemma3", families()["gemma3"].write_config(config)) == config


@pytest.mark.parametrize("name", PARTIAL)
def test_a_rotation_of_a_part(name: str) -> None:
    source = settings("gpt_neox", PARTIAL[name])
    config = read("gpt_neox", source)
    for keys in (source, families()["gpt_neox"].write_config(config)):
        theirs = GPTNeoXRotaryEmbedding(hugging_face(keys))
        assert_turned_alike(config, False, theirs.inv_freq, theirs.attention_scaling)
    assert read("gpt_neox", families()["gpt_neox"].write_config(config)) == config


@pytest.mark.parametrize("family", ["llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2"])
def test_the_base_where_none_is_told(family: str) -> None:
    positions = read(family, settings(family, {})).positions
    assert isinstance(positions, RotaryPositions)
    assert positions.base == hugging_face(settings(family, {})).rope_parameters["rope_theta"]


def test_dynamic_goes_on_from_the_models_own_length() -> None:
    """Hugging Face looks at max_position_embeddings alone."""
    positions = read("llama", settings("llama", FLAT["dynamic, with an original length"])).positions
    assert isinstance(positions, RotaryPositions)
    assert positions.scaling is not None
    assert positions.scaling.model_dump() == {"kind": "dynamic", "factor": 4.0, "original_max_length": None}


@pytest.mark.parametrize(
    ("family", "keys", "message"),
    [
        ("llama", {"rope_scaling": {"type": "longrope", "factor": 2.0}}, "'longrope', which is not built; built: default, linear, dynamic"),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, "rope_parameters lacks its factor"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, and only 1.0 is built"),
        ("gemma3", {"rope_parameters": {"full_attention": {"rope_type": "longrope"}}}, "'longrope', which is not built"),
        ("gemma3", {"rope_parameters": {"sliding_attention": LINEAR}}, "the sliding-window layers' rope_type is 'linear'"),
    ],
)
def test_what_is_not_built_is_refused(family: str, keys: dict[str, Any], message: str) -> None:
    assert message in refused(lambda: read(family, settings(family, keys)))


def test_what_hugging_face_has_no_place_for_is_not_written() -> None:
    config = read("gemma3", settings("gemma3", NESTED["new"]))
    both = config.positions.model_copy(update={"window_base": 30.0})
    without = config.model_copy(update={"family": "gemma2", "positions": both})
    assert "positions" in refused(lambda: families()["gemma2"].write_config(without))
