"""The canonical names: for a config, every tensor of the model with its shape. The single truth of both packages.

A torch parameter's name is its canonical name; a TensorFlow variable has the same dotted path. Shapes are those of
PyTorch: a linear weight is (outputs, inputs). What TensorFlow stores otherwise follows from the kind alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from configs import ModelConfig, UserError
from configs.model import LearnedPositions, RotaryPositions

Kind = Literal["linear", "embedding", "vector"]
Initial = Literal["normal", "residual", "zeros", "ones"]


@dataclass(frozen=True)
class Tensor:
    """One weight.

    kind decides its layout in TensorFlow: `linear` is transposed, the others are the same. initial: what it is before training;
    `residual` marks the projections that end in the residual sum.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    initial: Initial = "normal"


def canonical_tensors(config: ModelConfig) -> list[Tensor]:
    """Every tensor of the model, in the order in which data flows. Tied tensors stand once, under their first owner's name."""
    _refuse_what_is_not_built(config)
    return list(_decoder(config)) + list(_head(config))


def _refuse_what_is_not_built(config: ModelConfig) -> None:
    """The fields are laid out for every family; what has no line in the code yet must not be left out in silence."""
    positions = config.positions
    unbuilt = {
        f"architecture={config.architecture!r}": config.architecture != "decoder",
        f"inputs.kind={config.inputs.kind!r}": config.inputs.kind != "tokens",
        f"positions.kind={positions.kind!r}": positions.kind == "relative",
        "positions.scaling": isinstance(positions, RotaryPositions) and positions.scaling,
        "positions.window_base": isinstance(positions, RotaryPositions) and positions.window_base,
        "positions.skip_padding": isinstance(positions, LearnedPositions) and positions.skip_padding,
        f"head.kind={config.head.kind!r}": config.head.kind not in ("none", "language_model"),
        "embedding.norm, token_types or width": config.embedding.norm or config.embedding.token_types or config.embedding.width,
        "norm.placement='both'": config.norm.placement == "both",
        "norm.first=False": not config.norm.first,
        "attention.query_key_norm": config.attention.query_key_norm,
        "feed_forward.experts": config.feed_forward.experts,
        "pooler": config.pooler,
        "head.transform": config.head.transform,
    }
    for part, is_asked_for in unbuilt.items():
        if is_asked_for:
            raise UserError(f"{part} is not built yet; docs/families.md has what is planned")


def tied_tensors(config: ModelConfig) -> dict[str, str]:
    """Names that stand for another tensor: ``{"head.weight": "decoder.embeddings.token.weight"}``."""
    tied = config.head.kind == "language_model" and config.head.tied
    return {"head.weight": "decoder.embeddings.token.weight"} if tied else {}


def _decoder(config: ModelConfig) -> Iterator[Tensor]:
    yield Tensor("decoder.embeddings.token.weight", (config.vocab_size, config.width), "embedding")
    if config.positions.kind == "learned":
        rows = config.max_length + config.positions.offset
        yield Tensor("decoder.embeddings.position.weight", (rows, config.width), "embedding")
    for layer in range(config.num_layers):
        yield from _attention(f"decoder.layers.{layer}.self_attention", config)
        yield from _feed_forward(f"decoder.layers.{layer}.feed_forward", config)
    if config.norm.placement == "before":
        yield from _norm("decoder.norm", config)


def _attention(path: str, config: ModelConfig) -> Iterator[Tensor]:
    query_width = config.attention.num_heads * config.head_size
    key_value_width = config.num_key_value_heads * config.head_size
    bias = config.attention.bias
    yield from _norm(f"{path}.norm", config)
    yield from _linear(f"{path}.query", query_width, config.width, "query" in bias)
    yield from _linear(f"{path}.key", key_value_width, config.width, "key" in bias)
    yield from _linear(f"{path}.value", key_value_width, config.width, "value" in bias)
    yield from _linear(f"{path}.output", config.width, query_width, "output" in bias, "residual")


def _feed_forward(path: str, config: ModelConfig) -> Iterator[Tensor]:
    width, bias = config.feed_forward.width, config.feed_forward.bias
    yield from _norm(f"{path}.norm", config)
    if config.feed_forward.gated:
        yield from _linear(f"{path}.gate", width, config.width, bias)
    yield from _linear(f"{path}.up", width, config.width, bias)
    yield from _linear(f"{path}.down", config.width, width, bias, "residual")


def _head(config: ModelConfig) -> Iterator[Tensor]:
    if config.head.kind == "language_model" and not config.head.tied:
        yield Tensor("head.weight", (config.vocab_size, config.width), "embedding")
    if config.head.kind == "language_model" and config.head.bias:
        yield Tensor("head.bias", (config.vocab_size,), "vector", "zeros")


def _norm(path: str, config: ModelConfig) -> Iterator[Tensor]:
    yield Tensor(f"{path}.weight", (config.width,), "vector", "zeros" if config.norm.unit_offset else "ones")
    if config.norm.has_bias:
        yield Tensor(f"{path}.bias", (config.width,), "vector", "zeros")


def _linear(path: str, outputs: int, inputs: int, bias: bool, initial: Initial = "normal") -> Iterator[Tensor]:
    yield Tensor(f"{path}.weight", (outputs, inputs), "linear", initial)
    if bias:
        yield Tensor(f"{path}.bias", (outputs,), "vector", "zeros")
