"""What usually goes wrong when a model is written again or its weights are converted: tried where nothing else tells the cause."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, get_args

import numpy as np

from configs import ModelConfig
from configs.parts import Activation
from configs.positions import DynamicScaling, LinearScaling, Llama3Scaling, RotaryPositions, YarnScaling
from parity.causes import Suspect
from parity.compare import place_of
from parity.fields import in_words
from parity.findings import Tensors
from parity.implementation import Inputs

EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-3)
ROTARY_BASES = (10000.0, 160000.0, 500000.0, 1000000.0)
ROTARY_FACTORS = (2.0, 4.0, 8.0, 32.0)
LLAMA3_LENGTH = 8192
Changes = dict[str, Callable[[], np.ndarray]]
# Weights of one layer that are easily taken for each other.
TWINS = (("query", "key"), ("key", "value"), ("query", "value"), ("gate", "up"), ("query_norm", "key_norm"))


def usual_suspects(config: ModelConfig, tensors: Tensors, inputs: Inputs, places: list[str], place: str) -> list[Suspect]:
    """Those that this model can have. place: the one of `places` where the answers part first, and weights are suspected."""
    here = [name for name in tensors if place_of(name, places) == place]
    return [*_inputs(inputs), *_masks(config), *_fields(config), *_weights(config, tensors, here)]


def _inputs(inputs: Inputs) -> Iterator[Suspect]:
    for name in ("attention_mask", "decoder_attention_mask", "position_ids", "token_type_ids"):
        if name in inputs:
            yield Suspect(f"{name} is left out", without=(name,))
    if "attention_mask" in inputs and "position_ids" in inputs:
        yield Suspect("attention_mask and position_ids are left out", without=("attention_mask", "position_ids"))


def _masks(config: ModelConfig) -> Iterator[Suspect]:
    for stack in config.stacks:
        what = "tokens see those after them: the causal mask is missing" if stack == "decoder" else "tokens see only those before them"
        yield Suspect(f"{stack}: {what}", model=partial(_mask_as_the_other_stack, stack))


def _mask_as_the_other_stack(name: str, model: Any) -> None:
    stack = getattr(model, name)
    right = stack.mask

    def mask(*arguments: Any, **keywords: Any) -> Any:
        stack.stack = "encoder" if name == "decoder" else "decoder"
        try:
            return right(*arguments, **keywords)
        finally:
            stack.stack = name

    stack.mask = mask


def _fields(config: ModelConfig) -> Iterator[Suspect]:
    for dotted, values in _other_values(config).items():
        now = _get(config, dotted)
        for value in values:
            if value != now:
                yield Suspect(in_words(dotted, value, now), {dotted: value})
    heads, width = config.attention.num_heads, config.attention.num_heads * config.head_size
    if config.num_key_value_heads == heads:
        for other in range(1, width + 1):
            if width % other == 0 and other != heads:
                change = {"attention.num_heads": other, "attention.num_key_value_heads": other, "attention.head_size": width // other}
                yield Suspect(in_words("attention.num_heads", other, heads), change)


def _other_values(config: ModelConfig) -> Mapping[str, tuple[Any, ...]]:
    """By dotted name, what a field is easily taken for."""
    scale = config.attention_scale
    values: dict[str, tuple[Any, ...]] = {
        "feed_forward.activation": get_args(Activation),
        "norm.epsilon": EPSILONS,
        "attention.scale": (1.0, config.head_size**-0.5, config.width**-0.5, scale * scale),
        "attention.soft_cap": (None,),
        "attention.window": (None, *((config.attention.window - 1, config.attention.window + 1) if config.attention.window else ())),
        "embedding.scale": (not config.embedding.scale,),
        "head.soft_cap": (None,),
        "head.scale": (None, config.width**-0.5),
    }
    if config.norm.kind == "rms":
        values["norm.unit_offset"] = (not config.norm.unit_offset,)
    if config.pooler:
        values["pooler.kind"] = ("first", "last", "mean", *(("end", "highest") if config.special_tokens.eos else ()))
    if config.head.transform:
        values["head.transform.activation"] = get_args(Activation)
    if isinstance(config.positions, RotaryPositions):
        values["positions.base"] = ROTARY_BASES
        values["positions.window_base"] = (None,)
        values["positions.scaling"] = (None, *_scalings(config, config.positions))
    if config.positions.kind == "sinusoidal":
        values["positions.layout"] = ("interleaved", "halves")
    return values


def _scalings(config: ModelConfig, positions: RotaryPositions) -> Iterator[dict[str, Any]]:
    """Of every kind: with the factor and the length of the one that is there, or with those that are usual; and that one with others."""
    now = positions.scaling
    factors = [now.factor] if now else ROTARY_FACTORS
    for factor in factors:
        shorter, known = max(1, int(config.max_length / factor)), getattr(now, "original_max_length", None)
        lengths = [known] if known else [shorter, config.max_length]
        yield LinearScaling(factor=factor).model_dump()
        yield DynamicScaling(factor=factor, original_max_length=known or shorter).model_dump()
        yield from (YarnScaling(factor=factor, original_max_length=length).model_dump() for length in lengths)
        yield from (
            Llama3Scaling(factor=factor, original_max_length=length).model_dump()
            for length in dict.fromkeys(lengths if known else [*lengths, LLAMA3_LENGTH])
        )
    if now:
        yield from (now.model_dump() | {"factor": factor} for factor in ROTARY_FACTORS)


def _weights(config: ModelConfig, tensors: Tensors, here: list[str]) -> Iterator[Suspect]:
    """Where the answers part alone, and in every layer alike: a damaged file has the one, a wrong table the other."""
    for name in here:
        for what, changes in _changes(config, tensors, name, here):
            yield Suspect(f"{name}: {what}", tensors=changes(name))
            layers = _alike(tensors, name)
            if len(layers) > 1:
                every = {changed: read for layer in layers for changed, read in changes(layer).items()}
                yield Suspect(f"{name}, and those of the other layers: {what}", tensors=every)


def _changes(config: ModelConfig, tensors: Tensors, name: str, here: list[str]) -> Iterator[tuple[str, Callable[[str], Changes]]]:
    """What may have happened to a tensor, in words, and the tensors it leaves behind."""
    shape = tensors.shapes[name]
    if len(shape) == 2 and shape[0] == shape[1]:
        yield "transposed", lambda name: {name: lambda: tensors.read(name).T}
    for one, other in TWINS:
        twin = name.replace(f".{one}.", f".{other}.")
        if twin != name and tensors.shapes.get(twin) == shape:
            yield f"swapped with {_tail(twin)}", partial(_swapped, tensors, f".{one}.", f".{other}.")
    if name.endswith("norm.weight"):
        layer = name.removesuffix(_tail(name))
        for twin in here[here.index(name) + 1 :]:
            if twin.endswith("norm.weight") and twin.startswith(layer) and tensors.shapes[twin] == shape:
                yield f"swapped with {_tail(twin)}", partial(_swapped, tensors, _tail(name), _tail(twin))
    if isinstance(config.positions, RotaryPositions) and name.endswith("query.weight"):
        yield "and the keys': rotary pairs as neighbours, in place of in halves", partial(_interleaved, tensors, config.head_size)
    if name.endswith(".bias"):
        yield "left out", lambda name: {name: lambda: np.zeros_like(tensors.read(name))}


def _tail(name: str) -> str:
    """A name within its layer."""
    return re.sub(r"^.*\.layers\.\d+\.", "", name)


def _alike(tensors: Tensors, name: str) -> list[str]:
    """The same tensor of every layer."""
    template = re.sub(r"\.layers\.\d+\.", ".layers.N.", name)
    return [other for other in tensors if re.sub(r"\.layers\.\d+\.", ".layers.N.", other) == template]


def _swapped(tensors: Tensors, one: str, other: str, name: str) -> Changes:
    twin = name.replace(one, other)
    return {name: lambda: tensors.read(twin), twin: lambda: tensors.read(name)}


def _interleaved(tensors: Tensors, head_size: int, name: str) -> Changes:
    """Queries and keys of one layer, their rows in the order of the original Llama."""

    def read(name: str) -> np.ndarray:
        array = tensors.read(name)
        return array.reshape(-1, 2, head_size // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)

    names = [name.replace(".query.weight", f".{part}") for part in ("query.weight", "key.weight", "query.bias", "key.bias")]
    return {found: partial(read, found) for found in names if found in tensors}


def _get(config: ModelConfig, dotted: str) -> Any:
    found: Any = config.model_dump()
    for step in dotted.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found
