"""What a model is trained to do. `kind` says which; a name alone stands for an objective with its usual settings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveInt, model_validator

from configs.base import Config
from configs.model import ModelConfig

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class Objective(Config):
    """What all objectives have.

    label_smoothing: share of each target that is spread evenly over all classes, in training (Szegedy et al. 2016, 7; "Attention Is
        All You Need", 5.4).
    r_drop: how much it counts, in training, that two readings of an example, whose dropout differs, disagree: alpha of R-Drop (Liang et
        al. 2021, 2.1), whose loss is halved here, because it adds up both readings' cross-entropies. 0: each is read once.
    """

    architecture: ClassVar[str]
    heads: ClassVar[tuple[str, ...]]
    sources: ClassVar[tuple[str, ...]]
    inputs: ClassVar[str] = "tokens"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    r_drop: NonNegativeFloat = 0.0

    def check(self, model: ModelConfig, source: str) -> None:
        """Raises ValueError where the model or the data is not what this objective trains, or trains on."""
        if model.architecture != self.architecture or model.head.kind not in self.heads:
            raise ValueError(
                f"objective '{self.kind}' needs architecture '{self.architecture}' with head.kind '{self.heads[0]}', and the model is "  # type: ignore[attr-defined]
                f"architecture '{model.architecture}' with head '{model.head.kind}'"
            )
        if model.inputs.kind != self.inputs:
            raise ValueError(f"objective '{self.kind}' needs model.inputs.kind '{self.inputs}', not '{model.inputs.kind}'")  # type: ignore[attr-defined]
        if source not in self.sources:
            raise ValueError(
                f"objective '{self.kind}' does not learn from data.source='{source}'; use one of: {', '.join(self.sources)}"  # type: ignore[attr-defined]
            )
        if self.r_drop and not any(model.dropout.model_dump().values()):
            raise ValueError(f"r_drop={self.r_drop} compares two readings with other dropout, and model.dropout is 0; set it, or r_drop=0")


class CausalLM(Objective):
    """The next token of a text (GPT, Radford et al. 2018, equation 1)."""

    architecture = "decoder"
    heads = ("language_model",)
    sources = ("stdlib", "text", "hub")
    kind: Literal["causal_lm"] = "causal_lm"


class MaskedLM(Objective):
    """The tokens that are hidden in a text (BERT, Devlin et al. 2019, 3.1, task 1).

    share: of the tokens that the model has to predict.
    masked: the share of these that the model sees as the mask token.
    replaced: the share of these that it sees as a random token; the rest it sees as they are.
    whole_words: choose all tokens of a word or none (BERT's later "whole word masking" models).
    """

    architecture = "encoder"
    heads = ("masked_language_model",)
    sources = ("stdlib", "text", "hub")
    kind: Literal["masked_lm"] = "masked_lm"
    share: Share = 0.15
    masked: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    replaced: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    whole_words: bool = False

    @model_validator(mode="after")
    def _add_up(self) -> MaskedLM:
        if self.masked + self.replaced > 1.0:
            raise ValueError(f"masked={self.masked} and replaced={self.replaced} are more than all; make them add up to 1 at most")
        return self


class SpanCorruption(Objective):
    """The spans that are left out of a text (T5, Raffel et al. 2020, 3.1.4).

    share: of the tokens that are left out.
    mean_span: the mean length of a span, in tokens.
    """

    architecture = "encoder_decoder"
    heads = ("language_model",)
    sources = ("stdlib", "text", "hub")
    kind: Literal["span_corruption"] = "span_corruption"
    share: Share = 0.15
    mean_span: Annotated[float, Field(ge=1.0)] = 3.0


class SequenceClassification(Objective):
    """The class of a text (BERT, Devlin et al. 2019, 4.1).

    max_length: longer texts are cut to so many tokens, and counted. Default: the model's max_length.
    """

    architecture = "encoder"
    heads = ("classification",)
    sources = ("docstrings", "labelled", "hub")
    kind: Literal["sequence_classification"] = "sequence_classification"
    max_length: PositiveInt | None = None


class Seq2Seq(Objective):
    """The target text of a source text; each token is predicted from the true ones before it ("Attention Is All You Need", 3.1).

    languages: of source and target, such as [en, de]; `preprocessing` asks for them.
    preprocessing: of both texts: ``none``, or ``moses``: punctuation normalized, tokenized and lower-cased by `sacremoses`.
    max_length: longer pairs, in tokens, are left out of training, and counted. Default: the model's max_length.
    """

    architecture = "encoder_decoder"
    heads = ("language_model",)
    sources = ("parallel", "dates", "hub")
    kind: Literal["seq2seq"] = "seq2seq"
    languages: Annotated[tuple[str, str], Field(strict=False)] | None = None
    preprocessing: Literal["none", "moses"] = "none"
    max_length: PositiveInt | None = None

    @model_validator(mode="after")
    def _complete(self) -> Seq2Seq:
        if self.preprocessing == "moses" and self.languages is None:
            raise ValueError("preprocessing 'moses' needs languages, such as [en, de]")
        return self


class ImageClassification(Objective):
    """The class of an image (ViT, Dosovitskiy et al. 2021, 3.1). A training image is changed at random, anew each time.

    max_shift: how far it is moved at most, in pixels.
    max_turn: how far it is rotated at most, in degrees.
    flip: swap left and right in half of the cases.
    """

    architecture = "encoder"
    heads = ("classification",)
    sources = ("digits", "hub")
    inputs = "patches"
    kind: Literal["image_classification"] = "image_classification"
    max_shift: NonNegativeFloat = 0.0
    max_turn: NonNegativeFloat = 0.0
    flip: bool = False


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


AnyObjective = Annotated[
    Annotated[CausalLM | MaskedLM | SpanCorruption | Seq2Seq | SequenceClassification | ImageClassification, Field(discriminator="kind")],
    BeforeValidator(_by_name),
]
