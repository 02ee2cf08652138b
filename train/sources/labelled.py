"""Texts with a label each: local files, docstrings of the standard library, or the hub."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from configs import UserError
from configs.data import Data, DocstringsData, HubData, LabelledData
from train.sources.hub import places_held_out, read_splits
from train.sources.pairs import Pair, read_file
from train.sources.text import docstrings, standard_library

BLANK = "..."
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Labelled:
    """Texts and the names of their labels, to train on and to validate on. names: all labels, in the order of their classes."""

    train: list[Pair]
    validation: list[Pair]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_labelled(data: Data) -> Labelled:
    """The texts that the config names. Raises UserError where there are none, or where a label is met in validation alone."""
    notes: list[str] = []
    names: Sequence[str] | None = None
    if isinstance(data, DocstringsData):
        train, validation = hold_out(read_docstrings(data), data.validation_fraction, data.seed)
    elif isinstance(data, LabelledData):
        train = with_text(read_file(data.train, "train", data.fields), "train", notes)
        if data.validation is None:
            train, validation = hold_out(train, data.validation_fraction, data.seed)
        else:
            validation = with_text(read_file(data.validation, "validation", data.fields), "validation", notes)
    elif isinstance(data, HubData):
        splits = read_splits(data, data.columns[-1])
        train_rows, validation_rows, _ = splits.columns(data.columns, 2, texts=1)
        given = names = splits.label_names(data.columns[1])
        if names is None and all(isinstance(label, int) for _, label in train_rows):
            names = [str(label) for label in range(1 + max((label for _, label in train_rows), default=-1))]
        train, validation = ([(text, label_name(label, given)) for text, label in rows] for rows in (train_rows, validation_rows))
        train, validation = with_text(train, "train", notes), with_text(validation, "validation", notes)
    else:
        raise UserError(f"data.source={data.source!r} holds no labelled texts")
    if not train or not validation:
        raise UserError(
            f"data.source={data.source!r} leaves no text to {'validate' if train else 'train'} on; name files with more in them"
        )
    names = tuple(names or in_order({label for _, label in train}))
    if unknown := {label for _, label in validation} - set(names):
        raise UserError(f"the label {min(unknown)!r} is in validation and not in training; the labels there are: {', '.join(names)}")
    return Labelled(train, validation, names, tuple(notes))


def in_order(labels: Iterable[str]) -> list[str]:
    """By size where all are numbers, else as text."""
    found = sorted(labels)
    return sorted(found, key=Decimal) if all(map(NUMBER.fullmatch, found)) else found


def label_name(label: Any, names: Sequence[str] | None) -> str:
    """What a label is called; nothing for one that is missing, or that the dataset has no name for, such as -1."""
    if not isinstance(label, int):
        return "" if label is None else str(label)
    if label < 0 or (names is not None and label >= len(names)):
        return ""
    return str(int(label)) if names is None else names[label]


def with_text(pairs: list[Pair], split: str, notes: list[str]) -> list[Pair]:
    """Those whose text and label are not empty; the others are counted in `notes`."""
    kept = [pair for pair in pairs if pair[0].strip() and pair[1].strip()]
    if len(kept) < len(pairs):
        notes.append(f"{split}: {len(pairs) - len(kept):,} of {len(pairs):,} texts are empty or have no label, and are left out")
    return kept


def hold_out(pairs: list[Pair], fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """The same share of each label to train on and to validate on, drawn by `seed`."""
    held_out = places_held_out([label for _, label in pairs], fraction, seed)
    return [pair for place, pair in enumerate(pairs) if place not in held_out], [pairs[place] for place in sorted(held_out)]


def read_docstrings(data: DocstringsData) -> list[Pair]:
    """Each docstring once, spaces made one, the package's own name blanked out. Raises UserError for a package without any."""
    root = Path(sysconfig.get_paths()["stdlib"])
    pairs: dict[str, str] = {}
    for path in standard_library():
        package = path.relative_to(root).parts[0].removesuffix(".py")
        if package not in data.packages:
            continue
        for docstring in docstrings(path):
            text = re.sub(package, BLANK, " ".join(docstring.split()), flags=re.IGNORECASE)
            if len(text) >= data.shortest:
                pairs.setdefault(text, package)
    if missing := [package for package in data.packages if package not in pairs.values()]:
        raise UserError(f"the standard library has no docstrings of a package {missing[0]!r}; change data.packages")
    return list(pairs.items())
