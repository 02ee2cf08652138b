"""T5 (Raffel et al. 2020): relative position buckets, RMS norm, scores without 1/sqrt(d). v1.0 and the gated v1.1 (Shazeer 2020)."""

from collections.abc import Mapping
from typing import Any

from configs import ModelConfig, UserError
from weight_mapping.family import Family
from weight_mapping.table import ACTIVATIONS, Field, Part, Rule, special_tokens


def read_activation(source: Mapping[str, Any]) -> str:
    """``relu``, or ``gated-gelu``, by which gelu_new is meant; Hugging Face believes `dense_act_fn` before it."""
    name = source.get("feed_forward_proj") or "relu"
    plain = source.get("dense_act_fn") or ("gelu_new" if name == "gated-gelu" else name.removeprefix("gated-"))
    if plain not in ACTIVATIONS and source.get("dense_act_fn"):
        raise UserError(f"config.json: dense_act_fn is {plain!r}, which is not built; built: {', '.join(ACTIVATIONS)}")
    if plain not in ACTIVATIONS:
        raise UserError(f"config.json: feed_forward_proj is {name!r}, which is not built; built: {', '.join(ACTIVATIONS)}, or gated-...")
    return ACTIVATIONS[plain]


def read_gated(source: Mapping[str, Any]) -> bool:
    return bool(source.get("is_gated_act", (source.get("feed_forward_proj") or "relu").startswith("gated-")))


def write_activation(config: ModelConfig) -> dict[str, Any]:
    """Hugging Face's name; ``gated-gelu`` for gated and gelu_tanh, as the published files have it."""
    activation = config.feed_forward.activation
    name = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == activation)
    if config.feed_forward.gated:
        name = "gated-gelu" if activation == "gelu_tanh" else f"gated-{name}"
    return {"feed_forward_proj": name}


def read_scale(source: Mapping[str, Any]) -> float | None:
    """v1.0 divides by sqrt(d_model) before the head. Old files say so by tie_word_embeddings, which means nothing else here."""
    is_scaled = source.get("scale_decoder_outputs", source.get("tie_word_embeddings"))
    return None if is_scaled is False else source.get("d_model", 512) ** -0.5


def write_scale(config: ModelConfig) -> dict[str, Any]:
    is_scaled = config.head.scale is not None
    return {"scale_decoder_outputs": is_scaled, "tie_word_embeddings": config.head.tied}


def layer_rules(stack: str) -> tuple[Rule, ...]:
    """The tensors of a layer: its sublayers are numbered, and the feed-forward comes last."""
    path, canonical = f"{stack}.block.{{layer}}.layer", f"{stack}.layers.{{layer}}"
    sublayers = {"SelfAttention": "self_attention"} | ({"EncDecAttention": "cross_attention"} if stack == "decoder" else {})
    rules = []
    for place, (theirs, ours) in enumerate(sublayers.items()):
        for letter, part in {"q": "query", "k": "key", "v": "value", "o": "output"}.items():
            rules.append(Rule(f"{path}.{place}.{theirs}.{letter}.weight", (f"{canonical}.{ours}.{part}.weight",)))
        rules.append(Rule(f"{path}.{place}.layer_norm.weight", (f"{canonical}.{ours}.norm.weight",)))
    path, canonical = f"{path}.{len(sublayers)}", f"{canonical}.feed_forward"
    plain, gated = {"feed_forward.gated": False}, {"feed_forward.gated": True}
    return (
        *rules,
        Rule(f"{path}.DenseReluDense.wi.weight", (f"{canonical}.up.weight",), when=plain),
        Rule(f"{path}.DenseReluDense.wi_0.weight", (f"{canonical}.gate.weight",), when=gated),
        Rule(f"{path}.DenseReluDense.wi_1.weight", (f"{canonical}.up.weight",), when=gated),
        Rule(f"{path}.DenseReluDense.wo.weight", (f"{canonical}.down.weight",)),
        Rule(f"{path}.layer_norm.weight", (f"{canonical}.norm.weight",)),
    )


FAMILY = Family(
    name="t5",
    model_type="t5",
    architectures={
        "T5ForConditionalGeneration": {"head.kind": "language_model"},
        "T5Model": {"head.kind": "none"},
    },
    old_architectures={"T5WithLMHeadModel": "T5ForConditionalGeneration"},
    prefix="",
    fields=(
        Field("vocab_size", "vocab_size", default=32128),
        Field("n_positions", "max_length", default=512),
        Field("d_model", "width", default=512),
        Field("d_kv", "attention.head_size", default=64),
        Field("d_ff", "feed_forward.width", default=2048),
        Field("num_layers", "num_layers", default=6),
        Field("num_decoder_layers", "num_decoder_layers", default=lambda source: source.get("num_layers", 6)),
        Field("num_heads", "attention.num_heads", default=8),
        Field("relative_attention_num_buckets", "positions.num_buckets", default=32),
        Field("relative_attention_max_distance", "positions.max_distance", default=128),
        Field("layer_norm_epsilon", "norm.epsilon", default=1e-6),
        *(Field("dropout_rate", f"dropout.{part}", default=0.1) for part in ("embedding", "attention", "residual", "feed_forward")),
        *special_tokens(eos=1, pad=0, decoder_start=0),
    ),
    parts=(
        Part("feed_forward.activation", read_activation, write_activation),
        Part("feed_forward.gated", read_gated, lambda config: {}),
        Part("head.scale", read_scale, write_scale),
    ),
    constants={
        "architecture": "encoder_decoder",
        "positions.kind": "relative",
        "norm.kind": "rms",
        "norm.placement": "before",
        "attention.scale": 1.0,
        "attention.bias": (),
        "feed_forward.bias": False,
        "head.bias": False,
    },
    other_names={"hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers", "head_dim": "d_kv"},
    rules=(
        Rule("shared.weight", ("encoder.embeddings.token.weight",), old=("encoder.embed_tokens.weight",)),
        Rule("decoder.embed_tokens.weight", ("decoder.embeddings.token.weight",)),
        Rule("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", ("encoder.relative_bias.weight",)),
        Rule("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", ("decoder.relative_bias.weight",)),
        *layer_rules("encoder"),
        *layer_rules("decoder"),
        Rule("encoder.final_layer_norm.weight", ("encoder.norm.weight",)),
        Rule("decoder.final_layer_norm.weight", ("decoder.norm.weight",)),
        Rule("lm_head.weight", ("head.weight",)),
    ),
    # Cross-attention has no positions; old files hold a table that nothing reads.
    ignored=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
    untied_by="lm_head.weight",
    revealing={
        "vocab_size": 83,
        "n_positions": 29,
        "d_model": 30,
        "d_kv": 8,
        "d_ff": 37,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 5,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 20,
        "layer_norm_epsilon": 1e-2,
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
    },
    variants={
        "v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        "gated-silu": {"feed_forward_proj": "gated-silu"},
    },
)
