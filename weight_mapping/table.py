"""What a family's table is made of: rules for tensors, fields and parts for config.json, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from configs import ModelConfig, UserError
from weight_mapping.operations import Operation

MISSING: Any = object()

# Hugging Face's names of activations. The first name of each is the one that is written.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    # With sqrt(2 / pi) to ten digits, in Hugging Face.
    "gelu_fast": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# A dense layer in front of a head may have one more.
OF_TRANSFORMS = {**ACTIVATIONS, "tanh": "tanh"}
# One key for the biases of all four projections of attention.
ALL_OR_NONE = {True: ("query", "key", "value", "output"), False: ()}


@dataclass(frozen=True)
class Rule:
    """One tensor of the file, and the canonical tensors that are made of it.

    source: its name, with ``{layer}`` and ``{expert}`` for their numbers.
    targets: canonical names, with the same placeholders.
    operations: applied in this order when a file is read, undone in reverse when one is written.
    old: other names that it has in older files.
    when: values that config fields must have for this rule to count, where the same name means different tensors.
    zeros: a file that lacks it means zeros.
    """

    source: str
    targets: tuple[str, ...]
    operations: tuple[Operation, ...] = ()
    old: tuple[str, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict, hash=False)
    zeros: bool = False

    def counts(self, config: ModelConfig) -> bool:
        # Most rules count always, and there is one for every tensor.
        values = config.model_dump() if self.when else {}
        return all(get_value(values, name) == value for name, value in self.when.items())


@dataclass(frozen=True)
class Field:
    """One key of config.json and the config field that it sets; dots go down into nested mappings on both sides.

    source: the key of config.json.
    target: the config field.
    default: what Hugging Face assumes where the key is absent or null: a value, or a function of the whole config.json. Without a default
        the key must be there.
    values: each value that Hugging Face may have there, with ours for it. Where there are none, both are the same.
    old: names of the key in older files.
    read: a function from Hugging Face's value to ours, where `values` cannot list them.
    write: its inverse.
    """

    source: str
    target: str
    default: Any = MISSING
    values: Mapping[Any, Any] | None = None
    old: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    write: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Part:
    """A config field that several keys of config.json decide together.

    target: the config field.
    read: its value, from the whole config.json.
    write: the keys of config.json, from the config.
    """

    target: str
    read: Callable[[Mapping[str, Any]], Any]
    write: Callable[[ModelConfig], Mapping[str, Any]]


def unless_null(key: str, default: Any) -> Callable[[Mapping[str, Any]], Any]:
    """A default for a key that is left out, where null stands for none."""
    return lambda source: None if key in source else default


def special_tokens(**defaults: int | None) -> tuple[Field, ...]:
    """The fields of special tokens: `bos`, `eos`, `pad` and `decoder_start` as far as they are named, each with its default."""
    eos = defaults.get("eos")
    fields = {
        "bos": Field("bos_token_id", "special_tokens.bos", default=unless_null("bos_token_id", defaults.get("bos"))),
        "eos": Field(
            "eos_token_id",
            "special_tokens.eos",
            default=lambda source: () if eos is None or "eos_token_id" in source else (eos,),
            read=lambda ids: tuple(ids) if isinstance(ids, list | tuple) else (ids,),
            write=lambda ids: ids[0] if len(ids) == 1 else list(ids) or None,
        ),
        "pad": Field(
            "pad_token_id",
            "special_tokens.pad",
            default=unless_null("pad_token_id", defaults.get("pad")),
            read=lambda token: token if token >= 0 else None,
        ),
        "decoder_start": Field(
            "decoder_start_token_id",
            "special_tokens.decoder_start",
            default=unless_null("decoder_start_token_id", defaults.get("decoder_start")),
        ),
    }
    return tuple(fields[name] for name in defaults)


def of_both_stacks(target: str, encoder_key: str, decoder_key: str, default: Any) -> Part:
    """A config field for which config.json has two keys, one a stack, that must be equal."""

    def read(source: Mapping[str, Any]) -> Any:
        found = tuple(source.get(key) or default for key in (encoder_key, decoder_key))
        if found[0] != found[1]:
            raise UserError(
                f"config.json: {encoder_key} is {found[0]} and {decoder_key} is {found[1]}; only stacks in which they agree are built"
            )
        return found[0]

    return Part(target, read, lambda config: dict.fromkeys((encoder_key, decoder_key), get_value(config.model_dump(), target)))


def get_value(values: Mapping[str, Any], dotted: str) -> Any:
    found: Any = values
    for step in dotted.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def set_value(values: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def transform_activation(key: str, name: str) -> str:
    """The activation of a dense layer in front of a head, as config.json names it. Raises UserError for one that is not built."""
    if name not in OF_TRANSFORMS:
        raise UserError(f"config.json: {key} is {name!r}, which is not built; built: {', '.join(OF_TRANSFORMS)}")
    return OF_TRANSFORMS[name]


def write_transform_activation(activation: str) -> str:
    """Hugging Face's name of it."""
    return next(theirs for theirs, ours in OF_TRANSFORMS.items() if ours == activation)
