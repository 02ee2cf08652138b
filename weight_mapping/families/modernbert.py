"""ModernBERT (Warner et al. 2024): rotary positions of two bases, windows in two layers of three, gated feed-forward, no biases.

The first layer has no norm before it, since the embedding's own stands right there. All heads have the same dense layer and norm in front.
"""

from collections.abc import Mapping
from typing import Any

from configs import ModelConfig, UserError
from weight_mapping.families.bert import MASKED, SENTENCES, TOKENS, dense
from weight_mapping.family import Family
from weight_mapping.operations import SPLIT
from weight_mapping.rotary import read_by_layer_type, write_by_layer_type
from weight_mapping.table import (
    ACTIVATIONS,
    ALL_OR_NONE,
    Field,
    Part,
    Rule,
    special_tokens,
    transform_activation,
    write_transform_activation,
)
from weight_mapping.windows import windows

LAYER = "model.layers.{layer}"
ATTENTION = "encoder.layers.{layer}.self_attention"
FEED_FORWARD = "encoder.layers.{layer}.feed_forward"
QUERY_KEY_VALUE = (f"{ATTENTION}.query", f"{ATTENTION}.key", f"{ATTENTION}.value")
GATE_UP = (f"{FEED_FORWARD}.gate", f"{FEED_FORWARD}.up")
POOLING = {"cls": "first", "mean": "mean"}


def letters(source: Mapping[str, Any]) -> str:
    """One layer in so many sees the whole sequence, and the first does."""
    return "f" + "w" * (source.get("global_attn_every_n_layers", 3) - 1)


def read_positions(source: Mapping[str, Any]) -> dict[str, Any]:
    """The older keys have names of their own."""
    base, window_base = source.get("global_rope_theta") or 160_000.0, source.get("local_rope_theta") or 10_000.0
    return read_by_layer_type({**source, "rope_theta": base, "rope_local_base_freq": window_base})


def transform(source: Mapping[str, Any]) -> dict[str, Any]:
    """The dense layer and norm in front of every head."""
    activation, bias = source.get("classifier_activation") or "gelu", source.get("classifier_bias") or False
    return {"activation": transform_activation("classifier_activation", activation), "norm": True, "bias": bias}


def pooler(source: Mapping[str, Any]) -> dict[str, Any]:
    name = source.get("classifier_pooling") or "cls"
    if name not in POOLING:
        raise UserError(f"config.json: classifier_pooling is {name!r}, which is not built; built: {', '.join(POOLING)}")
    return {"kind": POOLING[name], "transform": transform(source)}


def write_head(config: ModelConfig) -> dict[str, Any]:
    inside = config.head.transform or (config.pooler.transform if config.pooler else None)
    return {
        "decoder_bias": config.head.bias,
        "classifier_activation": write_transform_activation(inside.activation if inside else "gelu"),
        "classifier_bias": inside.bias if inside else False,
        "classifier_pooling": next(name for name, ours in POOLING.items() if ours == (config.pooler.kind if config.pooler else "first")),
    }


FAMILY = Family(
    name="modernbert",
    model_type="modernbert",
    architectures={
        "ModernBertForMaskedLM": {**MASKED, "head.transform": transform},
        "ModernBertModel": {"head.kind": "none", "head.bias": True},
        "ModernBertForSequenceClassification": {**SENTENCES, "head.bias": True, "pooler": pooler},
        "ModernBertForTokenClassification": {**TOKENS, "head.bias": True, "head.transform": transform},
    },
    prefix="model.",
    fields=(
        Field("vocab_size", "vocab_size", default=50368),
        Field("max_position_embeddings", "max_length", default=8192),
        Field("hidden_size", "width", default=768),
        Field("num_hidden_layers", "num_layers", default=22),
        Field("num_attention_heads", "attention.num_heads", default=12),
        Field("attention_bias", "attention.bias", default=False, values=ALL_OR_NONE),
        Field("intermediate_size", "feed_forward.width", default=1152),
        Field("hidden_activation", "feed_forward.activation", default="gelu", values=ACTIVATIONS),
        Field("mlp_bias", "feed_forward.bias", default=False),
        Field("norm_eps", "norm.epsilon", default=1e-5),
        Field("norm_bias", "norm.bias", default=False),
        Field("decoder_bias", "head.bias", default=True),
        Field("embedding_dropout", "dropout.embedding", default=0.0),
        Field("attention_dropout", "dropout.attention", default=0.0),
        Field("mlp_dropout", "dropout.feed_forward", default=0.0),
        Field("classifier_dropout", "dropout.head", default=0.0),
        Field("initializer_range", "initialization.std", default=0.02),
        Field("tie_word_embeddings", "head.tied", default=True),
        *special_tokens(bos=50281, eos=50282, pad=50283),
    ),
    parts=(
        Part("positions", read_positions, write_by_layer_type),
        *windows(letters, key="local_attention", size=128),
        Part("pooler", lambda source: None, write_head),
    ),
    constants={
        "architecture": "encoder",
        "embedding.norm": True,
        "norm.kind": "layer",
        "norm.placement": "before",
        "norm.first": False,
        "feed_forward.gated": True,
    },
    # Hugging Face sets the window by either, and means one side by this.
    required={"rope_scaling": None, "sliding_window": lambda source: (source.get("local_attention") or 128) // 2},
    rules=(
        Rule("model.embeddings.tok_embeddings.weight", ("encoder.embeddings.token.weight",)),
        *dense("model.embeddings.norm", "encoder.embeddings.norm"),
        *dense(f"{LAYER}.attn_norm", f"{ATTENTION}.norm"),
        Rule(f"{LAYER}.attn.Wqkv.weight", tuple(f"{path}.weight" for path in QUERY_KEY_VALUE), (SPLIT,)),
        Rule(f"{LAYER}.attn.Wqkv.bias", tuple(f"{path}.bias" for path in QUERY_KEY_VALUE), (SPLIT,)),
        *dense(f"{LAYER}.attn.Wo", f"{ATTENTION}.output"),
        *dense(f"{LAYER}.mlp_norm", f"{FEED_FORWARD}.norm"),
        Rule(f"{LAYER}.mlp.Wi.weight", tuple(f"{path}.weight" for path in GATE_UP), (SPLIT,)),
        Rule(f"{LAYER}.mlp.Wi.bias", tuple(f"{path}.bias" for path in GATE_UP), (SPLIT,)),
        *dense(f"{LAYER}.mlp.Wo", f"{FEED_FORWARD}.down"),
        *dense("model.final_norm", "encoder.norm"),
        *dense("head.dense", "head.transform"),
        *dense("head.norm", "head.transform.norm"),
        *dense("head.dense", "pooler.transform"),
        *dense("head.norm", "pooler.transform.norm"),
        *dense("decoder", "head", when=MASKED),
        *dense("classifier", "head", when=SENTENCES),
        *dense("classifier", "head", when=TOKENS),
    ),
    revealing={
        "vocab_size": 83,
        "max_position_embeddings": 29,
        "hidden_size": 30,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "intermediate_size": 37,
        "local_attention": 6,
        "norm_eps": 1e-2,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 700.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    },
    variants={
        "biases": {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True, "decoder_bias": False},
        "other activations": {"hidden_activation": "relu", "classifier_activation": "silu"},
        "every second layer": {"layer_types": ["full_attention", "sliding_attention"] * 2, "local_attention": 5},
        "untied": {"tie_word_embeddings": False},
    },
)
