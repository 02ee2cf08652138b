"""Rotary positions in config.json: `rope_parameters` as version 5 of Hugging Face writes them, and the older spellings.

Where a file holds both, what Hugging Face makes of it is what is read here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from configs import ModelConfig, UserError
from configs.positions import RotaryPositions
from weight_mapping.table import Part

Parameters = dict[str, Any]

# The scalings that are built, each with its config fields and their keys in config.json.
KEYS: dict[str, dict[str, str]] = {
    "default": {},
    "linear": {"factor": "factor"},
    "dynamic": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "original_max_length": "original_max_position_embeddings",
        "low_frequency_factor": "low_freq_factor",
        "high_frequency_factor": "high_freq_factor",
    },
    "yarn": {
        "factor": "factor",
        "original_max_length": "original_max_position_embeddings",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "attention_factor": "attention_factor",
        "truncate": "truncate",
    },
}


def read_rotary(source: Mapping[str, Any], default_base: float = 10_000.0) -> dict[str, Any]:
    """One base and scaling for all layers."""
    parameters = _parameters(source, source.get("rope_theta") or default_base)
    if (fraction := parameters.get("partial_rotary_factor", source.get("partial_rotary_factor") or 1.0)) != 1.0:
        raise UserError(
            f"config.json: partial_rotary_factor is {fraction!r}, and only 1.0 is built for model_type {source['model_type']!r}"
        )
    return {"kind": "rotary", "base": parameters["rope_theta"], "scaling": read_scaling(parameters, source)}


def write_rotary(config: ModelConfig) -> dict[str, Any]:
    return {"rope_parameters": _written(config)}


def read_partial(source: Mapping[str, Any]) -> dict[str, Any]:
    """A share of each head is turned (GPT-NeoX, whose older keys have names of their own)."""
    parameters = _parameters(source, source.get("rotary_emb_base") or 10_000.0)
    fraction = parameters.get("partial_rotary_factor", source.get("rotary_pct", 0.25))
    return {"kind": "rotary", "base": parameters["rope_theta"], "fraction": fraction, "scaling": read_scaling(parameters, source)}


def write_partial(config: ModelConfig) -> dict[str, Any]:
    return {"rope_parameters": {**_written(config), "partial_rotary_factor": _positions(config).fraction}}


def read_by_layer_type(source: Mapping[str, Any]) -> dict[str, Any]:
    """Bases for the sliding-window layers and for the full ones, of which only these are scaled (Gemma 3)."""
    parameters = source.get("rope_parameters") or {}
    full = {"rope_type": "default", **(parameters.get("full_attention") or {}), **(source.get("rope_scaling") or {})}
    full.setdefault("rope_theta", source.get("rope_theta") or 1_000_000.0)
    # Hugging Face looks for this one key beside the layer types and not inside them.
    full["truncate"] = parameters.get("truncate", True)
    sliding = {"rope_type": "default", **(parameters.get("sliding_attention") or {})}
    sliding.setdefault("rope_theta", source.get("rope_local_base_freq") or 10_000.0)
    base, scaling = full["rope_theta"], read_scaling(full, source)
    window_base = sliding["rope_theta"]
    if window_scaling := read_scaling({**sliding, "truncate": full["truncate"]}, source):
        if (window_base, window_scaling) != (base, scaling):
            raise UserError(
                f"config.json: the sliding-window layers' rope_type is {sliding['rope_type']!r} with another base or other factors than "
                f"the full layers'; only 'default' is built, or the same as there"
            )
        window_base = None
    return {"kind": "rotary", "base": base, "window_base": window_base, "scaling": scaling}


def write_by_layer_type(config: ModelConfig) -> dict[str, Any]:
    full, window_base = _written(config), _positions(config).window_base
    sliding = full if window_base is None else {"rope_type": "default", "rope_theta": window_base}
    return {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}}


ROTARY = Part("positions", read_rotary, write_rotary)
PARTIAL_ROTARY = Part("positions", read_partial, write_partial)
ROTARY_BY_LAYER_TYPE = Part("positions", read_by_layer_type, write_by_layer_type)


def read_scaling(parameters: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config's `positions.scaling` from `rope_parameters`; source: the whole config.json."""
    kind = parameters["rope_type"]
    if kind not in KEYS:
        raise UserError(f"config.json: rope_type is {kind!r}, which is not built; built: {', '.join(KEYS)}")
    if kind == "default":
        return None
    if kind == "llama3":
        parameters = {"original_max_position_embeddings": source.get("max_position_embeddings"), **parameters}
    elif kind == "yarn":
        parameters = _resolved_yarn(parameters, source)
    if parameters.get("factor") is None:
        raise UserError(f"config.json: rope_type is {kind!r}, and rope_parameters lacks its factor")
    return {"kind": kind} | {ours: parameters[key] for ours, key in KEYS[kind].items() if parameters.get(key) is not None}


def _parameters(source: Mapping[str, Any], base: float) -> Parameters:
    """What stands for all layers, under version 5's names. base: where none stands among them."""
    found = source.get("rope_scaling") or source.get("rope_parameters") or {}
    if not isinstance(found, Mapping):
        raise UserError(f"config.json: rope_parameters is {found!r}; expected keys and values")
    parameters = dict(found)
    parameters.setdefault("rope_theta", base)
    parameters.setdefault("rope_type", parameters.get("type", "default"))
    if parameters["rope_type"] in ("llama3", "yarn") and source.get("original_max_position_embeddings"):
        parameters["original_max_position_embeddings"] = source["original_max_position_embeddings"]
    return parameters


def _resolved_yarn(parameters: Mapping[str, Any], source: Mapping[str, Any]) -> Parameters:
    """Without the keys that follow from others, or that stand for others."""
    resolved = dict(parameters)
    original = parameters.get("original_max_position_embeddings")
    if parameters.get("factor") is None and original and source.get("max_position_embeddings"):
        resolved["factor"] = source["max_position_embeddings"] / original
    scale, scale_of_all = (parameters.get(key) or 0.0 for key in ("mscale", "mscale_all_dim"))
    if parameters.get("attention_factor") is None and scale and scale_of_all and resolved.get("factor"):
        logarithm = 0.1 * math.log(max(resolved["factor"], 1.0))
        resolved["attention_factor"] = (scale * logarithm + 1.0) / (scale_of_all * logarithm + 1.0)
    for key in ("beta_fast", "beta_slow"):
        # Zero means the default here.
        resolved[key] = parameters.get(key) or None
    return resolved


def _positions(config: ModelConfig) -> RotaryPositions:
    assert isinstance(config.positions, RotaryPositions)
    return config.positions


def _written(config: ModelConfig) -> Parameters:
    """`rope_parameters` for all layers, or for the full ones."""
    positions = _positions(config)
    kind = positions.scaling.kind if positions.scaling else "default"
    written = {key: getattr(positions.scaling, ours) for ours, key in KEYS[kind].items()}
    return {"rope_theta": positions.base, "rope_type": kind} | {key: value for key, value in written.items() if value is not None}
