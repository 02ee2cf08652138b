"""Qwen3 (Yang et al. 2025): Qwen2 without its biases, and with normalized queries and keys."""

from dataclasses import replace
from typing import Any

from weight_mapping.families.llama import ATTENTION, ATTENTION_BIAS, LAYER, architectures, fields
from weight_mapping.families.qwen2 import FAMILY as QWEN2
from weight_mapping.families.qwen2 import NO_TOKENS
from weight_mapping.table import Rule

QUERY_KEY_NORMS = (
    Rule(f"{LAYER}.self_attn.q_norm.weight", (f"{ATTENTION}.query_norm.weight",)),
    Rule(f"{LAYER}.self_attn.k_norm.weight", (f"{ATTENTION}.key_norm.weight",)),
)
SIZES: dict[str, Any] = {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "max_position_embeddings": 32768,
}

FAMILY = replace(
    QWEN2,
    name="qwen3",
    model_type="qwen3",
    architectures=architectures("Qwen3"),
    fields=(*fields(tokens=NO_TOKENS, **SIZES), ATTENTION_BIAS),
    constants={key: value for key, value in QWEN2.constants.items() if key != "attention.bias"} | {"attention.query_key_norm": True},
    rules=(*QWEN2.rules, *QUERY_KEY_NORMS),
    variants={
        "windows": {
            "use_sliding_window": True,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        "tied-biases": {"tie_word_embeddings": True, "attention_bias": True},
    },
)
