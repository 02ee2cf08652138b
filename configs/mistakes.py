"""From a mistake in a config's values to one line that says what is wrong and where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from configs.errors import nearest

QUOTE = "'"


@dataclass(frozen=True)
class Layer:
    """What one file or override says.

    source: its name.
    values: the keys and values that it sets, from the top of the config.
    inside: how many of the keys that lead there do not stand in it: a preset has none of the `model` that it is put into.
    sets: the keys that lead to what an override replaces.
    """

    source: str
    values: dict[str, Any]
    inside: int = 0
    sets: tuple[str, ...] = ()

    def has(self, key: Sequence[str]) -> bool:
        found: Any = self.values
        for step in key:
            if not isinstance(found, dict) or step not in found:
                return False
            found = found[step]
        return True

    def is_named_in(self, message: str, key: Sequence[str]) -> bool:
        """Whether a message on the group `key` speaks of something that is set here."""
        found: Any = self.values
        for step in key:
            found = found.get(step) if isinstance(found, dict) else None
        return any(re.search(rf"\b{re.escape(name)}\b", message) for name in _leaves(found))


def _leaves(values: Any) -> Iterator[str]:
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict) and value:
            yield from _leaves(value)
        else:
            yield str(name)


def explain(kind: type[BaseModel], error: ValidationError, source: str, layers: Sequence[Layer]) -> str:
    # An unknown key explains the missing one that it was meant to be, so it goes first.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where: list[str] = []
    group: Any = kind
    parent: Any = kind
    for step in first["loc"]:
        if isinstance(step, str) and _is_tag(group, step):
            group = _is_tag(group, step)
            continue
        where.append(str(step))
        parent, group = group, _field_type(group, str(step))
    origin = _origin(layers, where, first["type"], first["msg"])
    # A preset that does not belong there at all has no key of its own to name.
    if origin and (where[origin.inside :] or first["type"] == "value_error"):
        source, where = origin.source, where[origin.inside :]
    return f"{source}: {_in_words(dict(first), where, _fields(parent))}"


def _origin(layers: Sequence[Layer], key: Sequence[str], kind: str, message: str) -> Layer | None:
    """The file or the override that a mistake stands in."""
    if kind == "value_error":
        # Several values do not go together: the last that was set has to give way.
        return next((layer for layer in reversed(layers) if layer.is_named_in(message, key)), None)
    if kind == "missing":
        # An override that asks for another kind, or replaces the whole group, needs what belongs to it.
        group = tuple(key[:-1])
        for layer in reversed(layers):
            if layer.sets and (group[: len(layer.sets)] == layer.sets or layer.sets in ((*group, "kind"), (*group, "source"))):
                return layer
        return next((layer for layer in layers if group and layer.has(group)), None)
    for size in range(len(key), 0, -1):
        if found := next((layer for layer in reversed(layers) if layer.has(key[:size])), None):
            return found
    return None


def _in_words(first: dict[str, Any], where: list[str], names: list[str]) -> str:
    """One mistake. where: the keys that lead to it; names: those that there could be in its place."""
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(where[-1], names)}"
    if first["type"] == "missing":
        return f"key {key!r} is missing; it must be set"
    if first["type"] == "union_tag_invalid":
        found, choices = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace(QUOTE, "").split(", ")
        return f"key '{key}.{first['ctx']['discriminator'].strip(QUOTE)}' is {found!r}{nearest(found, choices)}"
    if first["type"] == "literal_error":
        choices = first["ctx"]["expected"].replace(" or ", ", ").replace(QUOTE, "").split(", ")
        return f"key {key!r} is {first['input']!r}{nearest(str(first['input']), choices)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}"
    message = re.sub(r"^(Input|String) should", "it should", message).replace("a valid tuple", "a list")
    message = re.sub(r"a valid dictionary.*", "a group of keys and values", message)
    return f"key {key!r} is {first['input']!r}: {message}"


def _members(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return []


def _is_tag(annotation: Any, tag: str) -> type[BaseModel] | None:
    """The member of a union of configs whose `kind` or `source` is `tag`: pydantic names it in the path of an error."""
    members = _members(annotation)
    if len(members) < 2:
        return None
    for member in members:
        for name in ("kind", "source"):
            if name in member.model_fields and tag in get_args(member.model_fields[name].annotation):
                return member
    return None


def _field_type(annotation: Any, name: str) -> Any:
    for member in _members(annotation):
        if name in member.model_fields:
            field = member.model_fields[name]
            return field.annotation
    return None


def _fields(annotation: Any) -> list[str]:
    return [name for member in _members(annotation) for name in member.model_fields]
