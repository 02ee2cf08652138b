"""BERT (Devlin et al. 2019): an encoder whose norms stand after the sum, with segments, a pooler, and four heads.

bert-base-uncased holds two heads and the pooler, and old names of norms; sentence models are saved without the pooler.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from configs import ModelConfig
from weight_mapping.family import Family
from weight_mapping.table import ACTIVATIONS, Field, Part, Rule, special_tokens

ATTENTION = "encoder.layers.{layer}.self_attention"
FEED_FORWARD = "encoder.layers.{layer}.feed_forward"
POOLER = {"kind": "first", "transform": {"activation": "tanh"}}
MASKED = {"head.kind": "masked_language_model"}
SENTENCES = {"head.kind": "classification"}
TOKENS = {"head.kind": "token_classification"}
NEXT = {"head.kind": "next_sentence"}


def dense(theirs: str, ours: str, **settings: Any) -> Iterator[Rule]:
    """Weight and bias of a linear layer."""
    for kind in ("weight", "bias"):
        yield Rule(f"{theirs}.{kind}", (f"{ours}.{kind}",), **settings)


def norm(theirs: str, ours: str, **settings: Any) -> Iterator[Rule]:
    """Weight and bias of a norm, which were gamma and beta."""
    for kind, old in {"weight": "gamma", "bias": "beta"}.items():
        yield Rule(f"{theirs}.{kind}", (f"{ours}.{kind}",), old=(f"{theirs}.{old}",), **settings)


def encoder(prefix: str) -> tuple[Rule, ...]:
    """BERT's stack, as RoBERTa and ELECTRA have it too."""
    layer = f"{prefix}encoder.layer.{{layer}}"
    return (
        Rule(f"{prefix}embeddings.word_embeddings.weight", ("encoder.embeddings.token.weight",)),
        Rule(f"{prefix}embeddings.position_embeddings.weight", ("encoder.embeddings.position.weight",)),
        Rule(f"{prefix}embeddings.token_type_embeddings.weight", ("encoder.embeddings.token_type.weight",)),
        *norm(f"{prefix}embeddings.LayerNorm", "encoder.embeddings.norm"),
        *dense(f"{layer}.attention.self.query", f"{ATTENTION}.query"),
        *dense(f"{layer}.attention.self.key", f"{ATTENTION}.key"),
        *dense(f"{layer}.attention.self.value", f"{ATTENTION}.value"),
        *dense(f"{layer}.attention.output.dense", f"{ATTENTION}.output"),
        *norm(f"{layer}.attention.output.LayerNorm", f"{ATTENTION}.norm"),
        *dense(f"{layer}.intermediate.dense", f"{FEED_FORWARD}.up"),
        *dense(f"{layer}.output.dense", f"{FEED_FORWARD}.down"),
        *norm(f"{layer}.output.LayerNorm", f"{FEED_FORWARD}.norm"),
    )


def transform(norm: bool, key: str = "hidden_act") -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A head's dense layer with the activation of the model's layers, which stands under `key`."""
    return lambda source: {"activation": ACTIVATIONS[source.get(key) or "gelu"], "norm": norm}


def head_dropout(source: Mapping[str, Any]) -> float:
    """That of the layers, unless config.json has another."""
    rates = (source.get("classifier_dropout"), source.get("hidden_dropout_prob"), 0.1)
    return next(rate for rate in rates if rate is not None)


def write_head_dropout(config: ModelConfig) -> dict[str, Any]:
    return {"classifier_dropout": config.dropout.head if config.dropout.head != config.dropout.residual else None}


FIELDS = (
    Field("hidden_size", "width", default=768),
    Field("num_hidden_layers", "num_layers", default=12),
    Field("num_attention_heads", "attention.num_heads", default=12),
    Field("intermediate_size", "feed_forward.width", default=3072),
    Field("hidden_act", "feed_forward.activation", default="gelu", values=ACTIVATIONS),
    Field("type_vocab_size", "embedding.token_types", default=2),
    Field("layer_norm_eps", "norm.epsilon", default=1e-12),
    Field("hidden_dropout_prob", "dropout.embedding", default=0.1),
    Field("hidden_dropout_prob", "dropout.residual", default=0.1),
    Field("attention_probs_dropout_prob", "dropout.attention", default=0.1),
    Field("initializer_range", "initialization.std", default=0.02),
    Field("tie_word_embeddings", "head.tied", default=True),
)
HEAD_DROPOUT = Part("dropout.head", head_dropout, write_head_dropout)
CONSTANTS = {
    "architecture": "encoder",
    "positions.kind": "learned",
    "embedding.norm": True,
    "norm.kind": "layer",
    "norm.placement": "after",
    "norm.bias": True,
    "attention.bias": ("query", "key", "value", "output"),
    "feed_forward.bias": True,
    "feed_forward.gated": False,
    "head.bias": True,
}

FAMILY = Family(
    name="bert",
    model_type="bert",
    architectures={
        "BertForMaskedLM": {**MASKED, "head.transform": transform(norm=True)},
        "BertModel": {"head.kind": "none", "pooler": POOLER},
        "BertForSequenceClassification": {**SENTENCES, "pooler": POOLER},
        "BertForTokenClassification": TOKENS,
        "BertForNextSentencePrediction": {**NEXT, "pooler": POOLER, "dropout.head": 0.0},
    },
    prefix="bert.",
    fields=(
        Field("vocab_size", "vocab_size", default=30522),
        Field("max_position_embeddings", "max_length", default=512),
        *FIELDS,
        *special_tokens(pad=0),
    ),
    parts=(HEAD_DROPOUT,),
    constants={**CONSTANTS, "positions.offset": 0},
    required={"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"},
    rules=(
        *encoder("bert."),
        *dense("bert.pooler.dense", "pooler.transform"),
        *dense("cls.predictions.transform.dense", "head.transform"),
        *norm("cls.predictions.transform.LayerNorm", "head.transform.norm"),
        Rule("cls.predictions.decoder.weight", ("head.weight",), when=MASKED),
        # One bias under two names; of an untied head, Hugging Face 5 reads the second alone.
        Rule("cls.predictions.bias", ("head.bias",), old=("cls.predictions.decoder.bias",), when={**MASKED, "head.tied": True}),
        Rule("cls.predictions.decoder.bias", ("head.bias",), when={**MASKED, "head.tied": False}),
        *dense("classifier", "head", when=SENTENCES),
        *dense("classifier", "head", when=TOKENS),
        *dense("cls.seq_relationship", "head", when=NEXT),
    ),
    ignored=("bert.embeddings.position_ids",),
    pooled_by="bert.pooler.dense.weight",
    revealing={
        "vocab_size": 83,
        "hidden_size": 30,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "intermediate_size": 37,
        "max_position_embeddings": 29,
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    variants={
        "relu": {"hidden_act": "relu"},
        "gelu_new": {"hidden_act": "gelu_new"},
        "one segment": {"type_vocab_size": 1},
    },
)
