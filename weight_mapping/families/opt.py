"""OPT (Zhang et al. 2022): GPT-2's layout with learned positions that skip padding, and ReLU."""

from weight_mapping.families.llama import architectures
from weight_mapping.family import Family
from weight_mapping.table import ACTIVATIONS, ALL_OR_NONE, Field, Rule, special_tokens

LAYER = "model.decoder.layers.{layer}"
ATTENTION = "decoder.layers.{layer}.self_attention"
FEED_FORWARD = "decoder.layers.{layer}.feed_forward"
NAMES = {
    f"{LAYER}.self_attn_layer_norm": f"{ATTENTION}.norm",
    f"{LAYER}.self_attn.q_proj": f"{ATTENTION}.query",
    f"{LAYER}.self_attn.k_proj": f"{ATTENTION}.key",
    f"{LAYER}.self_attn.v_proj": f"{ATTENTION}.value",
    f"{LAYER}.self_attn.out_proj": f"{ATTENTION}.output",
    f"{LAYER}.final_layer_norm": f"{FEED_FORWARD}.norm",
    f"{LAYER}.fc1": f"{FEED_FORWARD}.up",
    f"{LAYER}.fc2": f"{FEED_FORWARD}.down",
    "model.decoder.final_layer_norm": "decoder.norm",
}

FAMILY = Family(
    name="opt",
    model_type="opt",
    architectures=architectures("OPT"),
    prefix="model.",
    fields=(
        Field("vocab_size", "vocab_size", default=50272),
        Field("max_position_embeddings", "max_length", default=2048),
        Field("hidden_size", "width", default=768),
        Field("num_hidden_layers", "num_layers", default=12),
        Field("num_attention_heads", "attention.num_heads", default=12),
        Field("ffn_dim", "feed_forward.width", default=3072),
        Field("activation_function", "feed_forward.activation", default="relu", values=ACTIVATIONS),
        Field("do_layer_norm_before", "norm.placement", default=True, values={True: "before", False: "after"}),
        Field("enable_bias", "attention.bias", default=True, values=ALL_OR_NONE),
        Field("enable_bias", "feed_forward.bias", default=True),
        Field("dropout", "dropout.residual", default=0.1),
        Field("attention_dropout", "dropout.attention", default=0.0),
        Field("init_std", "initialization.std", default=0.02),
        Field("tie_word_embeddings", "head.tied", default=True),
        *special_tokens(bos=2, eos=2, pad=1),
    ),
    constants={
        "architecture": "decoder",
        "positions.kind": "learned",
        "positions.offset": 2,
        "positions.counted": "attended",
        "norm.kind": "layer",
        "norm.epsilon": 1e-5,
        "norm.bias": True,
        "feed_forward.gated": False,
        "head.bias": False,
    },
    required={
        "layer_norm_elementwise_affine": True,
        "_remove_final_layer_norm": False,
        # In the 350M model the table is narrower than the layers, and positions are added behind the projection.
        "word_embed_proj_dim": lambda source: source.get("hidden_size", 768),
    },
    rules=(
        Rule("model.decoder.embed_tokens.weight", ("decoder.embeddings.token.weight",)),
        Rule("model.decoder.embed_positions.weight", ("decoder.embeddings.position.weight",)),
        *(Rule(f"{source}.{kind}", (f"{target}.{kind}",)) for source, target in NAMES.items() for kind in ("weight", "bias")),
        Rule("lm_head.weight", ("head.weight",)),
    ),
    revealing={
        "vocab_size": 83,
        "max_position_embeddings": 29,
        "hidden_size": 20,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "ffn_dim": 37,
        "pad_token_id": 1,
        "dropout": 0.0,
    },
    variants={"after": {"do_layer_norm_before": False}, "untied": {"tie_word_embeddings": False, "enable_bias": False}},
)
