"""Why two answers part: a PyTorch model is changed in one thing at a time, until it gives the numbers that were found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import transformer_torch
from configs import ModelConfig, UserError
from parity.compare import Answer, ask, valid
from parity.differences import relative
from parity.fields import changed, changes_of
from parity.findings import Finding, Tensors
from parity.implementation import Inputs
from parity.pytorch import PyTorch
from weight_mapping import canonical_tensors

MOST_CAUSES = 4


@dataclass(frozen=True)
class Suspect:
    """One change: config fields by dotted name, tensors by canonical name, inputs that are left out, or a hand laid on the model."""

    what: str
    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    model: Callable[[transformer_torch.Transformer], None] | None = None


@dataclass(frozen=True)
class Base:
    """The model that is changed, and what it is asked."""

    config: ModelConfig
    tensors: Tensors
    inputs: Inputs

    def ask(self, suspects: Iterable[Suspect] = (), until: str | None = None) -> Answer:
        """The answer in float64 with all `suspects` in force. until: layers after this place are left out, where that can be.

        Raises UserError where the suspects do not fit the model.
        """
        suspects = list(suspects)
        config = changed(self.config, {dotted: value for suspect in suspects for dotted, value in suspect.config.items()})
        if until is not None:
            config = changed(config, _shallow(config, until))
        replaced = {name: read for suspect in suspects for name, read in suspect.tensors.items()}
        left_out = {name for suspect in suspects for name in suspect.without}
        shapes = {tensor.name: tensor.shape for tensor in canonical_tensors(config)}
        for name, shape in shapes.items():
            if name not in replaced and self.tensors.shapes.get(name) != shape:
                raise UserError(f"{name} would have shape {list(shape)}, and has {self.tensors.shapes.get(name)}")
        model = transformer_torch.Transformer(config, seed=None).double()
        transformer_torch.weights.assign(
            model, ((name, replaced[name]() if name in replaced else self.tensors.read(name)) for name in shapes)
        )
        for suspect in suspects:
            if suspect.model:
                suspect.model(model)
        return ask(PyTorch(model.eval()), {name: array for name, array in self.inputs.items() if name not in left_out})


def _shallow(config: ModelConfig, until: str) -> dict[str, int]:
    """The fewest layers that reach a place. One more than that: the final norm would follow the last."""
    steps = until.split(".")
    stack, last = steps[0], steps[-1]
    if stack not in config.stacks:
        return {}
    needed = min(config.layers_of(stack), int(last) + 2 if last.isdigit() else 1)
    if config.architecture != "encoder_decoder":
        return {"num_layers": needed}
    if stack == "encoder":
        return {"num_layers": needed, "num_decoder_layers": 1}
    return {"num_decoder_layers": needed}


def explain(base: Base, target: Answer, limits: Mapping[str, float], suspects: Iterable[Suspect]) -> tuple[list[Suspect], bool]:
    """The suspects that make the base give the target's numbers, and whether they explain all of it.

    One that suffices is enough; else the one that brings the agreement furthest is kept, and the next is looked for beside it.
    """
    places = list(limits)
    kept: list[Suspect] = []
    reached = agreement(base.ask(), target, limits, base.inputs)
    suspects = list(suspects)
    while reached < len(places) and len(kept) < MOST_CAUSES:
        best, furthest = None, reached
        for suspect in suspects:
            now = _reached(base, [*kept, suspect], target, limits, places[reached])
            if now > furthest:
                best, furthest = suspect, now
            if now == len(places):
                break
        if best is None:
            break
        kept.append(best)
        reached = furthest
    return kept, reached == len(places)


def _reached(base: Base, suspects: list[Suspect], target: Answer, limits: Mapping[str, float], place: str) -> int:
    """In how many places the base agrees with these suspects; whether it is more than up to `place` is seen first, for less."""
    until = dict(list(limits.items())[: list(limits).index(place) + 1])
    try:
        if agreement(base.ask(suspects, place), target, until, base.inputs) < len(until):
            return 0
        return agreement(base.ask(suspects), target, limits, base.inputs)
    except (UserError, RuntimeError):
        # Other sizes than the weights have, or what is not built.
        return 0


def agreement(answer: Answer, target: Answer, limits: Mapping[str, float], inputs: Inputs) -> int:
    """In how many places, from the first on, an answer agrees with the target."""
    for count, (place, limit) in enumerate(limits.items()):
        found, expected = valid(place, answer.activations.get(place, np.empty(0)), target.activations[place], inputs)
        if found.shape != expected.shape or not near(found, expected, limit):
            return count
    return len(limits)


def near(found: np.ndarray, expected: np.ndarray, limit: float) -> bool:
    """Within the limit, and not finite in the same places."""
    finite = np.isfinite(expected)
    return np.array_equal(np.isfinite(found), finite) and relative(found[finite], expected[finite]) <= limit


def from_differences(differences: Mapping[str, tuple[Any, Any]], findings: Iterable[Finding], found: Tensors) -> list[Suspect]:
    """Each difference between two checkpoints as a suspect: alone, then those of a kind together, then all."""
    fields = [Suspect(what, change) for what, change in changes_of(differences)]
    tensors = [Suspect(str(finding), tensors=readers(found, finding.names)) for finding in findings]
    suspects = [*fields, *tensors]
    if len(fields) > 1:
        suspects.append(together(fields))
    if len(tensors) > 1:
        suspects.append(together(tensors))
    if fields and tensors:
        suspects.append(together([*fields, *tensors]))
    return suspects


def readers(tensors: Tensors, names: Iterable[str]) -> dict[str, Callable[[], np.ndarray]]:
    return {name: lambda name=name: tensors.read(name) for name in names if name in tensors}  # type: ignore[misc]


def together(suspects: list[Suspect]) -> Suspect:
    return Suspect(
        "\n".join(suspect.what for suspect in suspects),
        {dotted: value for suspect in suspects for dotted, value in suspect.config.items()},
        {name: read for suspect in suspects for name, read in suspect.tensors.items()},
    )
