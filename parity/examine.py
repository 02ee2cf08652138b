"""From a checkpoint's name to everything that is reported about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs import ModelConfig, UserError
from parity import questions, tolerances
from parity.compare import Answer, Column, Comparison, ask, judge
from parity.fields import changes_of, config_differences
from parity.findings import Finding, findings, oddities
from parity.implementation import Inputs
from parity.inputs import example_labels
from parity.sources import PACKAGES, Source, hugging_faces_products, missing, open_source, refusals, step
from weight_mapping.checkpoint import is_run
from weight_mapping.hub import local_folder

if TYPE_CHECKING:  # it imports torch
    from parity.explanations import Explanation

SAME = ("architecture", "inputs", "width", "num_layers", "num_decoder_layers", "head.kind")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    checkpoint: str
    against: str | None = None
    architecture: str | None = None
    text: str | None = None
    image: Path | None = None
    audio: Path | None = None
    batch: int = 4
    length: int = 32
    seed: int = 0
    dtype: str = "float32"
    gradients: bool = False


@dataclass(frozen=True)
class Report:
    """Everything there is to say. differences: of config fields, in words. notes: what was left out, and why."""

    options: Options
    config: ModelConfig
    question: str
    reference: str
    comparison: Comparison
    findings: list[Finding]
    differences: list[str]
    explanations: list[Explanation]
    oddities: list[Finding]
    notes: list[str]

    @property
    def agrees(self) -> bool:
        compared = self.comparison.not_finite is None and all(column.agrees or self.rounds(column) for column in self.comparison.columns)
        return compared and not self.findings and not self.differences and not self.oddities

    def rounds(self, column: Column) -> bool:
        """Whether what parts is rounding alone, and not much of it."""
        is_one_formula = any(explanation.agrees == column.name for explanation in self.explanations)
        return is_one_formula and column.first_gradient is None and column.excess <= tolerances.FLOAT32_OF_ONE_FORMULA


def examine(options: Options) -> Report:
    """Load, ask, compare, and look for causes where something parts. Raises UserError where the checkpoints cannot be compared."""
    with ExitStack() as stack:
        stack.enter_context(hugging_faces_products())
        names = [name for name in (options.checkpoint, options.against) if name]
        # A run has no other head, but may be held against a file that has.
        have_heads = [name for name in names if not is_run(local_folder(name))] or names
        opened = [stack.enter_context(open_source(name, options.architecture if name in have_heads else None)) for name in names]
        source, other = opened[0], opened[1] if options.against else None
        notes = list(dict.fromkeys(note for each in opened for note in each.checkpoint.notes))
        if other:
            check_same_architecture(source, other)
        inputs, question = question_of(options, source, other)
        home = other or source
        teacher = teacher_of(home, notes)
        students = [name for name in PACKAGES if name != teacher or other]
        students = [name for name in students if is_there(name, source, notes)]
        if not students:
            raise UserError(f"nothing to hold against {teacher}: {'; '.join(notes)}")

        comparison = run(options, home, teacher, source, students, inputs)
        odd = [] if other else oddities(source.tensors, lambda name: is_matrix(source.tensors.shapes[name]))
        found, differences = [], {}
        if other:
            with step("comparing tensor by tensor"):
                found = findings(source.tensors, other.tensors, home.config.head_size if home.config.rotary_size else None)
                differences = config_differences(source.config, other.config)
        explanations = []
        if not comparison.agrees and comparison.not_finite is None:
            from parity.explanations import explanations_of

            explanations = explanations_of(comparison, source, home, inputs, found, differences)
        reference = f"{teacher} in {in_float64(teacher)}"
        reference += f", from {options.against}" if other else ""
        in_words = [what for what, _ in changes_of(differences)]
        return Report(options, source.config, question, reference, comparison, found, in_words, explanations, odd, notes)


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Not a vector in disguise: RoBERTa's one row of token types is zero as it should be."""
    return len(shape) > 1 and shape[0] > 1


def run(options: Options, home: Source, teacher: str, source: Source, students: list[str], inputs: Inputs) -> Comparison:
    """Every implementation's answer, one model in memory at a time."""
    from parity.rounding import ask_several_times  # it imports torch

    whose, its = (f" from {home.name}", f" from {source.name}") if home is not source else ("", "")
    with step(f"{teacher}, {in_float64(teacher)}{whose}"):
        reference = home.load(teacher, "float64")
        with refusals(teacher, home.name):
            labels = example_labels(reference.logits(inputs), inputs, options.seed) if options.gradients else None
            truth = ask(reference, inputs, labels)
        del reference

    def own() -> Iterator[Answer]:
        if options.dtype == "float32":
            with step(f"{teacher}, float32{whose}"):
                yield from ask_several_times(home.load(teacher, "float32"), inputs, labels)

    def answers() -> Iterator[Answer]:
        for name in students:
            with step(f"{name}, {options.dtype}{its}"):
                yield replace(ask(source.load(name, options.dtype), inputs, labels), name=name)

    return judge(truth, own(), answers(), inputs)


def in_float64(teacher: str) -> str:
    """Hugging Face computes parts in float32 by name, unless it is kept from it."""
    return "true float64" if teacher == "Hugging Face" else "float64"


def teacher_of(home: Source, notes: list[str]) -> str:
    """Who is right: Hugging Face, or PyTorch where Hugging Face cannot say."""
    if is_there("Hugging Face", home, notes):
        return "Hugging Face"
    if package := missing("PyTorch"):
        raise UserError(f"{package} is not installed, so there is nothing to compare with; pip install 'transformer-twins[parity]'")
    notes.append("PyTorch in float64 is the reference instead of Hugging Face")
    return "PyTorch"


def is_there(name: str, source: Source, notes: list[str]) -> bool:
    """Whether an implementation can be asked; if not, a note says why."""
    why = f"{package} is not installed" if (package := missing(name)) else source.why_not if name == "Hugging Face" else ""
    if why and (note := f"{name} is left out: {why}") not in notes:
        notes.append(note)
    return not why


def question_of(options: Options, source: Source, other: Source | None) -> tuple[dict[str, np.ndarray], str]:
    """The inputs, and what they are in words."""
    folder, config = source.hugging_face or source.checkpoint.folder, source.config
    # Both are asked what both can read.
    both = [other.config, config] if other else [config]
    if options.text is not None:
        for each in both:
            inputs = questions.from_text(options.text, folder, each, source.name)
        return inputs, f"the text {options.text!r}, {inputs['input_ids'].shape[1]} tokens"
    if options.image is not None:
        return questions.from_image(options.image, folder, config), f"the image {options.image}"
    if options.audio is not None:
        return questions.from_audio(options.audio, config), f"the recording {options.audio}"
    length = min([options.length, *(each.longest for each in both if each.longest is not None)])
    return questions.made_up(min(both, key=lambda config: config.vocab_size), options.batch, length, options.seed)


def check_same_architecture(source: Source, other: Source) -> None:
    """Two checkpoints can be compared layer by layer where they have the same layers."""
    here, there = set(source.tensors.shapes), set(other.tensors.shapes)
    if 2 * len(here & there) < len(here | there):
        raise UserError(
            f"{source.name} is a {source.config.family} and {other.name} a {other.config.family}, and they share {len(here & there)} of "
            f"{len(here | there)} tensors; name another conversion of the same model"
        )
    for dotted in SAME:
        ours, theirs = source.config.spelled_out(), other.config.spelled_out()
        for step_down in dotted.split("."):
            ours, theirs = ours[step_down], theirs[step_down]
        if ours != theirs:
            raise UserError(
                f"{source.name} and {other.name} are not of one architecture: {dotted} is {ours} here and {theirs} there; "
                f"name another conversion of the same model"
            )
