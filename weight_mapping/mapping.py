"""From a family's templates and a config to a finite list of pairs, and the arrays through them in either direction.

Every tensor on either side is used exactly once, or is named as ignored, as tied, as zeros where a file lacks it, or as of a head that is
not built. Anything else is an error that names the tensor, its shapes, and the nearest candidate.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from configs import ModelConfig, UserError
from weight_mapping.families import get_family
from weight_mapping.family import Family
from weight_mapping.names import Tensor, canonical_tensors, tied_tensors
from weight_mapping.operations import Operation, Shape
from weight_mapping.table import Rule

# The numbers that a template is filled with: of the layer, and of the expert.
Place = Mapping[str, int]


@dataclass(frozen=True)
class Pair:
    """One tensor of the file and the canonical tensors that are made of it, for one layer of one config.

    is_zero: whether the file lacks it and means zeros.
    """

    source: str
    source_shape: Shape
    targets: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    is_zero: bool = False

    def forward(self, array: np.ndarray) -> list[np.ndarray]:
        arrays = [array]
        for operation in self.operations:
            arrays = operation.forward(arrays, [target.shape for target in self.targets])
        return arrays

    def inverse(self, arrays: list[np.ndarray]) -> np.ndarray:
        for operation in reversed(self.operations):
            arrays = operation.inverse(arrays)
        return arrays[0]


def pairs(config: ModelConfig, present: set[str] | None = None) -> list[Pair]:
    """The whole map of a config. With the names `present` in a file, sources take the file's spelling (no prefix, old names)."""
    family = get_family(config.family)
    tensors = {tensor.name: tensor for tensor in canonical_tensors(config)}
    found: list[Pair] = []
    for rule, place in _expanded(family.rules, config):
        if not rule.counts(config):
            continue
        targets = tuple(tensors.pop(name.format(**place), None) for name in rule.targets)
        known = tuple(target for target in targets if target is not None)
        if not known:
            continue
        if len(known) != len(targets):
            raise UserError(f"family '{family.name}': {rule.source} makes {', '.join(rule.targets)}, and this config has only some of them")
        shapes: list[Shape] = [target.shape for target in known]
        operations = tuple(operation.of(config) for operation in rule.operations)
        for operation in reversed(operations):
            shapes = operation.inverse_shapes(shapes)
        source = _owner(rule, place, family, config, present)
        is_zero = rule.zeros and present is not None and source not in present
        found.append(Pair(source, shapes[0], known, operations, is_zero))
    if tensors:
        raise UserError(
            f"family '{family.name}' has no name for {next(iter(tensors))}; Hugging Face has no place for it, or the table lacks a line"
        )
    return found


def checked_pairs(
    config: ModelConfig,
    names: list[str],
    shape: Callable[[str], Shape],
    read: Callable[[str], np.ndarray],
    where: str,
    notes: list[str] | None = None,
) -> list[Pair]:
    """The map of a file, once every name and shape in it is checked, and every tied tensor equal to its owner.

    notes: a list to which a line is added for tensors that are left out.
    """
    family = get_family(config.family)
    found = pairs(config, set(names))
    tied = _tied_sources(family, config, set(names))
    expected = {pair.source: pair.source_shape for pair in found if not pair.is_zero}
    ignored = _ignored(family, config, names) | _other_heads(family, found)
    leftover = _leftover(names, expected, ignored, tied)
    if unknown := _unknown_heads(family, config, found, leftover):
        ignored |= set(unknown)
        if notes is not None:
            notes.append(f"{unknown[0]}{_more(unknown)} is of a head that is not built, and left out")
    missing = {pair.source for pair in found if pair.source in expected} - set(names)
    heads = {pair.source for pair in found if pair.source in expected and pair.targets[0].name.startswith(("head.", "pooler."))}
    has_none = bool(missing) and missing == heads and not leftover and family.headless is not None
    hint = f"; the file has no such head, and architecture={family.headless} reads it without" if has_none else ""
    check_names(expected, names, shape, where, ignored, tied, hint)
    source_of = {pair.targets[0].name: pair.source for pair in found}
    for alias, owner in tied.items():
        if alias in names and not np.array_equal(read(alias), read(source_of[owner])):
            raise UserError(
                f"{where}: {alias} differs from {source_of[owner]}, to which config.json ties it; "
                f"set tie_word_embeddings to false to keep both"
            )
    return found


def from_canonical(config: ModelConfig, read: Callable[[str], np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """A model's tensors under Hugging Face's names, one by one."""
    for pair in pairs(config):
        yield pair.source, pair.inverse([read(target.name) for target in pair.targets])


def check_names(
    expected: Mapping[str, Shape],
    names: list[str],
    shape: Callable[[str], Shape],
    where: str,
    ignored: Collection[str] = (),
    tied: Collection[str] = (),
    hint: str = "",
) -> None:
    """Every expected tensor is there with its shape, and nothing else is. hint: what to do where one is missing, default the nearest."""
    present = set(names)
    missing = [name for name in expected if name not in present]
    leftover = _leftover(names, expected, ignored, tied)
    if missing:
        name = missing[0]
        hint = hint or _nearest(name, leftover)
        raise UserError(f"{where}: tensor {name!r} of shape {list(expected[name])} is missing{_more(missing)}{hint}")
    if leftover:
        name = leftover[0]
        hint = _nearest(name, expected)
        raise UserError(f"{where}: tensor {name!r} of shape {list(shape(name))} has no place in this model{_more(leftover)}{hint}")
    for name, wanted in expected.items():
        if tuple(shape(name)) != tuple(wanted):
            raise UserError(f"{where}: tensor {name!r} has shape {list(shape(name))}, and the config asks for {list(wanted)}")


def _leftover(names: list[str], *known: Iterable[str]) -> list[str]:
    """The names that are in none of the others."""
    placed = set().union(*known)
    return [name for name in names if name not in placed]


def _nearest(name: str, candidates: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(candidates), n=1)
    return f"; the nearest is {close[0]!r}" if close else ""


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _expanded(rules: tuple[Rule, ...], config: ModelConfig) -> Iterator[tuple[Rule, Place]]:
    experts = config.feed_forward.experts
    for rule in rules:
        stack = rule.targets[0].partition(".")[0]
        for layer in range(config.layers_of(stack)) if "{layer}" in rule.source else (0,):
            for expert in range(experts.count) if experts and "{expert}" in rule.source else (0,):
                yield rule, {"layer": layer, "expert": expert}


def _spelling(rule: Rule, place: Place, family: Family, config: ModelConfig, present: set[str] | None) -> str:
    spellings = _spellings(rule, place, family)
    if present is None:
        # A base model saved alone has no prefix.
        return spellings[0].removeprefix(family.prefix) if config.head.kind == "none" else spellings[0]
    return next((name for name in spellings if name in present), spellings[0])


def _owner(rule: Rule, place: Place, family: Family, config: ModelConfig, present: set[str] | None) -> str:
    """The file's name of a tensor, or, where the file lacks it, of one that is tied to it."""
    name = _spelling(rule, place, family, config, present)
    if present is None or name in present or len(rule.targets) > 1:
        return name
    ties, target = tied_tensors(config), rule.targets[0].format(**place)
    tied = [other for other in family.rules if ties.get(other.targets[0]) == target and len(other.targets) == 1 and other.counts(config)]
    aliases = [_spelling(other, {}, family, config, present) for other in tied]
    return next((alias for alias in aliases if alias in present), name)


def _spellings(rule: Rule, place: Place, family: Family) -> list[str]:
    """Every name that a tensor has had in files."""
    names = [name.format(**place) for name in (rule.source, *rule.old)]
    return list(dict.fromkeys(names + [name.removeprefix(family.prefix) for name in names]))


def _ignored(family: Family, config: ModelConfig, present: list[str]) -> set[str]:
    layers = range(max(config.layers_of(stack) for stack in config.stacks))
    names = {name.format(layer=layer) for name in family.ignored for layer in layers}
    beginnings = tuple(name.removesuffix("*") for name in names if name.endswith("*"))
    return names | {name.removeprefix(family.prefix) for name in names} | {name for name in present if name.startswith(beginnings)}


def _other_heads(family: Family, found: list[Pair]) -> set[str]:
    """What a file may hold for another head than this config's: bert-base-uncased has two heads and a pooler."""
    rules = [rule for rule in family.rules if rule.targets[0].startswith(("head.", "pooler."))]
    used = {pair.source for pair in found}
    return {name for rule in rules for name in _spellings(rule, {}, family)} - used


def _unknown_heads(family: Family, config: ModelConfig, found: list[Pair], leftover: list[str]) -> list[str]:
    """Tensors of heads that are not built, such as bert's `qa_outputs`, where the model is to have none: they stand beside the base model,
    which has its prefix there, and lack it."""
    is_base = config.head.kind == "none" and bool(family.prefix) and all(pair.source.startswith(family.prefix) for pair in found)
    return [name for name in leftover if is_base and not name.startswith(family.prefix)]


def _tied_sources(family: Family, config: ModelConfig, present: set[str]) -> dict[str, str]:
    """File names of tied tensors, and further names of one tensor, with the canonical name of their owner."""
    ties, aliases = tied_tensors(config), {}
    for rule, place in _expanded(family.rules, config):
        if len(rule.targets) > 1 or not rule.counts(config):
            continue
        target = rule.targets[0].format(**place)
        spelling = _spelling(rule, place, family, config, present)
        if target in ties:
            aliases[spelling] = ties[target]
        for name in set(_spellings(rule, place, family)) & present - {spelling}:
            aliases[name] = ties.get(target, target)
    return aliases
