"""The same inputs through several implementations, compared layer by layer and, if asked, gradient by gradient.

A place is a layer's name, such as ``decoder.layers.3``, or ``output`` for what comes out at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from parity import tolerances
from parity.differences import relative
from parity.implementation import Implementation, Inputs
from parity.verdict import Distance, distance, rounding_limits

OUTPUT = "output"


@dataclass(frozen=True)
class Answer:
    """What an implementation made of the inputs: activations by place, and gradients by canonical name where they were asked for."""

    name: str
    activations: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        return str(next(iter(self.activations.values())).dtype)


@dataclass(frozen=True)
class Column:
    """One implementation against the reference. gradients: by place, each the worst of the place's tensors, which `worst` names."""

    name: str
    distances: dict[str, Distance]
    gradients: dict[str, Distance]
    worst: dict[str, str]
    answer: Answer

    @property
    def first(self) -> str | None:
        """The first place in the order of computation where it parts from the reference."""
        return next((place for place, found in self.distances.items() if not found.agrees), None)

    @property
    def first_gradient(self) -> str | None:
        """The place nearest to the loss, where the gradients come from, whose gradients part."""
        return next((place for place in reversed(self.gradients) if not self.gradients[place].agrees), None)

    @property
    def agrees(self) -> bool:
        return self.first is None and self.first_gradient is None

    @property
    def excess(self) -> float:
        """How often the limit the furthest place is away; infinity where a number is none."""
        shares = [found.relative / found.limit if found.limit else float("inf") for found in self.distances.values() if found.relative]
        return max(shares, default=0.0) if all(map(math.isfinite, shares)) else float("inf")


@dataclass(frozen=True)
class Comparison:
    """The reference, its own float32 where the candidates compute in float32 (`rounding`), and the candidates."""

    reference: Answer
    rounding: Column | None
    columns: list[Column]
    dtype: str

    @property
    def places(self) -> list[str]:
        return list(self.reference.activations)

    @property
    def not_finite(self) -> str | None:
        """The first place where the reference itself holds NaN or infinity."""
        return next((place for place, array in self.reference.activations.items() if not np.isfinite(array).all()), None)

    @property
    def agrees(self) -> bool:
        return self.not_finite is None and all(column.agrees for column in self.columns)


def compare(
    reference: Implementation,
    candidates: Iterable[Implementation],
    inputs: Inputs,
    labels: np.ndarray | None = None,
    rounding: Iterable[Answer] = (),
) -> Comparison:
    """Hold `candidates` against the `reference`, which computes in float64.

    rounding: for candidates in float32, the reference's own answers in float32 (`parity.rounding`): a candidate may be twice as far
    from the reference as they are. Without them candidates are in float64 and must agree to `tolerances.FLOAT64`. labels: gradients
    are compared too, of the loss against these.
    Candidates are taken one at a time, so a generator that loads them holds one at a time.
    """
    return judge(ask(reference, inputs, labels), rounding, (ask(candidate, inputs, labels) for candidate in candidates), inputs)


def judge(truth: Answer, rounding: Iterable[Answer], answers: Iterable[Answer], inputs: Inputs) -> Comparison:
    """`compare`, of answers that are there."""
    own = [column(answer, truth, inputs, []) for answer in rounding]
    columns = [column(answer, truth, inputs, own) for answer in answers]
    return Comparison(Answer(truth.name, truth.activations), own[0] if own else None, columns, "float32" if own else "float64")


def ask(implementation: Implementation, inputs: Inputs, labels: np.ndarray | None = None) -> Answer:
    """Run an implementation on the inputs."""
    activations = dict(implementation.hidden_states(inputs))
    output = implementation.logits(inputs)
    last = list(activations.values())[-1]
    if output.shape != last.shape or not np.array_equal(output, last, equal_nan=True):
        activations[OUTPUT] = output
    gradients = implementation.gradients(inputs, labels) if labels is not None else {}
    return Answer(implementation.name, activations, gradients)


def column(answer: Answer, truth: Answer, inputs: Inputs, own: list[Column]) -> Column:
    """Measure an answer. own: those of the reference in float32; without them an answer in float32 is the measure itself."""
    places = list(truth.activations)
    names_of = by_place(truth.gradients, places)
    distances, gradients, worst = {}, {}, {}
    forwards: list[Mapping[str, Distance]] = [measured.distances for measured in own]
    limits = _limits(answer, forwards, places, tolerances.FLOAT64)
    for place in places:
        found = answer.activations.get(place, np.empty(0))
        distances[place] = distance(*valid(place, found, truth.activations[place], inputs), limits[place], answer.dtype)
    # Gradients begin at the end, with the rounding that the output has, and carry theirs to the front.
    backwards: list[Mapping[str, Distance]] = [
        {"loss": measured.distances[places[-1]], **{place: measured.gradients[place] for place in reversed(names_of)}} for measured in own
    ]
    limits = _limits(answer, backwards, list(names_of), tolerances.FLOAT64_GRADIENTS)
    for place, names in names_of.items():
        worst[place] = max(names, key=lambda name: relative_gradient(answer, truth, name))
        gradients[place] = distance(_gradient(answer, worst[place]), truth.gradients[worst[place]], limits[place], answer.dtype)
    return Column(answer.name, distances, gradients, worst, Answer(answer.name, answer.activations))


def _limits(answer: Answer, own: list[Mapping[str, Distance]], places: list[str], float64: float) -> dict[str, float]:
    if answer.dtype == "float64":
        return dict.fromkeys(places, float64)
    if not own:
        return dict.fromkeys(places, float("inf"))
    return rounding_limits({place: max(measured[place].relative for measured in own) for place in own[0]})


def valid(place: str, found: np.ndarray, expected: np.ndarray, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Both without the positions that are padding, where nothing is promised, and without classes that only one has."""
    if place == OUTPUT and found.shape[:-1] == expected.shape[:-1]:
        classes = min(found.shape[-1], expected.shape[-1])
        found, expected = found[..., :classes], expected[..., :classes]
    decoded = "decoder_input_ids" in inputs and not place.startswith("encoder.")
    mask = inputs.get("decoder_attention_mask" if decoded else "attention_mask")
    if mask is None or expected.shape[:2] != mask.shape or found.shape != expected.shape:
        return found, expected
    return found[mask == 1], expected[mask == 1]


def by_place(gradients: Mapping[str, np.ndarray], places: list[str]) -> dict[str, list[str]]:
    """The tensors of each place, without those whose gradient is zero by algebra."""
    if not gradients:
        return {}
    largest = max(float(np.abs(gradient).max(initial=0.0)) for gradient in gradients.values())
    names_of: dict[str, list[str]] = {place: [] for place in places}
    for name, gradient in gradients.items():
        if np.abs(gradient).max(initial=0.0) > tolerances.ZERO_GRADIENT * largest:
            names_of[place_of(name, places)].append(name)
    return {place: names for place, names in names_of.items() if names}


def place_of(tensor: str, places: list[str]) -> str:
    """Where a tensor is first used. A stack's relative biases are its first layer's, its final norm is its last layer's."""
    stack, part = tensor.split(".")[:2]
    if part == "relative_bias":
        return f"{stack}.layers.0"
    inside = [place for place in places if place.startswith(f"{stack}.")]
    own = [place for place in inside if tensor.startswith(f"{place}.")]
    return (own or inside or places)[-1]


def _gradient(answer: Answer, name: str) -> np.ndarray:
    return answer.gradients.get(name, np.empty(0))


def relative_gradient(answer: Answer, truth: Answer, name: str) -> float:
    found, expected = _gradient(answer, name), truth.gradients[name]
    return relative(found, expected) if found.shape == expected.shape else float("inf")
