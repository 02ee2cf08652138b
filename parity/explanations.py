"""Causes, looked for where a comparison parts. Always in float64, where nothing hides behind rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parity import tolerances
from parity.causes import Base, Suspect, agreement, explain, from_differences
from parity.compare import Answer, Comparison, ask
from parity.findings import Finding
from parity.implementation import Inputs
from parity.sources import Source, missing, step
from parity.suspects import usual_suspects

ORDER = ("PyTorch", "Hugging Face", "TensorFlow")


@dataclass(frozen=True)
class Explanation:
    """What was found. changes: the cause in words, none where there is none. is_whole: they explain all of it. agrees: the implementation
    that agrees in float64."""

    sentence: str
    changes: list[str] = field(default_factory=list)
    is_whole: bool = False
    agrees: str | None = None


def explanations_of(
    comparison: Comparison,
    source: Source,
    home: Source,
    inputs: Inputs,
    findings: list[Finding],
    differences: Mapping[str, tuple[Any, Any]],
) -> list[Explanation]:
    """One for each implementation that parts. home: where the reference comes from; `source` itself if there is no other."""
    parted = sorted((column for column in comparison.columns if column.first), key=lambda column: ORDER.index(column.name))
    if not parted or missing("PyTorch"):
        return []
    base, limits = Base(home.config, home.tensors, inputs), dict.fromkeys(comparison.places, tolerances.FLOAT64)
    with step("looking for causes, in float64"):
        reached = agreement(base.ask(), comparison.reference, limits, inputs)
        if reached < len(limits):
            # PyTorch itself is wrong, and nothing can be told with its help but what would mend it.
            suspects = usual_suspects(home.config, home.tensors, inputs, comparison.places, comparison.places[reached])
            return [_search(base, comparison.reference, limits, suspects, ("PyTorch would agree with the reference with ", ""))]
        found: dict[str, Explanation] = {}
        for column in parted:
            assert column.first
            # Two that read the same damaged file part in the same place for the same reason.
            if column.first not in found or home is source:
                target = ask(source.load(column.name, "float64"), inputs)
                found[f"{column.first} {column.name}" if home is source else column.first] = _explain(
                    column.name, base, target, limits, from_differences(differences, findings, source.tensors), source, home
                )
    return list(found.values())


def _explain(
    who: str, base: Base, target: Answer, limits: Mapping[str, float], known: list[Suspect], source: Source, home: Source
) -> Explanation:
    reached = agreement(base.ask(), target, limits, base.inputs)
    if reached == len(limits):
        return Explanation(f"{who} agrees in float64: what parts is the rounding of its float32, not a formula or a weight", agrees=who)
    usual = usual_suspects(base.config, base.tensors, base.inputs, list(limits), list(limits)[reached])
    if home is source:
        return _search(base, target, limits, usual, (f"{who} computes as it would with ", ""))
    explanation = _search(base, target, limits, known, (f"{home.name} with ", f" gives the numbers of {source.name}"))
    return explanation if explanation.changes else _search(base, target, limits, usual, (f"{who} computes as {home.name} would with ", ""))


def _search(base: Base, target: Answer, limits: Mapping[str, float], suspects: list[Suspect], sentence: tuple[str, str]) -> Explanation:
    """sentence: what stands before and behind the changes."""
    kept, whole = explain(base, target, limits, suspects)
    changes = [line for suspect in kept for line in suspect.what.splitlines()]
    if not changes:
        return Explanation(f"no cause found: none of {len(suspects)} suspects, alone, brings agreement any further")
    this = "this one change" if len(changes) == 1 else "these changes together"
    places = list(limits)
    until = "" if whole else f" up to {places[agreement(base.ask(kept), target, limits, base.inputs)]}, and not from there on"
    return Explanation(f"likely cause: {this.join(sentence)}{until or f', in all {len(places)} places'}", changes, whole)
