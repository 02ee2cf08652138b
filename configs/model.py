"""What a model is. One config describes the same model in PyTorch and in TensorFlow.

The fields are laid out for every family in docs/families.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from configs.base import Config
from configs.parts import (
    Attention,
    AudioInputs,
    Dropout,
    Embedding,
    FeedForward,
    Head,
    Initialization,
    Inputs,
    Norm,
    PatchInputs,
    Pooler,
    SpecialTokens,
    TokenInputs,
)
from configs.positions import DynamicScaling, LearnedPositions, NoPositions, Positions, RelativePositions, RotaryPositions

TOKENS = TokenInputs()


class ModelConfig(Config):
    """A whole model. Its parts are described in `configs.parts` and `configs.positions`.

    family: the file of weight_mapping/families that has its tensors' names in Hugging Face's files, such as ``gpt2``.
    architecture: ``encoder`` (each token sees all), ``decoder`` (each token sees those before it), or ``encoder_decoder`` (a decoder
        that looks at what an encoder made of another text: "Attention Is All You Need", figure 1).
    vocab_size: rows of the token table, V; 0 where no tokens go in, only images.
    max_length: the longest sequence, in tokens or patches; behind an encoder of audio, the decoder's.
    width: values of each hidden state, D.
    num_layers: layers of each stack.
    num_decoder_layers: layers of the decoder, where it has another number than the encoder. Default: num_layers.
    parallel_residual: attention and feed-forward read the same input, and both are added to it (GPT-J, Wang and Komatsuzaki 2021; GPT-NeoX,
        Black et al. 2022, 2.1).
    inputs: what goes in: token ids, an image in patches, or audio.
    embedding: what is done to the embeddings before the first layer.
    positions: how the model knows in what order its tokens stand.
    norm: which normalization, and where.
    attention: heads, windows, and what is done to the scores.
    feed_forward: the network behind the attention, or several of them.
    pooler: how a sequence becomes one vector. Default: it does not.
    head: what is computed from the last hidden states.
    dropout: rates in training; one number sets those of embedding, attention and residual.
    initialization: how weights are drawn before training.
    special_tokens: ids that begin, end or pad texts.
    """

    family: str
    architecture: Literal["encoder", "decoder", "encoder_decoder"]
    vocab_size: Annotated[int, Field(ge=0)] = 0
    max_length: PositiveInt
    width: PositiveInt
    num_layers: PositiveInt
    num_decoder_layers: PositiveInt | None = None
    parallel_residual: bool = False
    inputs: Inputs = TOKENS
    embedding: Embedding = Embedding()
    positions: Positions = LearnedPositions()
    norm: Norm = Norm()
    attention: Attention
    feed_forward: FeedForward
    pooler: Pooler | None = None
    head: Head = Head()
    dropout: Dropout = Dropout()
    initialization: Initialization = Initialization()
    special_tokens: SpecialTokens = SpecialTokens()

    @field_validator("dropout", mode="before")
    @classmethod
    def _one_rate_for_all(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"embedding": float(value), "attention": float(value), "residual": float(value)}
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelConfig:
        self._check_heads()
        self._check_positions()
        self._check_inputs()
        self._check_layers()
        self._check_head()
        self._check_pooler()
        self._check_special_tokens()
        return self

    def _check_heads(self) -> None:
        heads, key_value_heads = self.attention.num_heads, self.num_key_value_heads
        if self.attention.head_size is None and self.width % heads:
            raise ValueError(
                f"attention.num_heads={heads} does not divide width={self.width}; change one of them or set attention.head_size"
            )
        if heads % key_value_heads:
            raise ValueError(
                f"attention.num_key_value_heads={key_value_heads} does not divide attention.num_heads={heads}; "
                f"each key/value head serves a whole number of query heads"
            )

    def _check_positions(self) -> None:
        if isinstance(self.positions, RotaryPositions) and (self.rotary_size % 2 or not self.rotary_size):
            raise ValueError(
                f"positions.kind='rotary' turns pairs, but {self.rotary_size} of each head's values are to be turned; "
                f"make head_size * fraction even and more than 0"
            )
        if isinstance(self.positions, RelativePositions) and self.positions.num_buckets % 2:
            raise ValueError(f"positions.num_buckets={self.positions.num_buckets} is odd; half of the buckets are for each direction")
        if isinstance(self.positions, LearnedPositions) and self.positions.counted != "all" and self.positions.offset == 0:
            raise ValueError(f"positions.counted='{self.positions.counted}' needs a row for what is not counted; set positions.offset")
        if isinstance(self.positions, LearnedPositions) and self.positions.counted == "not_padding" and self.special_tokens.pad is None:
            raise ValueError("positions.counted='not_padding' needs special_tokens.pad")
        if isinstance(self.positions, LearnedPositions) and self.positions.counted == "not_padding" and self.architecture != "encoder":
            raise ValueError("positions.counted='not_padding' is for encoders; a decoder's cache holds no ids to count, use 'attended'")

    def _check_inputs(self) -> None:
        if isinstance(self.inputs, PatchInputs) and self.inputs.image_size % self.inputs.patch_size:
            raise ValueError(f"inputs.patch_size={self.inputs.patch_size} does not divide inputs.image_size={self.inputs.image_size}")
        if isinstance(self.inputs, PatchInputs) and (self.embedding.scale or self.embedding.token_types or self.embedding.width):
            raise ValueError("embedding.scale, embedding.token_types and embedding.width are for tokens, and inputs.kind is 'patches'")
        if isinstance(self.inputs, PatchInputs) and self.inputs.length != self.max_length:
            raise ValueError(f"max_length={self.max_length}, and an image makes a sequence of {self.inputs.length}; set it to that")
        if not self.vocab_size and not (isinstance(self.inputs, PatchInputs) and self.architecture == "encoder"):
            raise ValueError("vocab_size must be set; only an encoder of images has no tokens")
        if isinstance(self.inputs, AudioInputs):
            self._check_audio()
        if isinstance(self.inputs, PatchInputs) and (
            self.architecture != "encoder"
            or self.head.is_language_model
            or self.positions.kind not in ("none", "learned")
            or (isinstance(self.positions, LearnedPositions) and self.positions.offset)
        ):
            raise ValueError(
                "inputs.kind='patches' is for an encoder with learned positions or none, without offset, and no language-model head"
            )

    def _check_audio(self) -> None:
        if self.width % 2:
            raise ValueError(f"width={self.width} is odd, and inputs.kind='audio' has as many sines as cosines; make it even")
        if self.architecture != "encoder_decoder":
            raise ValueError(f"inputs.kind='audio' needs architecture 'encoder_decoder', and this one is '{self.architecture}'")
        if self.positions != LearnedPositions():
            raise ValueError("inputs.kind='audio' is for learned positions without offset; set positions.kind: learned")
        if self.embedding.norm or self.embedding.token_types or self.embedding.width:
            raise ValueError("embedding.norm, embedding.token_types and embedding.width are for tokens, and inputs.kind is 'audio'")

    def _check_layers(self) -> None:
        if self.num_decoder_layers is not None and self.architecture != "encoder_decoder":
            raise ValueError(
                f"num_decoder_layers is for architecture 'encoder_decoder', and this one is '{self.architecture}'; use num_layers"
            )
        if self.parallel_residual and (self.architecture == "encoder_decoder" or self.norm.placement == "after"):
            raise ValueError("parallel_residual has no place for cross-attention, nor for a norm after the sum; use norm.placement: before")
        if not self.norm.first and self.norm.placement == "after":
            raise ValueError("norm.first=False needs norm.placement 'before' or 'both'; after the sum every sublayer has one")
        experts = self.feed_forward.experts
        if experts and experts.per_token > experts.count:
            raise ValueError(f"feed_forward.experts.per_token={experts.per_token} is more than the {experts.count} experts there are")

    def _check_head(self) -> None:
        if self.head.kind == "language_model" and self.architecture == "encoder":
            raise ValueError("head.kind='language_model' needs a decoder, and architecture is 'encoder'; use 'masked_language_model'")
        if "classification" in self.head.kind and self.head.num_labels is None:
            raise ValueError(f"head.kind='{self.head.kind}' needs head.num_labels")
        if self.head.labels and len(self.head.labels) != self.head.num_labels:
            raise ValueError(
                f"head.labels has {len(self.head.labels)} names, and head.num_labels is {self.head.num_labels}; make them equal"
            )
        if self.head.kind == "next_sentence" and self.head.num_labels not in (None, 2):
            raise ValueError(f"head.num_labels is {self.head.num_labels}, and of two sentences the second follows or not; leave it out")
        # Models without a head may keep what their files say of one.
        if not (self.head.is_language_model or self.head.kind == "none") and (self.head.soft_cap or self.head.scale):
            raise ValueError(f"head.soft_cap and head.scale are for a vocabulary, and head.kind is '{self.head.kind}'; leave them out")
        if self.head.kind == "projection" and self.head.width is None:
            raise ValueError("head.kind='projection' needs head.width")
        if self.head.kind != "projection" and self.head.width is not None:
            raise ValueError(f"head.width is for head.kind 'projection', and this one is '{self.head.kind}'; leave it out")
        if self.head.kind == "projection" and self.head.transform is not None:
            raise ValueError("head.transform is for classes or a vocabulary, and head.kind is 'projection'; use pooler.transform")
        if self.head.kind in ("classification", "next_sentence", "projection") and self.pooler is None:
            raise ValueError(f"head.kind='{self.head.kind}' needs a pooler, such as pooler: {{kind: first}}")

    def _check_pooler(self) -> None:
        if self.pooler is None:
            return
        if self.head.is_language_model or self.head.kind == "token_classification":
            raise ValueError(
                f"pooler makes one vector of a sequence, and head.kind='{self.head.kind}' reads every token; leave the pooler out"
            )
        if self.pooler.kind in ("end", "highest") and self.inputs.kind != "tokens":
            raise ValueError(f"pooler.kind='{self.pooler.kind}' looks for a token, and inputs.kind is '{self.inputs.kind}'")
        if self.pooler.kind == "end" and not self.special_tokens.eos:
            raise ValueError("pooler.kind='end' looks for a token that ends a text; set special_tokens.eos, or another pooler.kind")

    def _check_special_tokens(self) -> None:
        for name, ids in self.special_tokens.model_dump().items():
            for token in ids if isinstance(ids, tuple) else (ids,):
                if token is not None and not 0 <= token < self.vocab_size:
                    raise ValueError(f"special_tokens.{name}={token} is outside the vocabulary of {self.vocab_size}")

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks of layers that there are, in the order in which data flows."""
        return ("encoder", "decoder") if self.architecture == "encoder_decoder" else (self.architecture,)

    def inputs_of(self, stack: str) -> PatchInputs | AudioInputs | TokenInputs:
        """What goes into a stack: a decoder behind an encoder reads tokens."""
        return self.inputs if stack == self.stacks[0] else TOKENS

    @property
    def token_stacks(self) -> tuple[str, ...]:
        """The stacks that read tokens; all share the table of the first."""
        return tuple(stack for stack in self.stacks if self.inputs_of(stack).kind == "tokens")

    def spelled_out(self) -> dict[str, Any]:
        """All values, those too that the config leaves to others: two configs that compute the same have the same here."""
        values = self.model_dump()
        if self.architecture == "encoder_decoder":
            values["num_decoder_layers"] = self.layers_of("decoder")
        values["attention"] |= {"num_key_value_heads": self.num_key_value_heads, "head_size": self.head_size}
        layers, pattern = max(map(self.layers_of, self.stacks)), self.attention.window_layers
        values["attention"]["window_layers"] = (pattern * layers)[:layers] if self.attention.window else None
        return values

    def layers_of(self, stack: str) -> int:
        """How many layers a stack has."""
        return self.num_decoder_layers or self.num_layers if stack == "decoder" else self.num_layers

    def window_of(self, layer: int) -> int | None:
        """The window of a layer, or None where it sees everything."""
        pattern = self.attention.window_layers
        return self.attention.window if pattern[layer % len(pattern)] == "w" else None

    def longest_of(self, stack: str) -> int | None:
        """The longest sequence of a stack; None where there is no end."""
        inputs = self.inputs_of(stack)
        return inputs.length if isinstance(inputs, AudioInputs) else self.longest

    @property
    def longest(self) -> int | None:
        """The longest sequence that positions are known for; None where they know no end."""
        if isinstance(self.positions, NoPositions | RelativePositions):
            return None
        scaling = self.positions.scaling if isinstance(self.positions, RotaryPositions) else None
        if isinstance(scaling, DynamicScaling) and scaling.original_max_length is None:
            return max(self.max_length, int(self.max_length * scaling.factor))
        return self.max_length

    @property
    def num_key_value_heads(self) -> int:
        return self.attention.num_key_value_heads or self.attention.num_heads

    @property
    def head_size(self) -> int:
        return self.attention.head_size or self.width // self.attention.num_heads

    @property
    def rotary_size(self) -> int:
        """How many values of each head are turned."""
        return int(self.head_size * self.positions.fraction) if isinstance(self.positions, RotaryPositions) else 0

    @property
    def head_width(self) -> int:
        """Width of what a language model's head turns into logits: the token table's, where it shares that or a transform leads to it."""
        is_tables = self.head.tied or self.head.transform is not None
        return self.embedding.width or self.width if is_tables else self.width

    @property
    def attention_scale(self) -> float:
        """1/sqrt(K) unless the config says otherwise ("Attention Is All You Need", equation 1)."""
        return self.attention.scale or self.head_size**-0.5
