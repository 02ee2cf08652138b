"""Rows of a dataset by its name on the hub, or of a local folder, through `datasets`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs import UserError
from configs.data import HubData
from weight_mapping.hub import require_hub

INSTEAD = "use a local file: data.source=text data.path=FILE for running text, others in docs/training.md"


@dataclass(frozen=True)
class Splits:
    """Rows (of type `datasets.Dataset`) to train on, to validate on, and to test with; test may be None."""

    train: Any
    validation: Any
    test: Any = None

    def columns(self, names: tuple[str, ...], number: int, texts: int = 0) -> list[list[tuple]]:
        """The values of `number` columns, row by row, of each split; test may be empty. Raises UserError for other columns, and where the
        first `texts` of them hold anything but text."""
        if len(names) != number:
            raise UserError(f"data.columns={list(names)} names {len(names)}; this objective takes {number}")
        if missing := [name for name in names if name not in self.train.column_names]:
            choices = ", ".join(self.train.column_names)
            raise UserError(f"the dataset has no column {missing[0]!r}; set data.columns to {number} of: {choices}")
        splits = [split for split in (self.train, self.validation, self.test) if split is not None]
        found = [list(zip(*(values_of(split, name, name in names[:texts]) for name in names), strict=True)) for split in splits]
        return found + [[]] * (3 - len(found))

    def label_names(self, column: str) -> list[str] | None:
        """What the classes of a column are called, where the dataset says so."""
        return getattr(self.train.features[column], "names", None)


def load(data: HubData, split: str | None) -> Any:
    """One split, None for None. Raises UserError where the hub, the dataset or the split is not there."""
    if split is None:
        return None
    from huggingface_hub import constants

    # Offline, `datasets` looks into its cache and fails at once.
    if not Path(data.name).exists() and not constants.HF_HUB_OFFLINE:
        require_hub(f"the dataset {data.name!r} is to come from the hub", INSTEAD)
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError("data.source=hub needs datasets: pip install datasets") from None

    try:
        return load_dataset(data.name, data.configuration, split=split, streaming=data.streaming)
    except Exception as error:
        # What went wrong in a file stands behind what `datasets` says of it.
        message = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"the dataset {data.name!r} cannot be loaded: {message}; check data.name and its files, or {INSTEAD}") from None


def open_stream(data: HubData, split: str) -> Any:
    """The rows of a split one by one (a `datasets.IterableDataset`). Raises UserError as `load` does, and for other columns."""
    name = data.train_split if split == "train" else data.validation_split
    if name is None:
        raise UserError("data.streaming needs data.validation_split: how many rows a stream has is known at its end alone")
    rows = load(data, name)
    if len(data.columns) != 1 or data.columns[0] not in (rows.column_names or data.columns):
        raise UserError(f"data.columns={list(data.columns)}; streamed text needs one of: {', '.join(rows.column_names or [])}")
    return rows


def read_splits(data: HubData, label: str | None = None) -> Splits:
    """The splits that the config names; without one to validate on, the end of the training rows is held out, or, where they have a
    `label`, a share of each. Raises UserError where the hub, the dataset or a split is not there."""
    if data.streaming:
        raise UserError("data.streaming is for running text; leave it out")
    rows, held_out, test = (load(data, split) for split in (data.train_split, data.validation_split, data.test_split))
    if held_out is None:
        places = set(range(int(len(rows) * (1 - data.validation_fraction)), len(rows)))
        if label in rows.column_names:
            # Rows may stand in the order of their labels.
            places = places_held_out(rows[label], data.validation_fraction, seed=0)
        kept = [place for place in range(len(rows)) if place not in places]
        rows, held_out = rows.select(kept), rows.select(sorted(places))
    return Splits(rows, held_out, test)


def places_held_out(labels: Sequence[Any], fraction: float, seed: int) -> set[int]:
    """The same share of the places of each label, drawn by `seed`."""
    random = np.random.default_rng(seed)
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(str(label), []).append(place)
    shares = [random.permutation(places[label])[: round(len(places[label]) * fraction)] for label in sorted(places)]
    return {int(place) for share in shares for place in share}


def values_of(split: Any, column: str, is_text: bool) -> list[Any]:
    """A column, row by row. Raises UserError where a row cannot be read, or is no text and is to be."""
    try:
        values = list(split[column])
    except OSError as error:
        raise UserError(f"column {column!r} of the dataset cannot be read: {error}; take the damaged file out") from None
    return [check_text(value, column, number) for number, value in enumerate(values)] if is_text else values


def check_text(value: Any, column: str, row: int) -> str:
    """The text of a row; of an empty cell an empty one. Raises UserError where it is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"column {column!r} of the dataset holds {type(value).__name__} in row {row}, not text; set data.columns")
    return value
