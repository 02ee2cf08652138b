"""The canonical names: for a config, every tensor of the model with its shape. The single truth of both packages.

A torch parameter's name is its canonical name; a TensorFlow variable has the same dotted path. Shapes are those of
PyTorch: a linear weight is (outputs, inputs). What TensorFlow stores otherwise follows from the kind alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from configs import ModelConfig
from configs.parts import AudioInputs, PatchInputs, Transform
from configs.positions import RelativePositions

Kind = Literal["linear", "embedding", "convolution", "vector"]
Initial = Literal["drawn", "residual", "zeros", "ones", "sines"]


@dataclass(frozen=True)
class Tensor:
    """One weight.

    name: its canonical name.
    shape: in PyTorch's layout.
    kind: decides its layout in TensorFlow: ``linear`` is transposed, ``convolution`` has its channels last, the others are the same.
    initial: how it begins: ``zeros``, ``ones``, or ``drawn``; ``residual`` is drawn too, for projections that end in the residual sum.
        ``sines`` of positions are not trained.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    initial: Initial = "drawn"


def canonical_tensors(config: ModelConfig) -> list[Tensor]:
    """Every tensor of the model, in the order in which data flows. Tied tensors stand once, under their first owner's name."""
    stacks = [tensor for stack in config.stacks for tensor in _stack(stack, config)]
    return [*stacks, *_pooler(config), *_head(config)]


def tied_tensors(config: ModelConfig) -> dict[str, str]:
    """Names that stand for another tensor: ``{"head.weight": "decoder.embeddings.token.weight"}``."""
    if not config.token_stacks:
        return {}
    owner = f"{config.token_stacks[0]}.embeddings.token.weight"
    tied = {f"{stack}.embeddings.token.weight": owner for stack in config.token_stacks[1:]}
    return tied | ({"head.weight": owner} if config.head.is_language_model and config.head.tied else {})


def _stack(stack: str, config: ModelConfig) -> Iterator[Tensor]:
    yield from _embeddings(f"{stack}.embeddings", stack, config)
    if isinstance(config.positions, RelativePositions):
        yield Tensor(f"{stack}.relative_bias.weight", (config.positions.num_buckets, config.attention.num_heads), "embedding")
    for layer in range(config.layers_of(stack)):
        path = f"{stack}.layers.{layer}"
        yield from _attention(f"{path}.self_attention", config, has_norm=layer > 0 or config.norm.first)
        if stack == "decoder" and "encoder" in config.stacks:
            yield from _attention(f"{path}.cross_attention", config)
        yield from _feed_forward(f"{path}.feed_forward", config)
    if config.norm.placement != "after":
        yield from _norm(f"{stack}.norm", config.width, config)


def _embeddings(path: str, stack: str, config: ModelConfig) -> Iterator[Tensor]:
    width, inputs, length = config.embedding.width or config.width, config.inputs_of(stack), config.max_length
    initial: Initial = "drawn"
    if isinstance(inputs, PatchInputs):
        yield Tensor(f"{path}.patch.weight", (width, inputs.num_channels, inputs.patch_size, inputs.patch_size), "convolution")
        if inputs.bias:
            yield Tensor(f"{path}.patch.bias", (width,), "vector", "zeros")
        if inputs.class_token:
            yield Tensor(f"{path}.class_token", (width,), "vector", "drawn")
    elif isinstance(inputs, AudioInputs):
        length, initial = inputs.length, "sines"
        for number, channels in ((1, inputs.num_mel_bins), (2, width)):
            yield Tensor(f"{path}.convolution{number}.weight", (width, channels, 3), "convolution")
            yield Tensor(f"{path}.convolution{number}.bias", (width,), "vector", "zeros")
    elif stack == config.token_stacks[0]:
        yield Tensor(f"{path}.token.weight", (config.vocab_size, width), "embedding")
    if config.positions.kind == "learned":
        yield Tensor(f"{path}.position.weight", (length + config.positions.offset, width), "embedding", initial)
    if config.embedding.token_types:
        yield Tensor(f"{path}.token_type.weight", (config.embedding.token_types, width), "embedding")
    if config.embedding.norm:
        yield from _norm(f"{path}.norm", width, config)
    if width != config.width:
        yield from _linear(f"{path}.projection", config.width, width, True)


def _attention(path: str, config: ModelConfig, has_norm: bool = True) -> Iterator[Tensor]:
    query_width = config.attention.num_heads * config.head_size
    key_value_width = config.num_key_value_heads * config.head_size
    bias = config.attention.bias
    if has_norm:
        yield from _norm(f"{path}.norm", config.width, config)
    yield from _linear(f"{path}.query", query_width, config.width, "query" in bias)
    yield from _linear(f"{path}.key", key_value_width, config.width, "key" in bias)
    yield from _linear(f"{path}.value", key_value_width, config.width, "value" in bias)
    if config.attention.query_key_norm:
        yield from _norm(f"{path}.query_norm", config.head_size, config)
        yield from _norm(f"{path}.key_norm", config.head_size, config)
    yield from _linear(f"{path}.output", config.width, query_width, "output" in bias, "residual")
    if config.norm.placement == "both":
        yield from _norm(f"{path}.output_norm", config.width, config)


def _feed_forward(path: str, config: ModelConfig) -> Iterator[Tensor]:
    experts = config.feed_forward.experts
    yield from _norm(f"{path}.norm", config.width, config)
    if experts is None:
        yield from _network(path, config)
    else:
        yield from _linear(f"{path}.router", experts.count, config.width, False)
        for expert in range(experts.count):
            yield from _network(f"{path}.experts.{expert}", config)
    if config.norm.placement == "both":
        yield from _norm(f"{path}.output_norm", config.width, config)


def _network(path: str, config: ModelConfig) -> Iterator[Tensor]:
    width, bias = config.feed_forward.width, config.feed_forward.bias
    if config.feed_forward.gated:
        yield from _linear(f"{path}.gate", width, config.width, bias)
    yield from _linear(f"{path}.up", width, config.width, bias)
    yield from _linear(f"{path}.down", config.width, width, bias, "residual")


def _pooler(config: ModelConfig) -> Iterator[Tensor]:
    if config.pooler and config.pooler.transform:
        yield from _transform("pooler.transform", config.width, config.pooler.transform, config)


def _head(config: ModelConfig) -> Iterator[Tensor]:
    head = config.head
    if head.kind == "none":
        return
    # The token table may be narrower than the model.
    width = config.head_width if head.is_language_model else config.width
    if head.transform:
        yield from _transform("head.transform", width, head.transform, config)
    if head.is_language_model:
        if not head.tied:
            yield Tensor("head.weight", (config.vocab_size, width), "embedding")
        if head.bias:
            yield Tensor("head.bias", (config.vocab_size,), "vector", "zeros")
    else:
        yield from _linear("head", head.num_outputs, width, head.bias)


def _transform(path: str, outputs: int, transform: Transform, config: ModelConfig) -> Iterator[Tensor]:
    yield from _linear(path, outputs, config.width, transform.bias)
    if transform.norm:
        yield from _norm(f"{path}.norm", outputs, config)


def _norm(path: str, size: int, config: ModelConfig) -> Iterator[Tensor]:
    yield Tensor(f"{path}.weight", (size,), "vector", "zeros" if config.norm.unit_offset else "ones")
    if config.norm.bias:
        yield Tensor(f"{path}.bias", (size,), "vector", "zeros")


def _linear(path: str, outputs: int, inputs: int, bias: bool, initial: Initial = "drawn") -> Iterator[Tensor]:
    yield Tensor(f"{path}.weight", (outputs, inputs), "linear", initial)
    if bias:
        yield Tensor(f"{path}.bias", (outputs,), "vector", "zeros")
