"""Gemma 2 (Gemma Team 2024): Llama with norms on both sides, weights stored as w - 1, soft caps, and a window in every other layer."""

from dataclasses import replace
from typing import Any

from weight_mapping.families.llama import ATTENTION, ATTENTION_BIAS, FEED_FORWARD, LAYER, RULES, architectures, fields
from weight_mapping.families.llama import FAMILY as LLAMA
from weight_mapping.table import Field, Rule, unless_null
from weight_mapping.windows import windows

TOKENS = {"bos": 2, "eos": 1, "pad": 0}
SIZES: dict[str, Any] = {
    "hidden_size": 2304,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "intermediate_size": 9216,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}


SCALE = Field(
    "query_pre_attn_scalar",
    "attention.scale",
    default=256,
    read=lambda scalar: scalar**-0.5,
    write=lambda scale: round(scale**-2),
)


def final_cap(default: float | None) -> Field:
    return Field("final_logit_softcapping", "head.soft_cap", default=unless_null("final_logit_softcapping", default))


FAMILY = replace(
    LLAMA,
    name="gemma2",
    model_type="gemma2",
    architectures=architectures("Gemma2"),
    fields=(
        *fields("hidden_activation", TOKENS, vocab_size=256000, max_position_embeddings=8192, **SIZES),
        ATTENTION_BIAS,
        SCALE,
        Field("attn_logit_softcapping", "attention.soft_cap", default=unless_null("attn_logit_softcapping", 50.0)),
        final_cap(30.0),
    ),
    parts=(*LLAMA.parts, *windows(lambda source: "wf")),
    constants={
        **LLAMA.constants,
        "embedding.scale": True,
        "norm.placement": "both",
        "norm.unit_offset": True,
        "feed_forward.bias": False,
    },
    required={"use_bidirectional_attention": False},
    rules=(
        *RULES,
        Rule(f"{LAYER}.post_attention_layernorm.weight", (f"{ATTENTION}.output_norm.weight",)),
        Rule(f"{LAYER}.pre_feedforward_layernorm.weight", (f"{FEED_FORWARD}.norm.weight",)),
        Rule(f"{LAYER}.post_feedforward_layernorm.weight", (f"{FEED_FORWARD}.output_norm.weight",)),
    ),
    revealing={
        **LLAMA.revealing,
        "sliding_window": 3,
        "query_pre_attn_scalar": 11,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "pad_token_id": 0,
    },
    variants={
        "uncapped": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
        "full": {"layer_types": ["full_attention"] * 3, "sliding_window": 4096},
    },
)
