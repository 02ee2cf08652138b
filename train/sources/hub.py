"""Rows of a dataset by its name on the hub, or of a local folder, through `datasets`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs import UserError
from configs.data import HubData
from weight_mapping.hub import require_hub


@dataclass(frozen=True)
class Splits:
    """Rows (of type `datasets.Dataset`) to train on, to validate on, and to test with; test may be None."""

    train: Any
    validation: Any
    test: Any = None

    def columns(self, names: tuple[str, ...], number: int) -> list[list[tuple]]:
        """The values of `number` columns, row by row, of each split; test may be empty. Raises UserError for other columns."""
        if len(names) != number:
            raise UserError(f"data.columns={list(names)} names {len(names)}; this objective takes {number}")
        if missing := [name for name in names if name not in self.train.column_names]:
            choices = ", ".join(self.train.column_names)
            raise UserError(f"the dataset has no column {missing[0]!r}; set data.columns to {number} of: {choices}")
        splits = (self.train, self.validation, self.test)
        return [[] if split is None else list(zip(*(split[name] for name in names), strict=True)) for split in splits]

    def label_names(self, column: str) -> list[str] | None:
        """What the classes of a column are called, where the dataset says so."""
        return getattr(self.train.features[column], "names", None)


def read_splits(data: HubData) -> Splits:
    """The splits that the config names. Raises UserError where the hub, the dataset or a split is not there."""
    from huggingface_hub import constants

    # Offline, `datasets` looks into its cache and fails at once.
    if not Path(data.name).exists() and not constants.HF_HUB_OFFLINE:
        require_hub(f"the dataset {data.name!r} is to come from the hub", "use a local file: data.source=text data.path=FILE")
    from datasets import load_dataset

    def load(split: str | None) -> Any:
        return load_dataset(data.name, data.configuration, split=split) if split else None

    try:
        rows, held_out, test = load(data.train_split), load(data.validation_split), load(data.test_split)
    except Exception as error:
        message = " ".join(str(error).split())
        instead = "check data.name, or use a local file: data.source=text data.path=FILE"
        raise UserError(f"the dataset {data.name!r} cannot be loaded: {message}; {instead}") from None
    if held_out is None:
        border = int(len(rows) * (1 - data.validation_fraction))
        rows, held_out = rows.select(range(border)), rows.select(range(border, len(rows)))
    return Splits(rows, held_out, test)


def texts(values: list[tuple], columns: tuple[str, ...]) -> None:
    """Raises UserError where the first of these columns do not hold texts."""
    for row in values[:100]:
        for column, value in zip(columns, row, strict=False):
            if not isinstance(value, str):
                raise UserError(f"column {column!r} of the dataset holds {type(value).__name__}, not text; set data.columns")
