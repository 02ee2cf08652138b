"""What a model is trained to do. `kind` says which; a name alone stands for an objective with its usual settings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from configs.base import Config
from configs.model import ModelConfig


class Objective(Config):
    """label_smoothing: share of each target that is spread over all classes in training ("Attention Is All You Need", 5.4)."""

    architecture: ClassVar[str]
    heads: ClassVar[tuple[str, ...]]
    sources: ClassVar[tuple[str, ...]]
    inputs: ClassVar[str] = "tokens"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0

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


class CausalLM(Objective):
    """The next token of a text (GPT, Radford et al. 2018, equation 1)."""

    architecture = "decoder"
    heads = ("language_model",)
    sources = ("stdlib", "text", "hub")
    kind: Literal["causal_lm"] = "causal_lm"


class Seq2Seq(Objective):
    """The target of a source, each token given the right ones before it ("Attention Is All You Need", 3.1)."""

    architecture = "encoder_decoder"
    heads = ("language_model",)
    sources = ("parallel", "dates")
    kind: Literal["seq2seq"] = "seq2seq"


class ImageClassification(Objective):
    """The class of an image (ViT, Dosovitskiy et al. 2021, 3.1)."""

    architecture = "encoder"
    heads = ("classification",)
    sources = ("digits",)
    inputs = "patches"
    kind: Literal["image_classification"] = "image_classification"


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


AnyObjective = Annotated[
    Annotated[CausalLM | Seq2Seq | ImageClassification, Field(discriminator="kind")],
    BeforeValidator(_by_name),
]
