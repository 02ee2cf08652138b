"""Where a run's examples come from. `source` says which; every path is relative to where the run is started."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from configs.base import Config, UserPath

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Paths = Annotated[tuple[UserPath, ...], Field(strict=False)]


class StandardLibraryData(Config):
    """English that every CPython carries: the language topics of `pydoc` and the docstrings of the standard library.

    validation_fraction: share of the text that is held out.
    """

    source: Literal["stdlib"] = "stdlib"
    validation_fraction: Fraction = 0.1


class TextData(Config):
    """A local text file, gzipped or not, or a folder of *.txt and *.txt.gz files.

    path: of the file or the folder.
    streaming: read the text piece by piece, and keep its tokens in files below train.output: neither has to fit into memory.
    validation_fraction: share of the characters that is held out, at the end.
    """

    source: Literal["text"] = "text"
    path: UserPath
    streaming: bool = False
    validation_fraction: Fraction = 0.1


class HubData(Config):
    """A dataset by name through the package `datasets`, or a local folder that it reads.

    name: of the dataset on the hub, or the folder.
    configuration: which of the dataset's configurations. Default: its own default.
    columns: one of running text; two of a source and its target, of a text and its label, or of an image and its label.
    streaming: for running text: read it row by row, and keep tokens in files below train.output: neither has to fit into memory.
    train_split: the name of the split to train on.
    validation_split: the name of the split to validate on. Default: `validation_fraction` of the rows is held out, at the end; of rows
        with labels, of each label.
    test_split: the name of the split to test on. Default: none.
    validation_fraction: share that is held out where there is no validation_split.
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

    Each of train, validation and test is two text files, line by line, or one file of tab-separated values (.tsv) or JSON lines (.jsonl).

    train: the pairs to train on.
    validation: the pairs to validate on.
    test: the pairs to test on. Default: none.
    fields: of JSON lines, those of the source and of the target.
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
    """Days as people write them, and the same days in ISO 8601. No day of one split is in another.

    train: pairs to train on.
    validation: pairs to validate on.
    test: pairs to test on.
    seed: draws the days and how they are written.
    """

    source: Literal["dates"] = "dates"
    train: PositiveInt = 20_000
    validation: PositiveInt = 1_000
    test: PositiveInt = 2_000
    seed: NonNegativeInt = 0


class LabelledData(Config):
    """Texts with a label each, in local files of tab-separated values (.tsv) or JSON lines (.jsonl), gzipped or not.

    train: the file to train on.
    validation: the file to validate on. Default: `validation_fraction` of each label's texts is held out.
    fields: of JSON lines, those of the text and of its label.
    validation_fraction: share that is held out where there is no file to validate on.
    seed: draws what is held out.
    """

    source: Literal["labelled"] = "labelled"
    train: UserPath
    validation: UserPath | None = None
    fields: Annotated[tuple[str, str], Field(strict=False)] = ("text", "label")
    validation_fraction: Fraction = 0.1
    seed: NonNegativeInt = 0


class DocstringsData(Config):
    """Docstrings of the standard library, labelled with the package they come from; its name is blanked out in them.

    packages: the names of the packages, which are the classes.
    shortest: docstrings of fewer characters are left out.
    validation_fraction: share of each package's docstrings that is held out.
    seed: draws what is held out.
    """

    source: Literal["docstrings"] = "docstrings"
    packages: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    shortest: PositiveInt = 40
    validation_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0


class DigitsData(Config):
    """The 1,797 scanned digits of 8 x 8 pixels that scikit-learn carries (Alpaydin and Kaynak 1998).

    validation_fraction: share of each class that is held out.
    seed: draws what is held out.
    """

    source: Literal["digits"] = "digits"
    validation_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0


Data = Annotated[
    StandardLibraryData | TextData | HubData | ParallelData | DatesData | LabelledData | DocstringsData | DigitsData,
    Field(discriminator="source"),
]
