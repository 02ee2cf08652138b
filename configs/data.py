"""Where a run's examples come from. `source` says which; every path is relative to where the run is started."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from configs.base import Config

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Paths = Annotated[tuple[str, ...], Field(strict=False)]


class StandardLibraryData(Config):
    """English that every CPython carries: the language topics of `pydoc` and the docstrings of the standard library."""

    source: Literal["stdlib"] = "stdlib"
    validation_fraction: Fraction = 0.1


class TextData(Config):
    """A local text file, gzipped or not, or a folder of *.txt and *.txt.gz files. The last `validation_fraction` of the characters is held
    out.

    streaming: the text is read piece by piece, and its tokens lie in files below train.output: neither need fit into memory.
    """

    source: Literal["text"] = "text"
    path: str
    streaming: bool = False
    validation_fraction: Fraction = 0.1


class HubData(Config):
    """A dataset by name through `datasets`, or a local folder that it reads.

    columns: one of running text; two of a source and its target, of a text and its label, or of an image and its label.
    Without a validation split the last `validation_fraction` of the rows is held out. streaming: as for `text`, row by row.
    """

    source: Literal["hub"] = "hub"
    name: str
    configuration: str | None = None
    columns: Paths = ("text",)
    streaming: bool = False
    train_split: str = "train"
    validation_split: str | None = None
    test_split: str | None = None
    validation_fraction: Fraction = 0.1


class ParallelData(Config):
    """Pairs of a source and a target text, in local files, gzipped or not.

    train, validation, test: each two text files with a line for a line, or one file of tab-separated values (.tsv) or of JSON
    lines (.jsonl), whose `fields` are the source and the target.
    """

    source: Literal["parallel"] = "parallel"
    train: Paths
    validation: Paths
    test: Paths = ()
    fields: Annotated[tuple[str, str], Field(strict=False)] = ("source", "target")

    @model_validator(mode="after")
    def _complete(self) -> ParallelData:
        for name in ("train", "validation", "test"):
            if len(getattr(self, name)) > 2 or (name != "test" and not getattr(self, name)):
                raise ValueError(f"{name} names {len(getattr(self, name))} files; give two text files, or one .tsv or .jsonl")
        return self


class DatesData(Config):
    """Days as people write them, and the same days in ISO 8601. No day of one split is in another. `seed` draws days and forms."""

    source: Literal["dates"] = "dates"
    train: PositiveInt = 20_000
    validation: PositiveInt = 1_000
    test: PositiveInt = 2_000
    seed: NonNegativeInt = 0


class LabelledData(Config):
    """Texts with a label each, in local files of tab-separated values (.tsv) or of JSON lines (.jsonl), gzipped or not.

    fields: the text and its label, in JSON lines. Without a file to validate on, `validation_fraction` of each label's texts is held
    out; `seed` draws which.
    """

    source: Literal["labelled"] = "labelled"
    train: str
    validation: str | None = None
    fields: Annotated[tuple[str, str], Field(strict=False)] = ("text", "label")
    validation_fraction: Fraction = 0.1
    seed: NonNegativeInt = 0


class DocstringsData(Config):
    """Docstrings of the standard library, labelled by the package that they belong to; its name is blanked out in them.

    shortest: shorter ones, in characters, are left out. seed: draws what is held out, `validation_fraction` of each package.
    """

    source: Literal["docstrings"] = "docstrings"
    packages: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    shortest: PositiveInt = 40
    validation_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0


class DigitsData(Config):
    """The 1,797 scanned digits of 8 x 8 pixels that scikit-learn carries (Alpaydin & Kaynak 1998), a share of each class held out.

    seed: draws what is held out.
    """

    source: Literal["digits"] = "digits"
    validation_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0


Data = Annotated[
    StandardLibraryData | TextData | HubData | ParallelData | DatesData | LabelledData | DocstringsData | DigitsData,
    Field(discriminator="source"),
]
