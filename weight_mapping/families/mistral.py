"""Mistral (Jiang et al. 2023): Llama with a sliding window in every layer."""

from dataclasses import replace

from weight_mapping.families.llama import FAMILY as LLAMA
from weight_mapping.families.llama import architectures, fields
from weight_mapping.table import Part
from weight_mapping.windows import WINDOW


def one_window(default: int | None) -> Part:
    """The same window in every layer, or none."""
    return Part(
        "attention.window",
        lambda source: source.get("sliding_window", default),
        lambda config: {"sliding_window": config.attention.window},
    )


FAMILY = replace(
    LLAMA,
    name="mistral",
    model_type="mistral",
    architectures=architectures("Mistral"),
    fields=fields(intermediate_size=14336, num_key_value_heads=8, max_position_embeddings=131072),
    parts=(*LLAMA.parts, one_window(WINDOW)),
    constants={**LLAMA.constants, "attention.bias": (), "feed_forward.bias": False},
    required={},
    revealing={**LLAMA.revealing, "sliding_window": 3},
    variants={"full": {"sliding_window": None}},
)
