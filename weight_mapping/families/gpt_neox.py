"""GPT-NeoX (Black et al. 2022) and Pythia: attention and feed-forward side by side, a part of each head turned.

`query_key_value` is laid out head by head, each with its query, key and value.
"""

from weight_mapping.families.llama import architectures
from weight_mapping.family import Family
from weight_mapping.operations import SPLIT_HEADS
from weight_mapping.rotary import PARTIAL_ROTARY
from weight_mapping.table import ACTIVATIONS, ALL_OR_NONE, Field, Rule, special_tokens

LAYER = "gpt_neox.layers.{layer}"
ATTENTION = "decoder.layers.{layer}.self_attention"
FEED_FORWARD = "decoder.layers.{layer}.feed_forward"
NAMES = {
    f"{LAYER}.input_layernorm": f"{ATTENTION}.norm",
    f"{LAYER}.attention.dense": f"{ATTENTION}.output",
    f"{LAYER}.post_attention_layernorm": f"{FEED_FORWARD}.norm",
    f"{LAYER}.mlp.dense_h_to_4h": f"{FEED_FORWARD}.up",
    f"{LAYER}.mlp.dense_4h_to_h": f"{FEED_FORWARD}.down",
    "gpt_neox.final_layer_norm": "decoder.norm",
}

FAMILY = Family(
    name="gpt_neox",
    model_type="gpt_neox",
    architectures=architectures("GPTNeoX"),
    prefix="gpt_neox.",
    fields=(
        Field("vocab_size", "vocab_size", default=50432),
        Field("max_position_embeddings", "max_length", default=2048),
        Field("hidden_size", "width", default=6144),
        Field("num_hidden_layers", "num_layers", default=44),
        Field("num_attention_heads", "attention.num_heads", default=64),
        Field("intermediate_size", "feed_forward.width", default=24576),
        Field("hidden_act", "feed_forward.activation", default="gelu", values=ACTIVATIONS),
        Field("layer_norm_eps", "norm.epsilon", default=1e-5),
        Field("use_parallel_residual", "parallel_residual", default=True),
        Field("attention_bias", "attention.bias", default=True, values=ALL_OR_NONE),
        Field("hidden_dropout", "dropout.embedding", default=0.0),
        Field("hidden_dropout", "dropout.residual", default=0.0),
        Field("attention_dropout", "dropout.attention", default=0.0),
        Field("initializer_range", "initialization.std", default=0.02),
        Field("tie_word_embeddings", "head.tied", default=False),
        *special_tokens(bos=0, eos=2, pad=None),
    ),
    parts=(PARTIAL_ROTARY,),
    constants={
        "architecture": "decoder",
        "positions.kind": "rotary",
        "norm.kind": "layer",
        "norm.placement": "before",
        "norm.bias": True,
        "feed_forward.gated": False,
        "feed_forward.bias": True,
        "head.bias": False,
    },
    rules=(
        Rule("gpt_neox.embed_in.weight", ("decoder.embeddings.token.weight",)),
        *(Rule(f"{source}.{kind}", (f"{target}.{kind}",)) for source, target in NAMES.items() for kind in ("weight", "bias")),
        *(
            Rule(
                f"{LAYER}.attention.query_key_value.{kind}",
                tuple(f"{ATTENTION}.{part}.{kind}" for part in ("query", "key", "value")),
                (SPLIT_HEADS,),
            )
            for kind in ("weight", "bias")
        ),
        Rule("embed_out.weight", ("head.weight",)),
    ),
    # Causal masks and rotary frequencies that old versions saved as buffers.
    ignored=tuple(f"{LAYER}.attention.{buffer}" for buffer in ("bias", "masked_bias", "rotary_emb.inv_freq")),
    revealing={
        "vocab_size": 83,
        "max_position_embeddings": 29,
        "hidden_size": 30,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "layer_norm_eps": 1e-2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.6},
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    variants={
        "one-after-another": {"use_parallel_residual": False, "attention_bias": False},
        "linear-tied": {
            "rope_parameters": {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.5, "partial_rotary_factor": 0.4},
            "tie_word_embeddings": True,
        },
    },
)
