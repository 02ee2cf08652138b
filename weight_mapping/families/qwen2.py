"""Qwen2 (Yang et al. 2024): Llama with biases on queries, keys and values, and sliding windows in the layers above some number."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weight_mapping.families.llama import FAMILY as LLAMA
from weight_mapping.families.llama import architectures, fields
from weight_mapping.windows import windows

NO_TOKENS = {"bos": None, "eos": None, "pad": None}


def full_then_windows(source: Mapping[str, Any]) -> str:
    """The letters of the layers where only `max_window_layers` tells which are full."""
    num_layers, num_full = source.get("num_hidden_layers", 32), source.get("max_window_layers", 28)
    return "f" * min(num_full, num_layers) + "w" * (num_layers - num_full)


FAMILY = replace(
    LLAMA,
    name="qwen2",
    model_type="qwen2",
    architectures=architectures("Qwen2"),
    fields=fields(tokens=NO_TOKENS, vocab_size=151936, intermediate_size=22016, num_key_value_heads=32, max_position_embeddings=32768),
    parts=(*LLAMA.parts, *windows(full_then_windows, has_switch=True)),
    constants={**LLAMA.constants, "attention.bias": ("query", "key", "value"), "feed_forward.bias": False},
    required={},
    variants={
        "windows": {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
        "tied": {"tie_word_embeddings": True},
    },
)
