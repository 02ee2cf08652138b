"""Llama (Touvron et al. 2023): rotary positions, RMS norm, grouped heads, gated SiLU. The families that are like it are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weight_mapping.family import Family
from weight_mapping.rotary import ROTARY
from weight_mapping.table import ACTIVATIONS, ALL_OR_NONE, Field, Rule, special_tokens

LAYER = "model.layers.{layer}"
ATTENTION = "decoder.layers.{layer}.self_attention"
FEED_FORWARD = "decoder.layers.{layer}.feed_forward"
LINEAR = {
    f"{LAYER}.self_attn.q_proj": f"{ATTENTION}.query",
    f"{LAYER}.self_attn.k_proj": f"{ATTENTION}.key",
    f"{LAYER}.self_attn.v_proj": f"{ATTENTION}.value",
    f"{LAYER}.self_attn.o_proj": f"{ATTENTION}.output",
    f"{LAYER}.mlp.gate_proj": f"{FEED_FORWARD}.gate",
    f"{LAYER}.mlp.up_proj": f"{FEED_FORWARD}.up",
    f"{LAYER}.mlp.down_proj": f"{FEED_FORWARD}.down",
}
# What all decoders after it have in common; where the second norm stands, they differ.
RULES = (
    Rule("model.embed_tokens.weight", ("decoder.embeddings.token.weight",)),
    Rule(f"{LAYER}.input_layernorm.weight", (f"{ATTENTION}.norm.weight",)),
    *(Rule(f"{source}.{kind}", (f"{target}.{kind}",)) for source, target in LINEAR.items() for kind in ("weight", "bias")),
    Rule("model.norm.weight", ("decoder.norm.weight",)),
    Rule("lm_head.weight", ("head.weight",)),
)
ATTENTION_BIAS = Field("attention_bias", "attention.bias", default=False, values=ALL_OR_NONE)


def architectures(name: str, base: str = "Model") -> dict[str, dict[str, Any]]:
    """A decoder's classes in Hugging Face."""
    return {f"{name}ForCausalLM": {"head.kind": "language_model"}, f"{name}{base}": {"head.kind": "none"}}


def fields(activation: str = "hidden_act", tokens: Mapping[str, int | None] | None = None, **defaults: Any) -> tuple[Field, ...]:
    """The keys of a config.json like Llama's. defaults: where they are other than Llama's. tokens: those of the special tokens."""

    def key_value_heads(source: Mapping[str, Any]) -> int:
        """Null means as many as of queries, which only Llama does without the key too."""
        default = source.get("num_attention_heads", defaults.get("num_attention_heads", 32))
        return default if "num_key_value_heads" in source else defaults.get("num_key_value_heads", default)

    default = {
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "head_dim": lambda source: source.get("hidden_size", 4096) // source.get("num_attention_heads", 32),
        "intermediate_size": 11008,
        activation: "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    } | defaults
    return (
        Field("vocab_size", "vocab_size", default["vocab_size"]),
        Field("max_position_embeddings", "max_length", default["max_position_embeddings"]),
        Field("hidden_size", "width", default["hidden_size"]),
        Field("num_hidden_layers", "num_layers", default["num_hidden_layers"]),
        Field("num_attention_heads", "attention.num_heads", default["num_attention_heads"]),
        Field("num_key_value_heads", "attention.num_key_value_heads", key_value_heads),
        Field("head_dim", "attention.head_size", default["head_dim"]),
        Field("intermediate_size", "feed_forward.width", default["intermediate_size"]),
        Field(activation, "feed_forward.activation", default[activation], values=ACTIVATIONS),
        Field("rms_norm_eps", "norm.epsilon", default["rms_norm_eps"]),
        Field("attention_dropout", "dropout.attention", default=0.0),
        Field("initializer_range", "initialization.std", default=0.02),
        Field("tie_word_embeddings", "head.tied", default["tie_word_embeddings"]),
        *special_tokens(**(tokens or {"bos": 1, "eos": 2, "pad": None})),
    )


FAMILY = Family(
    name="llama",
    model_type="llama",
    architectures=architectures("Llama"),
    prefix="model.",
    fields=(*fields(), ATTENTION_BIAS, Field("mlp_bias", "feed_forward.bias", default=False)),
    parts=(ROTARY,),
    constants={
        "architecture": "decoder",
        "positions.kind": "rotary",
        "norm.kind": "rms",
        "norm.placement": "before",
        "feed_forward.gated": True,
        "head.bias": False,
    },
    rules=(*RULES, Rule(f"{LAYER}.post_attention_layernorm.weight", (f"{FEED_FORWARD}.norm.weight",))),
    old_architectures={"LLaMAForCausalLM": "LlamaForCausalLM"},
    # Rotary frequencies that versions before 4.32 saved as buffers.
    ignored=(f"{LAYER}.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"),
    revealing={
        "vocab_size": 83,
        "max_position_embeddings": 29,
        "hidden_size": 30,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 37,
        "rms_norm_eps": 1e-2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Lengths of the first training are shorter than the longest sequence, and frequencies are stretched by halves and quarters too.
    variants={
        "tied-biases": {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
        "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.5}},
        "dynamic": {"max_position_embeddings": 10, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 50.0, "factor": 3.0}},
        "llama3": {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 50.0,
                "factor": 3.0,
                "original_max_position_embeddings": 20,
                "low_freq_factor": 0.3,
                "high_freq_factor": 2.0,
            }
        },
        "yarn": {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 50.0,
                "factor": 3.0,
                "original_max_position_embeddings": 10,
                "beta_fast": 1.0,
                "beta_slow": 0.1,
                "attention_factor": 1.3,
                "truncate": False,
            }
        },
    },
)
