"""Mixtral (Jiang et al. 2024): Mistral with several feed-forward networks, of which each token takes the best few."""

from dataclasses import replace
from functools import partial

from weight_mapping.families.llama import FEED_FORWARD, LAYER, architectures, fields
from weight_mapping.families.mistral import FAMILY as MISTRAL
from weight_mapping.families.mistral import one_window
from weight_mapping.rotary import read_rotary, write_rotary
from weight_mapping.table import Field, Part, Rule

BLOCK = f"{LAYER}.block_sparse_moe"
EXPERT = f"{FEED_FORWARD}.experts.{{expert}}"

FAMILY = replace(
    MISTRAL,
    name="mixtral",
    model_type="mixtral",
    architectures=architectures("Mixtral"),
    fields=(
        *fields(intermediate_size=14336, num_key_value_heads=8, max_position_embeddings=131072, rms_norm_eps=1e-5),
        Field("num_local_experts", "feed_forward.experts.count", default=8),
        Field("num_experts_per_tok", "feed_forward.experts.per_token", default=2),
    ),
    parts=(Part("positions", partial(read_rotary, default_base=1_000_000.0), write_rotary), one_window(None)),
    required={"router_jitter_noise": 0.0},
    other_names={"num_experts": "num_local_experts"},
    rules=(
        *(rule for rule in MISTRAL.rules if ".mlp." not in rule.source),
        Rule(f"{BLOCK}.gate.weight", (f"{FEED_FORWARD}.router.weight",)),
        Rule(f"{BLOCK}.experts.{{expert}}.w1.weight", (f"{EXPERT}.gate.weight",)),
        Rule(f"{BLOCK}.experts.{{expert}}.w3.weight", (f"{EXPERT}.up.weight",)),
        Rule(f"{BLOCK}.experts.{{expert}}.w2.weight", (f"{EXPERT}.down.weight",)),
    ),
    # Hugging Face's kernel wants rows of whole 16 bytes.
    revealing={
        **MISTRAL.revealing,
        "hidden_size": 36,
        "intermediate_size": 44,
        "sliding_window": None,
        "num_local_experts": 5,
        "num_experts_per_tok": 2,
    },
    variants={"windows": {"sliding_window": 3, "num_experts_per_tok": 3}},
)
