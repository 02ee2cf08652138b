"""From YAML, presets and dotted overrides to a config, or to one line that says what is wrong and where."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from configs.errors import UserError, nearest
from configs.model import ModelConfig
from configs.run import RunConfig

FOLDER = Path(__file__).parent
QUOTE = "'"
# Overrides that take another preset.
MODEL = ("model", "model.preset")
AnyConfig = TypeVar("AnyConfig", bound=BaseModel)


def load_run_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML, with its model preset and ``key=value`` overrides.

    `model` is a preset's name, or a mapping with an optional `preset` and whatever differs from it.
    """
    values = _read_yaml(Path(path))
    if isinstance(values.get("model"), str):
        values["model"] = {"preset": values["model"]}
    name = values["model"].pop("preset", None) if isinstance(values.get("model"), dict) else None
    layers = [Layer(str(path), copy.deepcopy(values))]
    if name is not None:
        try:
            preset = read_preset(str(name), "models")
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        layers.insert(0, Layer(_preset_file(name), {"model": copy.deepcopy(preset)}, inside=1))
        values["model"] = _merge(preset, values["model"])
    for override in overrides:
        _apply(values, override)
        _remember(layers, override)
    return build(RunConfig, values, str(path), layers)


def load_model_config(name_or_path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> ModelConfig:
    """Read a model's YAML by path, or by name from configs/models."""
    path = Path(name_or_path)
    values = _read_yaml(path) if path.suffix in (".yaml", ".yml") else read_preset(str(name_or_path), "models")
    layers = [Layer(str(name_or_path), copy.deepcopy(values))]
    for override in overrides:
        _apply(values, override)
        _remember(layers, override)
    return build(ModelConfig, values, str(name_or_path), layers)


def read_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of ``key=value`` words."""
    values: dict[str, Any] = {}
    for override in overrides:
        _apply(values, override)
    return values


def read_preset(name: str, folder: str) -> dict[str, Any]:
    path = FOLDER / folder / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no preset {name!r} in configs/{folder}{nearest(name, [p.stem for p in (FOLDER / folder).glob('*.yaml')])}")
    return _read_yaml(path)


def build(kind: type[AnyConfig], values: dict[str, Any], source: str, layers: Sequence[Layer] = ()) -> AnyConfig:
    """Validate `values`; the first mistake becomes a line with the file or override, the key, and the nearest right one.

    layers: where the values come from, if not all from `source`; later ones replace what earlier ones say.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(kind, error, source, layers)) from None


@dataclass(frozen=True)
class Layer:
    """What one file or override says. source: its name; inside: how many of the keys that lead to a value do not stand in it; sets:
    those that lead to what an override replaces."""

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


def _remember(layers: list[Layer], override: str) -> None:
    """What an override says as a layer of its own; where it replaces the model, the others no longer say anything of that."""
    dotted, _, text = override.partition("=")
    says: dict[str, Any] = {}
    _apply(says, override)
    keys = tuple(dotted.split("."))
    if dotted in MODEL:
        keys = ("model",)
        for layer in layers:
            layer.values.pop("model", None)
    is_preset = dotted in MODEL and not text.startswith("{")
    layers.append(Layer(_preset_file(text) if is_preset else f"override {override!r}", says, int(is_preset), keys))


def _preset_file(name: Any) -> str:
    return f"configs/models/{name}.yaml"


def _origin(layers: Sequence[Layer], key: Sequence[str], kind: str, message: str) -> Layer | None:
    """The layer that a mistake stands in."""
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


def dump(config: BaseModel, path: str | os.PathLike[str]) -> None:
    """Write a config as YAML that `load_run_config` and `load_model_config` read back."""
    Path(path).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else FOLDER / "runs"
        raise UserError(f"no file {path}{nearest(str(path), [str(p) for p in folder.glob('*.yaml')])}") from None
    except Twice as error:
        raise UserError(
            f"{path}, line {error.line}: key {error.key!r} stands in line {error.first} already; leave one of them out"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


class Twice(yaml.YAMLError):
    """A key that stands twice in one mapping: YAML forbids it, and its reader takes the last."""

    def __init__(self, key: Any, line: int, first: int) -> None:
        super().__init__(f"key {key!r} stands in it twice")
        self.key, self.line, self.first = key, line, first


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text; people mean the number. A key that stands twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in lines:
                raise Twice(key.value, line, lines[key.value])
            if isinstance(key, yaml.ScalarNode):
                lines[key.value] = line
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        # A part of another kind replaces the preset's part: their fields have nothing to do with each other.
        same_kind = both and value.get("kind", merged[key].get("kind")) == merged[key].get("kind")
        merged[key] = _merge(merged[key], value) if both and same_kind else value
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(f"override {override!r} is not of the form key=value, such as train.max_steps=100")
    try:
        value = yaml.load(text, Loader=_Loader) if text else ""
    except yaml.YAMLError as error:
        raise UserError(f"override {override!r} is not readable as YAML: {' '.join(str(error).split())}") from None
    if dotted in MODEL:
        changes = value if dotted == "model" and isinstance(value, dict) else {"preset": value}
        name = changes.pop("preset", None)
        values["model"] = changes if name is None else _merge(read_preset(str(name), "models"), changes)
        return
    *parents, last = dotted.split(".")
    for parent in parents:
        below = values.setdefault(parent, {})
        if not isinstance(below, dict):
            raise UserError(
                f"override {override!r}: {parent!r} is {below!r}, which has no keys below it; "
                f"where it is a group of settings, set it as a whole: {dotted.rpartition('.')[0]}={{{last}: {text}}}"
            )
        values = below
    if last in ("kind", "source") and values.get(last) != value:
        values.clear()
    values[last] = value


def _explain(kind: type[BaseModel], error: ValidationError, source: str, layers: Sequence[Layer]) -> str:
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
    if origin:
        source, where = origin.source, where[origin.inside :]
    return f"{source}: {_in_words(dict(first), where, _fields(parent))}"


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
