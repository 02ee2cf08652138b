"""Pairs of a source and a target text: local files, gzipped or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs import UserError
from configs.data import Data, DatesData, HubData, ParallelData
from train.sources.dates import make_dates
from train.sources.hub import read_splits
from train.sources.moses import Moses
from weight_mapping.text_files import read_lines

Pair = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """Pairs to train on, to validate on, and to test with; test may be empty. notes: what was left out, a line each."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    notes: tuple[str, ...] = ()


def read_pairs(data: Data, moses: Moses | None = None) -> Pairs:
    """The pairs that the config names, prepared by `moses`. Raises UserError where a file is missing, no text, or no match of the other."""
    if isinstance(data, DatesData):
        return make_dates_pairs(data)
    if not isinstance(data, ParallelData | HubData):
        raise UserError(f"data.source={data.source!r} holds no pairs")
    splits: dict[str, list[Pair]] = {}
    notes: list[str] = []
    for name, pairs in zip(("train", "validation", "test"), read_splits_of_pairs(data), strict=True):
        kept = [pair for pair in pairs if pair[0].strip() and pair[1].strip()]
        if len(kept) < len(pairs):
            notes.append(f"{name}: {len(pairs) - len(kept):,} of {len(pairs):,} pairs have an empty side and are left out")
        if not kept and name != "test":
            raise UserError(f"the {name} split of data.source={data.source!r} leaves no pair; name one with text in it")
        splits[name] = moses.prepare(kept) if moses else kept
    return Pairs(splits["train"], splits["validation"], splits["test"], tuple(notes))


def read_splits_of_pairs(data: ParallelData | HubData) -> list[list[Pair]]:
    """The pairs of the three splits as they are."""
    if isinstance(data, ParallelData):
        return [read_split(getattr(data, name), name, data.fields) for name in ("train", "validation", "test")]
    return read_splits(data).columns(data.columns, 2, texts=2)


def make_dates_pairs(data: DatesData) -> Pairs:
    train, validation, test = make_dates(data)
    return Pairs(train, validation, test)


def read_split(names: Sequence[str], split: str, fields: tuple[str, str]) -> list[Pair]:
    """Two files line by line, or one file of pairs."""
    paths = [Path(name) for name in names]
    if not paths:
        return []
    if len(paths) == 2:
        sources, targets = (read_lines(path) for path in paths)
        if len(sources) != len(targets):
            raise UserError(
                f"data.{split}: {paths[0]} has {len(sources):,} lines and {paths[1]} has {len(targets):,}; each line needs its translation"
            )
        return list(zip(sources, targets, strict=True))
    return read_file(paths[0], split, fields)


def read_file(name: str | Path, split: str, fields: tuple[str, str]) -> list[Pair]:
    """One file of pairs."""
    path = Path(name)
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if kind not in (".tsv", ".jsonl"):
        raise UserError(f"data.{split}={path}: a file of {fields[0]} and {fields[1]} must be .tsv or .jsonl, or either with .gz")
    read = _tab_separated if kind == ".tsv" else _json_line
    return [read(path, number, line, fields) for number, line in enumerate(read_lines(path), 1)]


def _tab_separated(path: Path, number: int, line: str, fields: tuple[str, str]) -> Pair:
    values = line.split("\t")
    if len(values) != 2:
        raise UserError(f"{path}, line {number}: {len(values)} values between tabs, and 2 are expected, {fields[0]} and {fields[1]}")
    return values[0], values[1]


def _json_line(path: Path, number: int, line: str, fields: tuple[str, str]) -> Pair:
    try:
        row = json.loads(line)
        source, target = (row[field] for field in fields)
    except (ValueError, TypeError):
        raise UserError(f"{path}, line {number}: not a JSON object") from None
    except KeyError as error:
        raise UserError(f"{path}, line {number}: no {error} among {', '.join(row)}; set data.fields") from None
    # Labels are numbers as often as words.
    target = str(target) if isinstance(target, int) and not isinstance(target, bool) else target
    if not (isinstance(source, str) and isinstance(target, str)):
        raise UserError(f"{path}, line {number}: {fields[0]!r} and {fields[1]!r} must be texts, or the second a whole number")
    return source, target
