"""Llama (Touvron et al. 2023): rotary positions, RMS norm, grouped heads, gated SiLU. Default rotary frequencies only, so far."""

from weight_mapping.family import ACTIVATIONS, Family, Field, Rule

LAYER = "model.layers.{layer}"
ATTENTION = "decoder.layers.{layer}.self_attention"
FEED_FORWARD = "decoder.layers.{layer}.feed_forward"

FAMILY = Family(
    name="llama",
    model_type="llama",
    architectures={
        "LlamaForCausalLM": {"head.kind": "language_model"},
        "LlamaModel": {"head.kind": "none"},
    },
    prefix="model.",
    fields=(
        Field("vocab_size", "vocab_size", default=32000),
        Field("max_position_embeddings", "max_length", default=2048),
        Field("hidden_size", "width", default=4096),
        Field("num_hidden_layers", "num_layers", default=32),
        Field("num_attention_heads", "attention.num_heads", default=32),
        Field("num_key_value_heads", "attention.num_key_value_heads", default=lambda source: source.get("num_attention_heads", 32)),
        Field(
            "head_dim",
            "attention.head_size",
            default=lambda source: source.get("hidden_size", 4096) // source.get("num_attention_heads", 32),
        ),
        Field("intermediate_size", "feed_forward.width", default=11008),
        Field("hidden_act", "feed_forward.activation", default="silu", values=ACTIVATIONS),
        Field("rms_norm_eps", "norm.epsilon", default=1e-6),
        Field("rope_parameters.rope_theta", "positions.base", default=10000.0, old=("rope_theta",)),
        Field(
            "rope_parameters.rope_type",
            "positions.scaling",
            default="default",
            values={"default": None},
            old=("rope_scaling.rope_type", "rope_scaling.type"),
        ),
        Field("attention_dropout", "dropout.attention", default=0.0),
        Field("initializer_range", "initialization.std", default=0.02),
        Field("tie_word_embeddings", "head.tied", default=False),
        Field("bos_token_id", "special_tokens.bos", default=None),
        Field(
            "eos_token_id",
            "special_tokens.eos",
            default=(),
            read=lambda ids: tuple(ids) if isinstance(ids, list | tuple) else (ids,),
            write=lambda ids: ids[0] if len(ids) == 1 else list(ids) or None,
        ),
        Field("pad_token_id", "special_tokens.pad", default=None, read=lambda token: token if token >= 0 else None),
    ),
    constants={
        "architecture": "decoder",
        "positions.kind": "rotary",
        "positions.fraction": 1.0,
        "norm.kind": "rms",
        "norm.placement": "before",
        "attention.bias": (),
        "feed_forward.gated": True,
        "feed_forward.bias": False,
        "head.bias": False,
    },
    required={"attention_bias": False, "mlp_bias": False, "pretraining_tp": 1},
    rules=(
        Rule("model.embed_tokens.weight", ("decoder.embeddings.token.weight",)),
        Rule(f"{LAYER}.input_layernorm.weight", (f"{ATTENTION}.norm.weight",)),
        Rule(f"{LAYER}.self_attn.q_proj.weight", (f"{ATTENTION}.query.weight",)),
        Rule(f"{LAYER}.self_attn.k_proj.weight", (f"{ATTENTION}.key.weight",)),
        Rule(f"{LAYER}.self_attn.v_proj.weight", (f"{ATTENTION}.value.weight",)),
        Rule(f"{LAYER}.self_attn.o_proj.weight", (f"{ATTENTION}.output.weight",)),
        Rule(f"{LAYER}.post_attention_layernorm.weight", (f"{FEED_FORWARD}.norm.weight",)),
        Rule(f"{LAYER}.mlp.gate_proj.weight", (f"{FEED_FORWARD}.gate.weight",)),
        Rule(f"{LAYER}.mlp.up_proj.weight", (f"{FEED_FORWARD}.up.weight",)),
        Rule(f"{LAYER}.mlp.down_proj.weight", (f"{FEED_FORWARD}.down.weight",)),
        Rule("model.norm.weight", ("decoder.norm.weight",)),
        Rule("lm_head.weight", ("head.weight",)),
    ),
    # Rotary frequencies that versions before 4.32 saved as buffers.
    ignored=(f"{LAYER}.self_attn.rotary_emb.inv_freq",),
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
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
)
