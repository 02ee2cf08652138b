"""The parts of a model, each a small config that names its paper; how it knows positions stands in `configs.positions`.

Where families differ in a mechanism, `kind` chooses it: a new mechanism is a new kind, not a new flag.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from configs.base import Config

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Projection = Literal["query", "key", "value", "output"]
Activation = Literal["relu", "gelu", "gelu_tanh", "quick_gelu", "silu"]


class PatchInputs(Config):
    """An image, cut into square patches, each projected to one vector (ViT, Dosovitskiy et al. 2021, 3.1, equation 1).

    image_size: height and width of an image, in pixels.
    patch_size: height and width of a patch, in pixels.
    num_channels: 3 for red, green and blue, 1 for gray.
    class_token: put one trained vector before the patches, from which the image is classified.
    bias: give the projection a bias (CLIP's has none).
    """

    # Of every kind of inputs: under what name a model takes them.
    name: ClassVar[str] = "pixel_values"
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

    num_mel_bins: values of each frame.
    length: of every sequence after the convolutions; the model's max_length is the decoder's.
    """

    name: ClassVar[str] = "input_features"
    kind: Literal["audio"] = "audio"
    num_mel_bins: PositiveInt = 80
    length: PositiveInt = 1500

    @property
    def num_frames(self) -> int:
        """Frames of a recording; shorter ones are filled up with silence."""
        return 2 * self.length


class TokenInputs(Config):
    """Token ids, each looked up in a table of `vocab_size` rows ("Attention Is All You Need", 3.4)."""

    name: ClassVar[str] = "input_ids"
    kind: Literal["tokens"] = "tokens"


Inputs = Annotated[TokenInputs | PatchInputs | AudioInputs, Field(discriminator="kind")]


class Embedding(Config):
    """What is done to the embeddings on their way into a stack of layers.

    scale: multiply token vectors by sqrt(width) ("Attention Is All You Need", 3.4).
    norm: normalize the sum of token, position and segment vectors (BERT).
    token_types: how many segments there are, each with a trained vector; 0 for none (BERT, Devlin et al. 2019, figure 2).
    width: of the tables, where the sum is then projected to the model's width (ALBERT, Lan et al. 2020, 3.1; ELECTRA). Default: the
        model's width, and no projection.
    """

    scale: bool = False
    norm: bool = False
    token_types: Annotated[int, Field(ge=0)] = 0
    width: PositiveInt | None = None


class Norm(Config):
    """Normalization of hidden states, and where it stands in a layer.

    kind: ``layer`` (Ba et al. 2016, equation 4) or ``rms``, which does not subtract the mean (Zhang and Sennrich 2019, equation 4).
    placement: ``after`` the residual sum ("Attention Is All You Need", 3.1), ``before`` each sublayer (GPT-2, 2.3; Xiong et al. 2020),
        or ``both`` before and after each sublayer (Gemma 2).
    epsilon: added to the variance, or to the mean square, before its root is taken.
    bias: add a trained vector after layer normalization.
    unit_offset: the checkpoint holds the weight minus 1 (Gemma).
    first: whether the first sublayer has a norm before it. ModernBERT's has none: that on the embeddings stands right there.
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

    num_heads: query heads, H.
    num_key_value_heads: key/value heads, G, each shared by H / G query heads: grouped-query attention (Ainslie et al. 2023, 2.2); 1 is
        multi-query attention (Shazeer 2019). Default: num_heads.
    head_size: values of each query, key and value, K. Default: width / num_heads.
    bias: which of the four projections have one, of ``query``, ``key``, ``value`` and ``output``.
    scale: factor on the scores. Default: 1 / sqrt(head_size), as in the paper.
    soft_cap: scores become cap * tanh(scores / cap), and so stay between -cap and cap (Gemma 2, section 2; Bello et al. 2016).
    window: in tokens. A decoder's token sees itself and the window - 1 tokens before it (Mistral 7B, Jiang et al. 2023, 2); an encoder's
        sees itself and the window // 2 tokens on either side (Longformer, Beltagy et al. 2020, 3.1). Default: it sees all.
    window_layers: which layers have the window: ``w`` has it, ``f`` (full) has not; the letters are repeated over all layers.
    query_key_norm: normalize each head's queries and keys (Henry et al. 2020; as Qwen 3 and Gemma 3 do, before the rotation).
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
    """Mixture of experts: of several feed-forward networks, each token uses a few (Shazeer et al. 2017, 2; Mixtral, Jiang et al. 2024).

    count: how many networks there are.
    per_token: how many of them a token uses: those to which the router gives the highest scores.
    """

    count: PositiveInt
    per_token: PositiveInt = 2


class FeedForward(Config):
    """Position-wise feed-forward network ("Attention Is All You Need", 3.3).

    width: of the hidden layer between its two projections, F.
    activation: ``relu``, ``gelu``, ``gelu_tanh`` (its approximation), ``quick_gelu`` (x sigmoid(1.702 x)), or ``silu`` (x sigmoid(x), also
        called swish); the formulas stand in feed_forward.py.
    gated: activation(gate(x)) * up(x) in place of activation(up(x)): with silu SwiGLU, with gelu GEGLU (Shazeer 2020, 2).
    bias: give all projections a bias.
    experts: several such networks in place of one. Default: one.
    """

    width: PositiveInt
    activation: Activation = "gelu"
    gated: bool = False
    bias: bool = True
    experts: Experts | None = None


class Transform(Config):
    """A dense layer, its activation, and perhaps a norm, between the hidden states and a head (BERT, Devlin et al. 2019).

    activation: as in `FeedForward`, or ``tanh``.
    norm: normalize what comes out.
    bias: give the layer a bias.
    """

    activation: Activation | Literal["tanh"]
    norm: bool = False
    bias: bool = True


class Pooler(Config):
    """How a sequence becomes one vector.

    kind: the vector of the ``first`` token (BERT, ViT), that of the ``last`` token with 1 in attention_mask (GPT-2, BART), that of the
        first token that is an ``end`` of texts (CLIP, Radford et al. 2021, 2.4), that of the token with the ``highest`` id (CLIP's first
        files), or the ``mean`` over all tokens with 1 in attention_mask (Sentence-BERT, Reimers and Gurevych 2019, 3).
    transform: a layer after it. Default: none.
    """

    kind: Literal["first", "last", "end", "highest", "mean"] = "first"
    transform: Transform | None = None


class Head(Config):
    """What is computed from the last hidden states.

    kind: ``none`` gives the hidden states, or the pooler's vector; ``language_model`` and ``masked_language_model`` a logit for each token
        of the vocabulary; ``token_classification`` logits of classes for each token; ``classification`` and ``next_sentence`` (two classes:
        it is, it is not) logits of classes for each sequence, from the pooler's vector; ``projection`` that vector in another width, in
        which texts and images are compared (CLIP, Radford et al. 2021, 2.3).
    tied: a language model's output matrix is the token table (Press and Wolf 2017; "Attention Is All You Need", 3.4).
    bias: give the output matrix a bias.
    transform: a layer before the output matrix; a language model's gives vectors as wide as the token table. Default: none.
    width: values of a projection's vector; needed for it.
    num_labels: how many classes there are; needed for classification.
    labels: the names of the classes. Default: they have none.
    problem_type: what a classifier's outputs mean, under Hugging Face's names: its pipelines ask, and no number here depends on it.
        Default: nothing is said.
    soft_cap: logits become cap * tanh(logits / cap), as scores do in `Attention`. Default: they stay as they are.
    scale: factor on the hidden states before the output matrix (T5: width ** -0.5). Default: none.
    """

    kind: Literal[
        "none", "language_model", "masked_language_model", "classification", "token_classification", "next_sentence", "projection"
    ] = "language_model"
    tied: bool = True
    bias: bool = False
    transform: Transform | None = None
    width: PositiveInt | None = None
    num_labels: PositiveInt | None = None
    labels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] | None = None
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

    @property
    def num_outputs(self) -> int:
        """Rows of the matrix of a classifier or a projection."""
        return self.width or 0 if self.kind == "projection" else self.num_classes


class Dropout(Config):
    """Dropout rates in training ("Attention Is All You Need", 5.4). A number in place of this group sets embedding, attention and residual.

    embedding: on the sum of token, position and segment vectors.
    attention: on the attention weights, after the softmax.
    residual: on what each sublayer adds to the residual sum.
    feed_forward: on the hidden layer of the feed-forward network.
    head: before a classifier.
    """

    embedding: Rate = 0.0
    attention: Rate = 0.0
    residual: Rate = 0.0
    feed_forward: Rate = 0.0
    head: Rate = 0.0


class Initialization(Config):
    """Weights before training; norms begin as ones, biases as zeros.

    kind: how matrices and tables are drawn: ``normal``, from N(0, std^2); or ``xavier``, as for the original Transformer: matrices evenly
        within sqrt(6 / (inputs + outputs)) of zero (Glorot and Bengio 2010, eq. 16), tables from N(0, 1 / their width).
    std: standard deviation of ``normal``.
    scale_residual: divide by sqrt(2 num_layers) in the projections that end in the residual sum (GPT-2, Radford et al. 2019, 2.3).
    """

    kind: Literal["normal", "xavier"] = "normal"
    std: PositiveFloat = 0.02
    scale_residual: bool = False


class SpecialTokens(Config):
    """Ids of tokens that have a meaning; a model without one leaves it out.

    bos: begins a text.
    eos: one or several; each of them ends a text.
    pad: fills up sequences of a batch that are shorter than its longest.
    decoder_start: what an encoder-decoder's decoder reads first.
    """

    bos: int | None = None
    eos: Annotated[tuple[int, ...], Field(strict=False)] = ()
    pad: int | None = None
    decoder_start: int | None = None
