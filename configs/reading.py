"""From YAML, presets and dotted overrides to a config, or to one line that says what is wrong and where."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from configs.errors import UserError, nearest
from configs.mistakes import Layer, explain
from configs.model import ModelConfig
from configs.run import RunConfig

FOLDER = Path(__file__).parent
# A run of `train` has it from its first step on.
RUN = "run.yaml"
# Overrides that take another preset.
MODEL = ("model", "model.preset")
# Groups that a YAML file may name by their kind alone.
NAMED_BY_KIND = ("objective",)
# What the figures depend on that a run's YAML names; a run in which these are others has none to be held against.
DECIDING = (
    ("model",),
    ("objective",),
    ("tokenizer",),
    ("initial",),
    ("optimizer",),
    ("schedule",),
    ("data", "source"),
    ("data", "name"),
    ("data", "train"),
    ("train", "max_steps"),
    ("train", "batch_size"),
    ("train", "batch_tokens"),
)
# Keys that say which other keys a group has.
CHOOSING = ("kind", "source")
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
            preset = read_preset(str(name))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        layers.insert(0, Layer(_preset_file(name), {"model": copy.deepcopy(preset)}, inside=1))
        values["model"] = _merge(preset, values["model"])
    config = _build_with(overrides, RunConfig, values, str(path), layers)
    changed = [Override.read(text).keys for text in overrides]
    if any(keys[: len(key)] == key[: len(keys)] for keys in changed for key in DECIDING) and ("expected",) not in changed:
        return config.model_copy(update={"expected": None})
    return config


def load_model_config(name_or_path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> ModelConfig:
    """Read a model's YAML by path, or by name from configs/models."""
    path = Path(name_or_path)
    values = _read_yaml(path) if path.suffix in (".yaml", ".yml") else read_preset(str(name_or_path))
    layers = [Layer(str(name_or_path), copy.deepcopy(values))]
    return _build_with(overrides, ModelConfig, values, str(name_or_path), layers)


def run_of(folder: Path) -> Path | None:
    """The folder of the run that a folder is, or is a checkpoint of; None for any other."""
    return next((place for place in (folder, *folder.absolute().parents[:2]) if (place / RUN).is_file()), None)


def read_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of ``key=value`` words."""
    values: dict[str, Any] = {}
    for override in overrides:
        Override.read(override).apply(values)
    return values


def read_preset(name: str) -> dict[str, Any]:
    path = FOLDER / "models" / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no preset {name!r} in configs/models{nearest(name, [p.stem for p in path.parent.glob('*.yaml')])}")
    return _read_yaml(path)


def build(kind: type[AnyConfig], values: dict[str, Any], source: str, layers: Sequence[Layer] = ()) -> AnyConfig:
    """Validate `values`; the first mistake becomes a line with the file or override, the key, and the nearest right one.

    layers: where the values come from, if not all from `source`; later ones replace what earlier ones say.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(kind, error, source, layers)) from None


@dataclass(frozen=True)
class Override:
    """One ``key=value``, read. keys: those that lead to what is set. preset: the model preset that it takes, if it takes one as it is."""

    text: str
    keys: tuple[str, ...]
    value: Any
    preset: str | None = None

    @classmethod
    def read(cls, text: str) -> Override:
        dotted, equals, value_text = text.partition("=")
        if not equals or not dotted:
            raise UserError(f"override {text!r} is not of the form key=value, such as train.max_steps=100")
        try:
            value = yaml.load(value_text, Loader=_Loader) if value_text else ""
        except yaml.YAMLError as error:
            raise UserError(f"override {text!r} is not readable as YAML: {' '.join(str(error).split())}") from None
        if dotted not in MODEL:
            return cls(text, tuple(dotted.split(".")), value)
        if dotted == "model" and isinstance(value, dict):
            name = value.pop("preset", None)
            return cls(text, ("model",), value if name is None else _merge(read_preset(str(name)), value))
        return cls(text, ("model",), read_preset(str(value)), str(value))

    def apply(self, values: dict[str, Any]) -> None:
        """Set the value in `values`, which may hold other values there."""
        *parents, last = self.keys
        for parent in parents:
            below = values.setdefault(parent, {})
            if isinstance(below, str) and parent in NAMED_BY_KIND:
                below = values[parent] = {"kind": below}
            if not isinstance(below, dict):
                dotted, _, value_text = self.text.partition("=")
                raise UserError(
                    f"override {self.text!r}: {parent!r} is {below!r}, which has no keys below it; "
                    f"where it is a group of settings, set it as a whole: {dotted.rpartition('.')[0]}={{{last}: {value_text}}}"
                )
            values = below
        # A group of another kind has other settings, but for schedules, which have theirs in common.
        if last in CHOOSING and values.get(last) != self.value and parents[-1:] != ["schedule"]:
            values.clear()
        values[last] = copy.deepcopy(self.value)

    def layer(self) -> Layer:
        """What it says, and where it stands."""
        says: dict[str, Any] = {}
        self.apply(says)
        if self.preset is not None:
            return Layer(_preset_file(self.preset), says, inside=1, sets=self.keys)
        return Layer(f"override {self.text!r}", says, sets=self.keys)


def _build_with(overrides: Sequence[str], kind: type[AnyConfig], values: dict[str, Any], source: str, layers: list[Layer]) -> AnyConfig:
    """`build`, with overrides on top of the values and of the layers that they come from."""
    for override in in_order([Override.read(text) for text in overrides]):
        override.apply(values)
        if override.keys == ("model",):
            # The whole model is replaced: what the others say of it no longer counts.
            for layer in layers:
                layer.values.pop("model", None)
        layers.append(override.layer())
    return build(kind, values, source, layers)


def in_order(overrides: Sequence[Override]) -> list[Override]:
    """The same, but that what chooses a group's kind comes before what is set in that group."""
    ordered: list[Override] = []
    for override in overrides:
        *group, last = override.keys
        inside = [
            place for place, other in enumerate(ordered) if list(other.keys[:-1])[: len(group)] == group and other.keys != override.keys
        ]
        ordered.insert(inside[0] if group and last in CHOOSING and inside else len(ordered), override)
    return ordered


def _preset_file(name: Any) -> str:
    return f"configs/models/{name}.yaml"


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
    """YAML 1.1 reads 1e-3 as text, 010 as 8, 1:30 as 90 and 2024-12-31 as a day; people mean a number first, and text then. A key that
    stands twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {line} has a mapping or a list in the place of a key")
            if key.value in lines:
                raise Twice(key.value, line, lines[key.value])
            lines[key.value] = line
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("int", "float", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][\d_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?((\d[\d_]*\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"),
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
