"""What has happened to the tensors of one checkpoint, seen beside those of another: transposed, swapped, zeroed, rounded, ..."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parity.alterations import ROUNDED, count_of, equal, likeness, plural, relative_difference, rounded, sketch, what_happened, wide

Read = Callable[[str], np.ndarray]
SWAPPED = "swapped"


@dataclass(frozen=True)
class Finding:
    """Something that happened to one tensor or to several alike. relative: the largest difference over the largest expected value."""

    names: tuple[str, ...]
    what: str
    relative: float

    def __str__(self) -> str:
        if self.what == SWAPPED:
            return f"{self.names[0]}: swapped with {self.names[1]}"
        names = ", ".join(self.names) if len(self.names) <= 2 else f"{len(self.names)} tensors, {self.names[0]} to {self.names[-1]}"
        return f"{names}: {self.what}"


class Tensors:
    """A checkpoint's tensors by canonical name. shapes: of all of them, in order; ties: names that stand for another tensor."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], read: Read, ties: Mapping[str, str] | None = None) -> None:
        self.shapes = dict(shapes)
        self.ties = dict(ties or {})
        self._read = read

    def __contains__(self, name: str) -> bool:
        return name in self.shapes or name in self.ties

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def read(self, name: str) -> np.ndarray:
        return self._read(self.ties.get(name, name))

    @cached_property
    def _by_sketch(self) -> dict[tuple[tuple[int, ...], bytes], list[str]]:
        found = defaultdict(list)
        for name, shape in self.shapes.items():
            found[shape, sketch(self.read(name))].append(name)
        return found

    def holding(self, array: np.ndarray) -> str | None:
        """The name of the tensor that holds these numbers."""
        for name in self._by_sketch.get((array.shape, sketch(array)), []):
            if equal(array, self.read(name)) or any(equal(array, rounded(self.read(name), dtype)) for dtype in ROUNDED):
                return name
        return None


def findings(found: Tensors, expected: Tensors, head_size: int | None = None) -> list[Finding]:
    """What differs between two checkpoints, tensor by tensor, the same thing in many tensors told once.

    head_size: of queries and keys that are turned by rotary positions, to know the two orders of their rows apart.
    """
    single: list[Finding] = []
    moved: dict[str, tuple[str, float]] = {}
    for name in dict.fromkeys([*expected, *found]):
        if name not in found or name not in expected:
            single.append(Finding((name,), "missing here" if name not in found else "only here", float("inf")))
            continue
        here, there = wide(found.read(name)), wide(expected.read(name))
        if equal(here, there):
            continue
        far = relative_difference(here, there)
        what = what_happened(here, there, head_size if name.endswith(("query.weight", "key.weight")) else None)
        if what is None and np.any(there) and (other := expected.holding(here)):
            moved[name] = (other, far)
            continue
        single.append(Finding((name,), what or likeness(here, there), far))
    return merged([*swaps(moved), *single], list(dict.fromkeys([*expected, *found])))


def swaps(moved: Mapping[str, tuple[str, float]]) -> list[Finding]:
    """Tensors that hold what another one should: exchanged in pairs, layers exchanged whole, or copied."""
    found, layers = [], defaultdict(list)
    for name, (other, far) in moved.items():
        is_pair = moved.get(other, ("", 0.0))[0] == name
        if not is_pair:
            found.append(Finding((name,), f"holds what {other} should hold", far))
        elif name < other and (where := _layers_apart(name, other)):
            layers[where].append((name, other, far))
        elif name < other:
            found.append(Finding((name, other), SWAPPED, max(far, moved[other][1])))
    for (first, second), pairs in layers.items():
        names = tuple(name for one, other, _ in pairs for name in (one, other))
        far = max(far for _, _, far in pairs)
        if len(pairs) == 1:
            found.append(Finding(names, SWAPPED, far))
        else:
            kind = first.split(".")[-2]
            found.append(Finding(names, f"{kind} swapped: {plural(len(pairs), 'tensor')} of {first} with those of {second}", far))
    return found


def _layers_apart(name: str, other: str) -> tuple[str, str] | None:
    """The two layers, where the names differ in nothing else."""
    parts = list(zip(name.split("."), other.split("."), strict=False))
    apart = [index for index, (one, two) in enumerate(parts) if one != two]
    if name.count(".") != other.count(".") or len(apart) != 1 or not all(part.isdigit() for part in parts[apart[0]]):
        return None
    first, second = (".".join(part[side] for part in parts[: apart[0] + 1]) for side in (0, 1))
    return first, second


def merged(found: list[Finding], order: list[str]) -> list[Finding]:
    """The same thing in several tensors is one finding; in the order in which data flows."""
    place = {name: index for index, name in enumerate(order)}
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        groups[f"{finding.what} {finding.names}" if finding.what == SWAPPED else finding.what].append(finding)
    together = [
        Finding(tuple(name for finding in group for name in finding.names), group[0].what, max(finding.relative for finding in group))
        for group in groups.values()
    ]
    return sorted(together, key=lambda finding: place[finding.names[0]])


def oddities(tensors: Tensors, is_weight: Callable[[str], bool]) -> list[Finding]:
    """What looks damaged with nothing beside it: values that are not finite, and weights whose elements are all the same."""
    found = []
    for name in tensors:
        array = wide(tensors.read(name))
        if bad := int((~np.isfinite(array)).sum()):
            found.append(Finding((name,), f"{count_of(bad, array)} NaN or infinite", float("inf")))
        elif is_weight(name) and array.size > 1 and np.all(array == array.flat[0]):
            found.append(Finding((name,), f"every element is {array.flat[0]:.6g}", float("inf")))
    return merged(found, list(tensors))
