"""Where a run's examples come from. `source` says which; every path is relative to where the run is started."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from configs.base import Config

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Paths = Annotated[tuple[str, ...], Field(strict=False)]


class StandardLibraryData(Config):
    """English that every CPython carries: the language topics of `pydoc` and the docstrings of the standard library."""

    source: Literal["stdlib"] = "stdlib"
    validation_fraction: Fraction = 0.1


class TextData(Config):
    """A local text file, or a folder of *.txt files. The last `validation_fraction` of the characters is held out."""

    source: Literal["text"] = "text"
    path: str
    validation_fraction: Fraction = 0.1


class HubData(Config):
    """A dataset by name through `datasets`. Without a validation split the last `validation_fraction` of the rows is held out."""

    source: Literal["hub"] = "hub"
    name: str
    configuration: str | None = None
    column: str = "text"
    train_split: str = "train"
    validation_split: str | None = None
    validation_fraction: Fraction = 0.1


class ParallelData(Config):
    """Pairs of a source and a target text, in local files, gzipped or not.

    train, validation, test: each two text files with a line for a line, or one file of tab-separated values (.tsv) or of JSON
    lines (.jsonl), whose `fields` are the source and the target. languages: of source and target, for `preprocessing`.
    preprocessing: ``none``, or ``moses``: normalized punctuation, tokens apart, lower case, as `sacremoses` gives it.
    max_length: longer pairs, in tokens, are left out of training and counted.
    """

    source: Literal["parallel"] = "parallel"
    train: Paths
    validation: Paths
    test: Paths = ()
    fields: Annotated[tuple[str, str], Field(strict=False)] = ("source", "target")
    languages: Annotated[tuple[str, str], Field(strict=False)] | None = None
    preprocessing: Literal["none", "moses"] = "none"
    max_length: PositiveInt | None = None

    @model_validator(mode="after")
    def _complete(self) -> ParallelData:
        for name in ("train", "validation", "test"):
            if len(getattr(self, name)) > 2 or (name != "test" and not getattr(self, name)):
                raise ValueError(f"{name} names {len(getattr(self, name))} files; give two text files, or one .tsv or .jsonl")
        if self.preprocessing == "moses" and self.languages is None:
            raise ValueError("preprocessing 'moses' needs languages, such as [en, de]")
        return self


class DatesData(Config):
    """Days as people write them, and the same days in ISO 8601. No day of one split is in another. `seed` draws days and forms."""

    source: Literal["dates"] = "dates"
    train: PositiveInt = 20_000
    validation: PositiveInt = 1_000
    test: PositiveInt = 2_000
    seed: NonNegativeInt = 0


class DigitsData(Config):
    """The 1,797 scanned digits of 8 x 8 pixels that scikit-learn carries (Alpaydin & Kaynak 1998), a share of each class held out.

    seed: draws what is held out. max_shift, in pixels, and max_turn, in degrees: how far a training image is moved, anew each time.
    """

    source: Literal["digits"] = "digits"
    validation_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0
    max_shift: NonNegativeFloat = 0.0
    max_turn: NonNegativeFloat = 0.0


Data = Annotated[StandardLibraryData | TextData | HubData | ParallelData | DatesData | DigitsData, Field(discriminator="source")]
