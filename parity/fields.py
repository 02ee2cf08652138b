"""Where two configs differ, in what they compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from configs import ModelConfig, build
from weight_mapping.table import get_value

# What changes no number of a forward pass.
UNSEEN = ("family", "dropout", "initialization", "special_tokens", "head.labels")
# Unless a part looks for such a token: the field, its value there, and the token.
SEEN_BY = (("pooler.kind", "end", "special_tokens.eos"), ("positions.counted", "not_padding", "special_tokens.pad"))
# Other heads in matrices of the same shape are one change, though three fields tell it.
HEADS = ("attention.num_heads", "attention.num_key_value_heads", "attention.head_size")


def config_differences(found: ModelConfig, expected: ModelConfig) -> dict[str, tuple[Any, Any]]:
    """Fields that differ and matter: by dotted name, the value found and the one expected."""
    ours, theirs = found.spelled_out(), expected.spelled_out()
    seen = [token for field, value, token in SEEN_BY if value in (get_value(ours, field), get_value(theirs, field))]
    return {dotted: pair for dotted, pair in _differences("", ours, theirs) if dotted in seen or not dotted.startswith(UNSEEN)}


def _differences(prefix: str, found: Any, expected: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(found, dict) and isinstance(expected, dict) and found.get("kind") == expected.get("kind"):
        for key in found:
            yield from _differences(f"{prefix}.{key}" if prefix else key, found[key], expected.get(key))
    elif found != expected:
        yield prefix, (found, expected)


def changes_of(differences: Mapping[str, tuple[Any, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each difference in words, and the fields that make it."""
    heads = [name for name in HEADS if name in differences]
    for dotted, (found, expected) in differences.items():
        if dotted not in heads[1:]:
            names = heads if dotted in heads else [dotted]
            yield in_words(dotted, found, expected), {name: differences[name][0] for name in names}


def changed(config: ModelConfig, changes: Mapping[str, Any]) -> ModelConfig:
    """The config with some fields replaced, by dotted name. Raises UserError where they do not fit together."""
    values = config.model_dump()
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        group = values
        for parent in parents:
            group = group[parent]
        group[last] = value
    return build(ModelConfig, values, "a change")


def in_words(dotted: str, found: Any, expected: Any) -> str:
    """A difference as a person writes it."""
    return f"{dotted}: {show(found)} in place of {show(expected)}"


def show(value: Any) -> str:
    """A config value as a person writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(below)}" for key, below in value.items() if below is not None) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
