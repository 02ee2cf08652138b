"""Mistakes that a port makes, each as a change of the PyTorch model: the ladder must see every one of them.

A line names the mistake, a family that has the part, and what is done wrong. To what other models it applies follows from their
configs and tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from configs import ModelConfig
from parity.inputs import Side
from weight_mapping import canonical_tensors

Weights = Mapping[str, torch.Tensor]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Mutation:
    """One mistake: other `settings` under the same weights, `weights` changed in place, other `inputs`, or another function.

    family: one to which it applies for certain. settings: config fields by dotted name, {} where the config has no such part.
    tensors: parts of names, of which some tensor of the model must have each. inputs: ours, made of the model and the right ones.
    patch: a function of transformer_torch by name, and what takes its place. where: which models have the part, if
    that does not follow from the rest. padded: the side on which there is padding.
    """

    name: str
    family: str
    settings: Callable[[ModelConfig], dict[str, Any]] | None = None
    weights: Callable[[Weights], None] | None = None
    tensors: tuple[str, ...] = ()
    inputs: Callable[[Any, Arrays], Arrays] | None = None
    patch: tuple[str, Callable[[Any], Any]] | None = None
    where: Callable[[ModelConfig], bool] | None = None
    padded: Side | None = None

    def __str__(self) -> str:
        return self.name

    def applies(self, config: ModelConfig) -> bool:
        if self.where is not None and not self.where(config):
            return False
        if self.settings is not None:
            values = config.model_dump()
            return any(_get(values, name) != value for name, value in self.settings(config).items())
        names = [tensor.name for tensor in canonical_tensors(config)]
        return all(any(part in name for name in names) for part in self.tensors)


def _get(values: Any, dotted: str) -> Any:
    for step in dotted.split("."):
        values = values.get(step) if isinstance(values, dict) else None
    return values


def swap(first: str, second: str) -> Callable[[Weights], None]:
    """Each tensor with `first` in its name and the one with `second` there, as far as both are long."""

    def mutate(weights: Weights) -> None:
        for name in [name for name in weights if first in name and name.replace(first, second) in weights]:
            one, other = weights[name], weights[name.replace(first, second)]
            rows = min(len(one), len(other))
            kept = one[:rows].clone()
            one[:rows].copy_(other[:rows])
            other[:rows].copy_(kept)

    return mutate


def change(part: str, how: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Weights], None]:
    """Every tensor whose name ends so becomes what `how` makes of it."""

    def mutate(weights: Weights) -> None:
        for name in [name for name in weights if name.endswith(part)]:
            weights[name].copy_(how(weights[name].clone()))

    return mutate


def transposed(matrix: torch.Tensor) -> torch.Tensor:
    """Its largest leading square turned over: the rest may not fit."""
    size = min(matrix.shape)
    matrix[:size, :size] = matrix[:size, :size].T.clone()
    return matrix


def swapped(first: str, second: str, family: str = "gpt2", name: str | None = None) -> Mutation:
    return Mutation(name or f"{first} and {second} swapped", family, weights=swap(first, second), tensors=(first, second))


def untransposed(part: str) -> Mutation:
    return Mutation(f"{part} left untransposed", "gpt2", weights=change(f"{part}.weight", transposed), tensors=(f"{part}.weight",))


def forgotten(part: str, family: str = "gpt2") -> Mutation:
    return Mutation(f"no {part}", family, weights=change(part, torch.zeros_like), tensors=(part,))


def has_head(config: ModelConfig) -> bool:
    return config.head.kind != "none"


def setting(
    name: str,
    family: str,
    dotted: str,
    value: Callable[[Any], Any],
    padded: Side | None = None,
    where: Callable[[ModelConfig], bool] | None = None,
) -> Mutation:
    """One config field, where the config has it, becomes what `value` makes of it."""

    def settings(config: ModelConfig) -> dict[str, Any]:
        found = _get(config.model_dump(), dotted)
        return {} if found is None else {dotted: value(found)}

    return Mutation(name, family, settings=settings, padded=padded, where=where)


def without(name: str) -> Callable[[Any, Arrays], Arrays]:
    """The inputs without one of them."""
    return lambda model, inputs: {key: array for key, array in inputs.items() if key != name}


def backwards(model: Any, inputs: Arrays) -> Arrays:
    """Positions counted from the end."""
    return {**inputs, "position_ids": np.arange(inputs["input_ids"].shape[1])[None, ::-1].copy()}


def padding_seen(model: Any, inputs: Arrays) -> Arrays:
    """A decoder that looks at all that the encoder has made, padding too."""
    encoded = model.encoder(torch.from_numpy(inputs["input_ids"]), torch.from_numpy(inputs["attention_mask"]))
    decoder = {name: array for name, array in inputs.items() if name.startswith("decoder")}
    return {"encoded": encoded.detach().numpy(), **decoder}


def one_later(causal_mask: Any) -> Any:
    """Each token sees the next one too."""
    return lambda query_T, key_S, *more: causal_mask(query_T + 1, key_S, *more)


def window_moved(name: str, by: int) -> Mutation:
    """An encoder's window reaches half as far, on either side."""

    def settings(config: ModelConfig) -> dict[str, Any]:
        window, steps = config.attention.window, 2 if config.architecture == "encoder" else 1
        return {} if window is None else {"attention.window": window + steps * by}

    return Mutation(name, "mistral", settings=settings)


MUTATIONS = [
    *(
        setting(f"activation {name}", family, "feed_forward.activation", lambda activation, name=name: name)
        for name, family in {"gelu": "gpt2", "gelu_tanh": "bert", "quick_gelu": "gpt2", "relu": "gpt2", "silu": "gpt2"}.items()
    ),
    # Where a family fixes 1e-12, 1% of it is not to be seen.
    setting("epsilon 1% less", "gpt2", "norm.epsilon", lambda epsilon: 0.99 * epsilon if epsilon > 1e-9 else epsilon),
    setting("epsilon 1% more", "gpt2", "norm.epsilon", lambda epsilon: 1.01 * epsilon if epsilon > 1e-9 else epsilon),
    setting("epsilon a thousandth", "gpt2", "norm.epsilon", lambda epsilon: 1e-3 * epsilon if epsilon > 1e-9 else 1e-6),
    Mutation("scores scaled by the width", "gpt2", settings=lambda config: {"attention.scale": 1 / math.sqrt(config.width)}),
    swapped("self_attention.query", "self_attention.key"),
    swapped("self_attention.key", "self_attention.value"),
    swapped("layers.0.", "layers.1."),
    swapped("self_attention.norm", "feed_forward.norm"),
    untransposed("output"),
    untransposed("query"),
    forgotten("query.bias"),
    forgotten("output.bias"),
    forgotten("norm.bias"),
    forgotten("down.bias"),
    # Masks and positions.
    Mutation("no mask", "gpt2", inputs=without("attention_mask"), where=lambda config: config.stacks == ("decoder",), padded="left"),
    Mutation(
        "no mask in the encoder",
        "bert",
        inputs=without("attention_mask"),
        where=lambda config: "encoder" in config.stacks and config.inputs.kind == "tokens",
        padded="right",
    ),
    Mutation("the next token seen", "gpt2", patch=("causal_mask", one_later), where=lambda config: "decoder" in config.stacks),
    Mutation(
        "positions counted from the end",
        "gpt2",
        inputs=backwards,
        where=lambda config: config.positions.kind in ("learned", "rotary") and config.inputs.kind == "tokens" and len(config.stacks) == 1,
    ),
    # Two stacks.
    Mutation(
        "no mask in the decoder",
        "marian",
        inputs=without("decoder_attention_mask"),
        where=lambda config: len(config.stacks) == 2,
        padded="left",
    ),
    Mutation(
        "cross-attention sees padding",
        "marian",
        inputs=padding_seen,
        where=lambda config: len(config.stacks) == 2 and config.inputs.kind == "tokens",
        padded="right",
    ),
    swapped("cross_attention.query", "cross_attention.key", "marian"),
    swapped("cross_attention.", "self_attention.", "marian", "cross-attention and self-attention swapped"),
    swapped("encoder.layers.0.self_attention", "decoder.layers.0.self_attention", "marian", "the stacks swapped"),
    # Ways in.
    Mutation("no token types", "bert", inputs=without("token_type_ids"), where=lambda config: config.embedding.token_types > 1),
    Mutation(
        "token types swapped",
        "bert",
        weights=change("token_type.weight", lambda table: table.flip(0)),
        where=lambda config: config.embedding.token_types > 1,
    ),
    forgotten("class_token", "vit"),
    forgotten("convolution1.bias", "whisper"),
    Mutation(
        "convolutions run backwards in time",
        "whisper",
        weights=change("convolution2.weight", lambda weight: weight.flip(2)),
        tensors=("convolution2.weight",),
    ),
    Mutation(
        "frames one later, as where TensorFlow pads for itself",
        "whisper",
        inputs=lambda model, inputs: {**inputs, "input_features": np.roll(inputs["input_features"], 1, -1)},
        where=lambda config: config.inputs.kind == "audio",
    ),
    Mutation(
        "rows and columns of a patch swapped",
        "vit",
        weights=change("patch.weight", lambda weight: weight.transpose(2, 3)),
        tensors=("patch.weight",),
    ),
    Mutation(
        "embeddings scaled where they are not, or the reverse",
        "marian",
        settings=lambda config: {"embedding.scale": not config.embedding.scale},
        where=lambda config: bool(config.token_stacks),
    ),
    setting("positions count padding", "roberta", "positions.counted", lambda counted: "all", padded="left"),
    setting("sines interleaved", "marian", "positions.layout", lambda layout: "interleaved"),
    setting("another base", "llama", "positions.base", lambda base: 1.01 * base),
    setting("the same base in windows", "gemma3", "positions.window_base", lambda base: None),
    Mutation(
        "no scaling of rotary frequencies",
        "llama",
        settings=lambda config: {"positions.scaling": None, "max_length": config.longest},
        where=lambda config: _get(config.model_dump(), "positions.scaling") is not None,
    ),
    setting("another factor of rotary scaling", "llama", "positions.scaling.factor", lambda factor: 1.01 * factor),
    # Inside attention.
    forgotten("relative_bias.weight", "t5"),
    Mutation(
        "buckets shifted by one",
        "t5",
        weights=change("relative_bias.weight", lambda table: table.roll(1, 0)),
        tensors=("relative_bias.weight",),
    ),
    swapped("query_norm", "key_norm", "qwen3"),
    setting("no soft cap of the scores", "gemma2", "attention.soft_cap", lambda cap: None),
    window_moved("the window one shorter", -1),
    window_moved("the window one longer", 1),
    setting("windows in the other layers", "gemma2", "attention.window_layers", lambda layers: layers[1:] + layers[:1]),
    # Norms.
    setting("norm weights read without the 1", "gemma2", "norm.unit_offset", lambda offset: False),
    swapped(".norm.", ".output_norm.", "gemma2"),
    # Ways out.
    setting("no soft cap of the logits", "gemma2", "head.soft_cap", lambda cap: None, where=has_head),
    setting("another scale before the head", "t5", "head.scale", lambda scale: 1.0, where=has_head),
    forgotten("head.bias", "marian"),
    setting("another activation before the head", "bert", "head.transform.activation", lambda activation: "silu"),
    setting("another token stands for the sequence", "bert", "pooler.kind", lambda kind: "mean"),
    setting("the last token stands for a text, and not its end", "clip_text", "pooler.kind", lambda kind: "last"),
]
