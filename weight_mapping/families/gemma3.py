"""Gemma 3's text model (Gemma Team 2025): Gemma 2 with normalized queries and keys in place of the caps, and another rotary base in
the sliding-window layers, five of six."""

from dataclasses import replace

from weight_mapping.families.gemma2 import FAMILY as GEMMA2
from weight_mapping.families.gemma2 import SCALE, SIZES, TOKENS, final_cap
from weight_mapping.families.llama import ATTENTION_BIAS, architectures, fields
from weight_mapping.families.qwen3 import QUERY_KEY_NORMS
from weight_mapping.rotary import ROTARY_BY_LAYER_TYPE
from weight_mapping.windows import windows

ROPE = {"sliding_attention": {"rope_type": "default", "rope_theta": 20.0}, "full_attention": {"rope_type": "default", "rope_theta": 50.0}}

FAMILY = replace(
    GEMMA2,
    name="gemma3",
    model_type="gemma3_text",
    architectures=architectures("Gemma3", base="TextModel"),
    fields=(
        *fields("hidden_activation", TOKENS, vocab_size=262208, max_position_embeddings=131072, **SIZES),
        ATTENTION_BIAS,
        SCALE,
        final_cap(None),
    ),
    parts=(ROTARY_BY_LAYER_TYPE, *windows(lambda source: "w" * (source.get("sliding_window_pattern", 6) - 1) + "f")),
    constants={**GEMMA2.constants, "attention.query_key_norm": True, "attention.soft_cap": None},
    # Hugging Face has this key and leaves it out of its computation.
    required={**GEMMA2.required, "attn_logit_softcapping": None},
    rules=(*GEMMA2.rules, *QUERY_KEY_NORMS),
    revealing={
        **{key: value for key, value in GEMMA2.revealing.items() if "softcapping" not in key},
        "rope_parameters": ROPE,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    variants={
        "linear": {"rope_parameters": {**ROPE, "full_attention": {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.5}}},
        "capped": {"final_logit_softcapping": 3.0},
    },
)
