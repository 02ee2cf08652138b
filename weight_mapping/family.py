"""One Hugging Face family: a table of its config fields and its tensor names. Both directions read the same table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from configs import ModelConfig, UserError, build
from configs.positions import RotaryPositions
from weight_mapping.table import MISSING, Field, Part, Rule, get_value, set_value


@dataclass(frozen=True)
class Family:
    """A family of models in Hugging Face's files, as data.

    name: of the family, which is `ModelConfig.family`.
    model_type: its name in config.json.
    architectures: each of Hugging Face's classes, with the config fields that it implies (values, or functions of config.json). The first
        has all parts of the model.
    prefix: what stands before the base model's tensors in the files of the other classes; a base model saved alone lacks it.
    fields: keys of config.json, each with the config field that it sets.
    constants: config fields that are the same in the whole family.
    rules: the tensors of a file, each with the canonical tensors that are made of it.
    inside: model types of files that hold this model beside others, each with a function that takes its config.json out of theirs.
    parts: config fields that several keys of config.json decide together.
    required: keys of config.json that may have one value only (or a function of config.json), since other values are not built.
    other_names: keys of config.json that stand for others, under which Hugging Face sets them too (its `attribute_map`).
    ignored: tensors that files may hold and the model does not need; with a ``*`` at the end, all that begin so.
    old_architectures: former names of classes, with those of today.
    untied_by: the tensor that, where it is in a file, unties the head, whatever config.json says.
    pooled_by: the tensor that, where it is not in a file, leaves a base model without its pooler: config.json says nothing of that.
    revealing: values of config.json for the tests: sizes that are all different, and settings that show in the numbers.
    variants: named changes of these, which the tests take too.
    """

    name: str
    model_type: str
    architectures: Mapping[str, Mapping[str, Any]]
    prefix: str
    fields: tuple[Field, ...]
    constants: Mapping[str, Any]
    rules: tuple[Rule, ...]
    parts: tuple[Part, ...] = ()
    inside: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = field(default_factory=dict)
    required: Mapping[str, Any] = field(default_factory=dict)
    other_names: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    old_architectures: Mapping[str, str] = field(default_factory=dict)
    untied_by: str | None = None
    pooled_by: str | None = None
    revealing: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def headless(self) -> str | None:
        """Hugging Face's class of the model without a head."""
        return next((name for name, implied in self.architectures.items() if implied["head.kind"] == "none"), None)

    @property
    def generates(self) -> bool:
        """Whether it has a language model, which a generation_config.json is about."""
        return any(implied["head.kind"] == "language_model" for implied in self.architectures.values())

    def own(self, source: Mapping[str, Any]) -> Mapping[str, Any]:
        """The model's own config.json, out of one that is of several models."""
        read = self.inside.get(str(source.get("model_type")))
        return source if read is None else read(source)

    def read_config(
        self,
        source: Mapping[str, Any],
        where: str,
        names: Collection[str] | None = None,
        architecture: str | None = None,
        notes: list[str] | None = None,
    ) -> ModelConfig:
        """From config.json to a `ModelConfig`.

        names: the tensors in the file, if there is one. architecture: one of `architectures` in place of the one that config.json names.
        notes: a list to which a line is added for each key that is read otherwise than it stands there.
        """
        if quantization := source.get("quantization_config"):
            method = quantization.get("quant_method") if isinstance(quantization, Mapping) else quantization
            raise UserError(f"{where}: quantization_config is {method!r}; quantized weights are not built, save the model dequantized")
        source = self._renamed(self.own(source), where)
        if "is_causal" in source and not source["is_causal"] and self.constants["architecture"] != "encoder":
            raise UserError(f"{where}: is_causal is {source['is_causal']!r}; a decoder in which tokens see those after them is not built")
        for key, expected in self.required.items():
            expected = expected(source) if callable(expected) else expected
            if (found := source.get(key)) is not None and found != expected:
                raise UserError(f"{where}: {key} is {found!r}, and only {expected!r} is built for family '{self.name}'")
        values: dict[str, Any] = {"family": self.name}
        for target, value in self.constants.items():
            set_value(values, target, value)
        for entry in self.fields:
            with _readable(where, entry.source):
                set_value(values, entry.target, self._read_field(entry, source, where))
        for part in self.parts:
            with _readable(where, f"what says {part.target}"):
                set_value(values, part.target, part.read(source))
        implied = self._implied(self.class_of(source, where, architecture), source, self._has(self.pooled_by, names, default=True))
        for target, value in implied.items():
            set_value(values, target, value)
        if self._has(self.untied_by, names, default=False):
            set_value(values, "head.tied", False)
        if self._is_labelled(implied):
            values["head"] |= _read_labels(source)
        with _readable(where, "vocab_size"):
            self._leave_out_unknown_tokens(values, source, [] if notes is None else notes)
        return build(ModelConfig, values, where)

    def write_config(self, config: ModelConfig) -> dict[str, Any]:
        """From a `ModelConfig` to the content of config.json."""
        values = _filled(config)
        for target, expected in self.constants.items():
            # Hugging Face's files do not say how a model was initialized, and nothing depends on it.
            if not target.startswith("initialization.") and (found := get_value(values, target)) != expected:
                raise UserError(
                    f"family '{self.name}' has {target}={expected!r}, and this model has {found!r}; Hugging Face has no place for it"
                )
        source: dict[str, Any] = {"model_type": self.model_type}
        for entry in self.fields:
            set_value(source, entry.source, self._write_field(entry, get_value(values, entry.target)))
        for part in self.parts:
            source |= part.write(config)
        source["architectures"] = [self.architecture(config, source)]
        if self._is_labelled(self.architectures[source["architectures"][0]]):
            source |= _write_labels(config)
        self._check_nothing_is_lost(_comparable(config), source)
        return source

    def _check_nothing_is_lost(self, values: dict[str, Any], source: dict[str, Any]) -> None:
        """What Hugging Face would compute from `source` is what our config says; training settings may be lost."""
        tensors = {self.untied_by: not values["head"]["tied"], self.pooled_by: values["pooler"] is not None}
        names = [name for name, is_there in tensors.items() if name and is_there]
        read = _comparable(self.read_config(source, "config.json", names))
        for part in values:
            if part in ("initialization", "dropout", "special_tokens"):
                continue
            ours, theirs = values[part], read[part]
            for key in ours if isinstance(ours, dict) and isinstance(theirs, dict) else (None,):
                found, back = (ours, theirs) if key is None else (ours[key], theirs.get(key))
                if found != back:
                    name = part if key is None else f"{part}.{key}"
                    raise UserError(f"family '{self.name}' has no place for {name}={found!r}: Hugging Face would take {back!r}")

    def architecture(self, config: ModelConfig, source: Mapping[str, Any] | None = None) -> str:
        """Hugging Face's class for a config; source: its config.json."""
        values = config.model_dump()
        for name in self.architectures:
            implied = self._implied(name, source or {}, has_pooler=config.pooler is not None)
            # Rates of dropout are settings of a training.
            if all(_matches(get_value(values, target), value) for target, value in implied.items() if not target.startswith("dropout.")):
                return name
        raise UserError(
            f"family '{self.name}' has no model with head.kind='{config.head.kind}' and this pooler; "
            f"it has: {', '.join(self.architectures)}"
        )

    def _implied(self, architecture: str, source: Mapping[str, Any], has_pooler: bool) -> dict[str, Any]:
        implied = self.architectures[architecture]
        values = {target: value(source) if callable(value) else value for target, value in implied.items()}
        is_without = self.pooled_by and not has_pooler and values["head.kind"] == "none"
        return {**values, "pooler": None} if is_without else values

    def _has(self, tensor: str | None, names: Collection[str] | None, default: bool) -> bool:
        """Whether a tensor is in the file, with or without the prefix; default where nothing is known of a file."""
        if tensor is None or names is None:
            return default
        return tensor in names or tensor.removeprefix(self.prefix) in names

    def _is_labelled(self, implied: Mapping[str, Any]) -> bool:
        """Whether config.json names the classes: where it does not, the architecture implies their number."""
        return "classification" in implied["head.kind"] and "head.num_labels" not in implied

    def _leave_out_unknown_tokens(self, values: dict[str, Any], source: Mapping[str, Any], notes: list[str]) -> None:
        """Special tokens outside the vocabulary are none: Hugging Face's defaults stay in config.json where the vocabulary is another."""
        tokens, count = values.get("special_tokens", {}), values.get("vocab_size", 0)
        keys = {entry.target: entry.source for entry in self.fields}
        for name, found in tokens.items():
            ids = found if isinstance(found, tuple) else () if found is None else (found,)
            unknown = [token for token in ids if not 0 <= token < count]
            if not unknown:
                continue
            tokens[name] = tuple(token for token in ids if token not in unknown) if isinstance(found, tuple) else None
            if source.get(key := keys[f"special_tokens.{name}"]) is not None:
                notes.append(f"{key} {unknown[0]} is outside the vocabulary of {count}, and left out")

    def class_of(self, source: Mapping[str, Any], where: str, wanted: str | None = None) -> str:
        """Hugging Face's class for a config.json: the one that is wanted, else the one it names, else the first of the family."""
        name = wanted or (source.get("architectures") or [next(iter(self.architectures))])[0]
        name = self.old_architectures.get(name, name)
        if name not in self.architectures:
            raise UserError(
                f"{where}: architecture {name!r} is not built; family '{self.name}' has: {', '.join(self.architectures)}; "
                f"--architecture NAME, or load(..., architecture=NAME) in Python, reads the file as one of them"
            )
        return name

    def _renamed(self, source: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """The same with each key under its first name. Hugging Face believes the other one; two that contradict each other are refused."""
        names = {name: first for name, first in self.other_names.items() if source.get(name) is not None}
        for name, first in names.items():
            if (found := source.get(first)) is not None and found != source[name]:
                raise UserError(
                    f"{where}: {name} is {source[name]!r} and {first} is {found!r}, and both name one setting; leave one of them out"
                )
        return {**source, **{first: source[name] for name, first in names.items()}}

    def _read_field(self, entry: Field, source: Mapping[str, Any], where: str) -> Any:
        value = next((v for key in (entry.source, *entry.old) if (v := get_value(source, key)) is not None), None)
        if value is None:
            if entry.default is MISSING:
                raise UserError(f"{where}: key {entry.source!r} is missing; family '{self.name}' needs it")
            value = entry.default(source) if callable(entry.default) else entry.default
        if entry.values is not None:
            if value not in entry.values:
                raise UserError(f"{where}: {entry.source} is {value!r}, which is not built; built: {', '.join(map(str, entry.values))}")
            return entry.values[value]
        return entry.read(value) if entry.read and value is not None else value

    def _write_field(self, entry: Field, value: Any) -> Any:
        if entry.values is not None:
            # The family's own spelling where it means the same, else the first that does.
            default = None if callable(entry.default) or entry.default is MISSING else entry.default
            spellings = [ours for ours, theirs in entry.values.items() if theirs == value]
            if not spellings:
                raise UserError(f"family '{self.name}' has no place for {entry.target}={value!r} in its {entry.source}")
            return default if default in spellings else spellings[0]
        return entry.write(value) if entry.write else value


@contextmanager
def _readable(where: str, key: str) -> Iterator[None]:
    """A value of a type that nobody expects there is the file's mistake."""
    try:
        yield
    except (TypeError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"{where}: {key} has a value that makes no sense there ({error}); compare it with the original file") from error


def _filled(config: ModelConfig) -> dict[str, Any]:
    """The config with its defaults spelled out, so that two that mean the same are equal."""
    values = config.model_dump()
    values["attention"] |= {
        "num_key_value_heads": config.num_key_value_heads,
        "head_size": config.head_size,
        "scale": config.attention_scale,
    }
    values["embedding"]["width"] = config.embedding.width or config.width
    values["num_decoder_layers"] = config.layers_of("decoder")
    return values


def _comparable(config: ModelConfig) -> dict[str, Any]:
    """`_filled`, and windows and their bases layer by layer."""
    values = _filled(config)
    windows = [config.window_of(layer) for layer in range(config.num_layers)]
    values["attention"]["window_layers"] = "".join("f" if window is None else "w" for window in windows)
    if not any(windows):
        values["attention"]["window"] = None
    if isinstance(config.positions, RotaryPositions) and config.positions.scaling is None:
        values["positions"]["window_base"] = config.positions.window_base or config.positions.base
    return values


def _matches(found: Any, implied: Any) -> bool:
    """A mapping that is implied may leave out defaults."""
    if isinstance(found, Mapping) and isinstance(implied, Mapping):
        return all(_matches(found.get(key), value) for key, value in implied.items())
    return found == implied


def _read_labels(source: Mapping[str, Any]) -> dict[str, Any]:
    """Hugging Face keeps the number of classes as their names, LABEL_0 and LABEL_1 unless it is told."""
    names = source.get("id2label") or {str(label): f"LABEL_{label}" for label in range(source.get("num_labels") or 2)}
    if odd := [key for key in names if not str(key).isdigit()]:
        raise UserError(f"config.json: id2label has the key {odd[0]!r}; expected the classes' numbers")
    labels = tuple(f"LABEL_{key}" if names[key] is None else str(names[key]) for key in sorted(names, key=int))
    is_named = labels != tuple(f"LABEL_{label}" for label in range(len(labels)))
    return {"num_labels": len(labels), "labels": labels if is_named else (), "problem_type": source.get("problem_type")}


def _write_labels(config: ModelConfig) -> dict[str, Any]:
    labels = config.head.labels or tuple(f"LABEL_{label}" for label in range(config.head.num_classes))
    return {
        "id2label": {str(label): name for label, name in enumerate(labels)},
        "label2id": {name: label for label, name in enumerate(labels)},
    } | ({"problem_type": config.head.problem_type} if config.head.problem_type else {})
