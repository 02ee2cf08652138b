"""From YAML, presets and dotted overrides to a config, or to one line that says what is wrong and where."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
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
AnyConfig = TypeVar("AnyConfig", bound=BaseModel)


def load_run_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML, with its model preset and ``key=value`` overrides.

    `model` is a preset's name, or a mapping with an optional `preset` and whatever differs from it.
    """
    values = _read_yaml(Path(path))
    model = values.get("model")
    if isinstance(model, str):
        model = {"preset": model}
    if isinstance(model, dict):
        values["model"] = _with_preset(model, str(path))
    for override in overrides:
        _apply(values, override)
    return build(RunConfig, values, str(path))


def load_model_config(name_or_path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> ModelConfig:
    """Read a model's YAML by path, or by name from configs/models."""
    path = Path(name_or_path)
    values = _read_yaml(path) if path.suffix in (".yaml", ".yml") else read_preset(str(name_or_path), "models")
    for override in overrides:
        _apply(values, override)
    return build(ModelConfig, values, str(name_or_path))


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


def build(kind: type[AnyConfig], values: dict[str, Any], source: str) -> AnyConfig:
    """Validate `values`; the first mistake becomes a line with the file, the key, and the nearest right one."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(kind, values, error)}") from None


def dump(config: BaseModel, path: str | os.PathLike[str]) -> None:
    """Write a config as YAML that `load_run_config` and `load_model_config` read back."""
    Path(path).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else FOLDER / "runs"
        raise UserError(f"no file {path}{nearest(str(path), [str(p) for p in folder.glob('*.yaml')])}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text; people mean the number."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _with_preset(model: dict[str, Any], source: str) -> dict[str, Any]:
    name = model.pop("preset", None)
    if name is None:
        return model
    try:
        return _merge(read_preset(str(name), "models"), model)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


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
    if dotted == "model":
        values["model"] = read_preset(str(value), "models")
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


def _explain(kind: type[BaseModel], values: Any, error: ValidationError) -> str:
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
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(where[-1], _fields(parent))}"
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
