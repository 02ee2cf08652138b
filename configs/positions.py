"""How a model knows in what order its tokens stand. Each way is one ``kind`` of `Positions`, and names its paper."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from configs.base import Config


class NoPositions(Config):
    """No positions at all: without a causal mask, the order of the tokens makes no difference."""

    kind: Literal["none"] = "none"


class LearnedPositions(Config):
    """One trained vector for each position, added to the embeddings (Gehring et al. 2017, 3.1; "Attention Is All You Need", 3.5).

    offset: rows of the table that stand before position 0, as some checkpoints have them (BART and OPT: 2; RoBERTa: padding id + 1).
    counted: which tokens advance the position; the others are given the row before position 0.
        ``all``: every token. ``attended``: those with 1 in attention_mask (OPT). ``not_padding``: those whose id is not the padding
        token's (RoBERTa).
    """

    kind: Literal["learned"] = "learned"
    offset: Annotated[int, Field(ge=0)] = 0
    counted: Literal["all", "attended", "not_padding"] = "all"


class SinusoidalPositions(Config):
    """Fixed sines and cosines, added to the embeddings ("Attention Is All You Need", 3.5).

    layout: ``interleaved`` as in the paper (sin, cos, sin, cos, ...), or ``halves`` as in Marian (all sines, then all cosines).
    """

    kind: Literal["sinusoidal"] = "sinusoidal"
    layout: Literal["interleaved", "halves"] = "interleaved"


class LinearScaling(Config):
    """Position interpolation: every position is divided by `factor` (Chen et al. 2023, 2.3).

    factor: how many times longer the context becomes.
    """

    kind: Literal["linear"] = "linear"
    factor: PositiveFloat


class DynamicScaling(Config):
    """Dynamic NTK scaling: the rotary base grows with the length of the sequence (YaRN, Peng et al. 2023, 3.1 and 3.3).

    factor: how many times longer the context becomes, at most.
    original_max_length: tokens up to which nothing changes. Default: the model's max_length, and then the longest sequence is `factor`
        times that.
    """

    kind: Literal["dynamic"] = "dynamic"
    factor: PositiveFloat
    original_max_length: PositiveInt | None = None


class Llama3Scaling(Config):
    """Low frequencies are divided by `factor`, high ones stay, and those between are blended (Llama 3.1's reference code).

    factor: how many times longer the context becomes.
    original_max_length: tokens of the context in pretraining.
    low_frequency_factor: a pair that turns fewer times than this in the original context has a low frequency.
    high_frequency_factor: a pair that turns more times than this in the original context has a high frequency.
    """

    kind: Literal["llama3"] = "llama3"
    factor: PositiveFloat
    original_max_length: PositiveInt
    low_frequency_factor: PositiveFloat = 1.0
    high_frequency_factor: PositiveFloat = 4.0


class YarnScaling(Config):
    """As `Llama3Scaling`, but blended linearly in the number of the pair, as YaRN's released code has it, and scores are scaled too (Peng
    et al. 2023, 3.2, where it is linear in the turns, and 3.4).

    factor: how many times longer the context becomes.
    original_max_length: tokens of the context in pretraining. Default: the model's max_length.
    beta_fast: pairs that turn more times than this in the original context keep their frequency (beta in the paper).
    beta_slow: pairs that turn fewer times than this have theirs divided by `factor` (alpha in the paper).
    attention_factor: factor on cosines and sines, so that scores grow with its square. Default: 0.1 ln(factor) + 1 (equation 22).
    truncate: round the borders between the three groups outwards to whole pairs.
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
    """Queries and keys are rotated, pair by pair, by angles that grow with their position (RoFormer, Su et al. 2021, 3.2).

    base: pair i is rotated by position * base ** (-2 i / K), where K is the number of rotated values in a head.
    window_base: another base in layers with a sliding window, to which `scaling` does not apply (Gemma 3, ModernBERT). Default: `base`.
    fraction: the share of each head's values that is rotated; the others stay as they are (GPT-NeoX, Black et al. 2022, 2.1).
    scaling: how the frequencies are changed for a longer context than in pretraining. Default: not at all.
    """

    kind: Literal["rotary"] = "rotary"
    base: PositiveFloat = 10000.0
    window_base: PositiveFloat | None = None
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    scaling: RotaryScaling | None = None


class RelativePositions(Config):
    """A trained number for each head and each bucket of distances between query and key, added to the scores (T5, Raffel et al. 2020, 2.1).

    num_buckets: rows of the table. In an encoder half of them are for keys before the query, and half for those after it.
    max_distance: in tokens; all distances from here on share the last bucket.
    """

    kind: Literal["relative"] = "relative"
    num_buckets: PositiveInt = 32
    max_distance: PositiveInt = 128


Positions = Annotated[
    NoPositions | LearnedPositions | SinusoidalPositions | RotaryPositions | RelativePositions,
    Field(discriminator="kind"),
]
