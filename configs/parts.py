"""The parts of a model, each a small config: one that differs between families is chosen by its ``kind``, so that a new mechanism is a
new kind and not a new flag. Every one names its paper.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from configs.base import Config

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Projection = Literal["query", "key", "value", "output"]
Activation = Literal["relu", "gelu", "gelu_tanh", "quick_gelu", "silu"]


class NoPositions(Config):
    """Positions enter nowhere."""

    kind: Literal["none"] = "none"


class LearnedPositions(Config):
    """One trained vector a position, added to the embeddings ("Attention Is All You Need", 3.5, last paragraph).

    offset: rows of the table before position 0 (BART and OPT: 2; RoBERTa: padding id + 1). counted: which tokens have a position:
    ``all``, those that attention_mask lets through (``attended``: OPT), or those that are not the padding token (``not_padding``:
    RoBERTa); the others get the row before position 0.
    """

    kind: Literal["learned"] = "learned"
    offset: Annotated[int, Field(ge=0)] = 0
    counted: Literal["all", "attended", "not_padding"] = "all"


class SinusoidalPositions(Config):
    """Fixed sines and cosines, added to the embeddings ("Attention Is All You Need", 3.5).

    layout: ``interleaved`` as in the paper (sin, cos, sin, cos, ...) or ``halves`` as in Marian (all sines, then all cosines).
    """

    kind: Literal["sinusoidal"] = "sinusoidal"
    layout: Literal["interleaved", "halves"] = "interleaved"


class LinearScaling(Config):
    """Positions are divided by `factor` (Chen et al. 2023)."""

    kind: Literal["linear"] = "linear"
    factor: PositiveFloat


class DynamicScaling(Config):
    """The base grows with sequences longer than `original_max_length`; where that is left out, it is the model's max_length, and
    positions go on to `factor` times that ("NTK-aware" scaling, in YaRN, Peng et al. 2023, 3.1 and 3.3)."""

    kind: Literal["dynamic"] = "dynamic"
    factor: PositiveFloat
    original_max_length: PositiveInt | None = None


class Llama3Scaling(Config):
    """Low frequencies are divided by `factor`, high ones stay, and those between are blended (Llama 3.1)."""

    kind: Literal["llama3"] = "llama3"
    factor: PositiveFloat
    original_max_length: PositiveInt
    low_frequency_factor: PositiveFloat = 1.0
    high_frequency_factor: PositiveFloat = 4.0


class YarnScaling(Config):
    """As in llama3, straight over the pairs between the two that make `beta_fast` and `beta_slow` turns over `original_max_length`
    (default the model's max_length), and a factor on cosines and sines, default 0.1 ln(factor) + 1 (YaRN, Peng et al. 2023).

    truncate: the two pairs are rounded outwards to whole ones.
    """

    kind: Literal["yarn"] = "yarn"
    factor: PositiveFloat
    original_max_length: PositiveInt | None = None
    beta_fast: PositiveFloat = 32.0
    beta_slow: PositiveFloat = 1.0
    attention_factor: PositiveFloat | None = None
    truncate: bool = True


# How rotary frequencies are stretched to a longer context than they were trained on.
RotaryScaling = Annotated[LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling, Field(discriminator="kind")]


class RotaryPositions(Config):
    """Queries and keys are turned by an angle that grows with their position (RoFormer, Su et al. 2021, 3.2).

    base: the angle of pair i is position * base ** (-2 i / K). window_base: another base in sliding-window layers, which `scaling`
    then leaves alone (Gemma 3, ModernBERT). fraction: the share of each head that is turned (GPT-NeoX).
    """

    kind: Literal["rotary"] = "rotary"
    base: PositiveFloat = 10000.0
    window_base: PositiveFloat | None = None
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    scaling: RotaryScaling | None = None


class RelativePositions(Config):
    """A trained bias for each head and each bucket of distances (T5, Raffel et al. 2020, 2.1).

    num_buckets: in an encoder half for each direction. max_distance: from here on, all distances share the last bucket.
    """

    kind: Literal["relative"] = "relative"
    num_buckets: PositiveInt = 32
    max_distance: PositiveInt = 128


Positions = Annotated[
    NoPositions | LearnedPositions | SinusoidalPositions | RotaryPositions | RelativePositions,
    Field(discriminator="kind"),
]


class PatchInputs(Config):
    """Images cut into square patches, with a class token in front (ViT, Dosovitskiy et al. 2021, 3.1).

    bias: of the projection from a patch to a vector (CLIP has none).
    """

    kind: Literal["patches"] = "patches"
    image_size: PositiveInt
    patch_size: PositiveInt
    num_channels: PositiveInt = 3
    class_token: bool = True
    bias: bool = True

    @property
    def length(self) -> int:
        """Patches and the class token: the length of every sequence."""
        return (self.image_size // self.patch_size) ** 2 + self.class_token


class AudioInputs(Config):
    """Log-mel frames through two convolutions, of which the second halves their number (Whisper, Radford et al. 2022, 2.2).

    max_length: the encoder's longest sequence, after the convolutions; the model's max_length is the decoder's.
    """

    kind: Literal["audio"] = "audio"
    num_mel_bins: PositiveInt = 80
    max_length: PositiveInt = 1500


class TokenInputs(Config):
    """Token ids, looked up in a table of `vocab_size` rows."""

    kind: Literal["tokens"] = "tokens"


Inputs = Annotated[TokenInputs | PatchInputs | AudioInputs, Field(discriminator="kind")]


class Embedding(Config):
    """The way into a stack of layers.

    scale: multiply by sqrt(width) ("Attention Is All You Need", 3.4). norm: normalise the sum (BERT). token_types: number of
    segment ids (BERT). width: width of the tables when their normalised sum is projected to the model's (ELECTRA).
    """

    scale: bool = False
    norm: bool = False
    token_types: Annotated[int, Field(ge=0)] = 0
    width: PositiveInt | None = None


class Norm(Config):
    """Normalisation, and where it stands.

    kind: ``layer`` (Ba et al. 2016) or ``rms`` (Zhang and Sennrich 2019). placement: ``after`` the residual sum as in the paper,
    ``before`` each sublayer as in GPT-2, or ``both`` around each sublayer as in Gemma 2. bias: layer norm's shift.
    unit_offset: the weight is stored as w - 1 (Gemma). first: whether the first sublayer has one (ModernBERT's has none: the
    embedding's own stands right before it).
    """

    kind: Literal["layer", "rms"] = "layer"
    placement: Literal["before", "after", "both"] = "before"
    epsilon: PositiveFloat = 1e-5
    bias: bool = True
    unit_offset: bool = False
    first: bool = True

    @model_validator(mode="before")
    @classmethod
    def _kind_fits(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == "rms":
            if values.get("bias"):
                raise ValueError("kind 'rms' has no bias; set bias: false or leave it out")
            return {**values, "bias": False}
        if isinstance(values, dict) and values.get("unit_offset"):
            raise ValueError("unit_offset is for kind 'rms'; set kind: rms or leave it out")
        return values


class Attention(Config):
    """Multi-head attention ("Attention Is All You Need", 3.2).

    num_key_value_heads: fewer heads for keys and values (grouped queries, Ainslie et al. 2023); default num_heads.
    head_size: default width / num_heads. bias: which of the four projections have one. scale: factor on the scores, default
    1/sqrt(head_size). soft_cap: scores become cap * tanh(scores / cap) (Gemma 2). window: a token sees itself and the window - 1
    before it (in an encoder: the window // 2 tokens on either side), in the layers that window_layers repeats over (``w`` windowed,
    ``f`` full). query_key_norm: normalise each head's queries and keys (Qwen 3).
    """

    num_heads: PositiveInt
    num_key_value_heads: PositiveInt | None = None
    head_size: PositiveInt | None = None
    bias: Annotated[tuple[Projection, ...], Field(strict=False)] = ()
    scale: PositiveFloat | None = None
    soft_cap: PositiveFloat | None = None
    window: PositiveInt | None = None
    window_layers: Annotated[str, Field(pattern="^[wf]+$")] = "w"
    query_key_norm: bool = False


class Experts(Config):
    """Several feed-forward networks, of which each token takes the best few (Mixtral, Jiang et al. 2024)."""

    count: PositiveInt
    per_token: PositiveInt = 2


class FeedForward(Config):
    """Position-wise feed-forward network ("Attention Is All You Need", 3.3).

    gated: activation(gate(x)) * up(x) in place of activation(up(x)) (Shazeer 2020).
    """

    width: PositiveInt
    activation: Activation = "gelu"
    gated: bool = False
    bias: bool = True
    experts: Experts | None = None


class Transform(Config):
    """A dense layer and its activation, perhaps a norm, on the way to a head (BERT, Devlin et al. 2019)."""

    activation: Activation | Literal["tanh"]
    norm: bool = False
    bias: bool = True


class Pooler(Config):
    """One vector for a whole sequence: its ``first`` token (BERT, ViT), its ``last`` that attention_mask lets through (GPT-2, BART,
    CLIP), or the ``mean`` of those."""

    kind: Literal["first", "last", "mean"] = "first"
    transform: Transform | None = None


class Head(Config):
    """What is read from the last hidden state; by classification and next_sentence, from the pooler's vector.

    tied: a language-model head, masked or not, shares the token table ("Attention Is All You Need", 3.4). soft_cap as in attention.
    scale: factor on the hidden state before the head (T5: width ** -0.5). transform: what stands before the head's own matrix; a
    language model's ends in the width of the token table. labels: what the classes are called, if anything.
    """

    kind: Literal["none", "language_model", "masked_language_model", "classification", "token_classification", "next_sentence"] = (
        "language_model"
    )
    tied: bool = True
    bias: bool = False
    transform: Transform | None = None
    num_labels: PositiveInt | None = None
    labels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    soft_cap: PositiveFloat | None = None
    scale: PositiveFloat | None = None

    @property
    def is_language_model(self) -> bool:
        """A logit for each token of the vocabulary."""
        return self.kind in ("language_model", "masked_language_model")

    @property
    def num_classes(self) -> int:
        """Classes of a classifier; the next sentence is one or is not."""
        return 2 if self.kind == "next_sentence" else self.num_labels or 0


class Dropout(Config):
    """Dropout rates in training. One number stands for embedding, attention and residual alike; head: before a classifier."""

    embedding: Rate = 0.0
    attention: Rate = 0.0
    residual: Rate = 0.0
    feed_forward: Rate = 0.0
    head: Rate = 0.0


class Initialization(Config):
    """Weights ~ N(0, std); the projections that feed the residual sum are divided by sqrt(2 num_layers) (GPT-2, 2.3)."""

    std: PositiveFloat = 0.02
    scale_residual: bool = False


class SpecialTokens(Config):
    """Ids with a meaning. `eos` may be several."""

    bos: int | None = None
    eos: Annotated[tuple[int, ...], Field(strict=False)] = ()
    pad: int | None = None
    decoder_start: int | None = None
