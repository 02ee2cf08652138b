"""Marian (Junczys-Dowmunt et al. 2018): the original Transformer ("Attention Is All You Need") as it is trained for translation."""

from typing import Any

from weight_mapping.family import Family
from weight_mapping.operations import SQUEEZE
from weight_mapping.table import ACTIVATIONS, Field, Part, Rule, of_both_stacks, special_tokens


def fields(**defaults: Any) -> tuple[Field, ...]:
    """The keys of a config.json like Marian's, but for special tokens. defaults: where they are other than Marian's."""
    default = {"vocab_size": 58101, "d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "dropout": 0.1, **defaults}
    return (
        Field("vocab_size", "vocab_size", default=default["vocab_size"]),
        Field("d_model", "width", default=default["d_model"]),
        Field("encoder_layers", "num_layers", default=default["encoder_layers"]),
        Field("decoder_layers", "num_decoder_layers", default=default["decoder_layers"]),
        Field("activation_function", "feed_forward.activation", default="gelu", values=ACTIVATIONS),
        Field("dropout", "dropout.embedding", default=default["dropout"]),
        Field("dropout", "dropout.residual", default=default["dropout"]),
        Field("attention_dropout", "dropout.attention", default=0.0),
        Field("activation_dropout", "dropout.feed_forward", default=0.0),
        Field("init_std", "initialization.std", default=0.02),
    )


def widths(heads: int, feed_forward: int) -> tuple[Part, ...]:
    """What both stacks have in common, and a config.json says of each."""
    return (
        of_both_stacks("attention.num_heads", "encoder_attention_heads", "decoder_attention_heads", default=heads),
        of_both_stacks("feed_forward.width", "encoder_ffn_dim", "decoder_ffn_dim", default=feed_forward),
    )


# Not Whisper's, in which nothing reads scale_embedding.
TEXT_FIELDS = (
    Field("max_position_embeddings", "max_length", default=1024),
    Field("scale_embedding", "embedding.scale", default=False),
)
OTHER_NAMES = {"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads", "num_hidden_layers": "encoder_layers"}
CONSTANTS = {
    "architecture": "encoder_decoder",
    "norm.kind": "layer",
    "norm.placement": "after",
    "norm.epsilon": 1e-5,
    "norm.bias": True,
    "attention.bias": ("query", "key", "value", "output"),
    "feed_forward.bias": True,
    "feed_forward.gated": False,
    "head.tied": True,
}
# Of the tests' models, and all different.
REVEALING_SIZES = {
    "vocab_size": 83,
    "d_model": 30,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 5,
    "decoder_attention_heads": 5,
    "encoder_ffn_dim": 37,
    "decoder_ffn_dim": 37,
}


def layer_rules(stack: str) -> tuple[Rule, ...]:
    """The tensors of a layer, named as in fairseq."""
    path, canonical = f"model.{stack}.layers.{{layer}}", f"{stack}.layers.{{layer}}"
    attentions = {"self_attn": "self_attention"} | ({"encoder_attn": "cross_attention"} if stack == "decoder" else {})
    rules = []
    for kind in ("weight", "bias"):
        for theirs, ours in attentions.items():
            for letter, part in {"q": "query", "k": "key", "v": "value", "out": "output"}.items():
                rules.append(Rule(f"{path}.{theirs}.{letter}_proj.{kind}", (f"{canonical}.{ours}.{part}.{kind}",)))
            rules.append(Rule(f"{path}.{theirs}_layer_norm.{kind}", (f"{canonical}.{ours}.norm.{kind}",)))
        rules.append(Rule(f"{path}.fc1.{kind}", (f"{canonical}.feed_forward.up.{kind}",)))
        rules.append(Rule(f"{path}.fc2.{kind}", (f"{canonical}.feed_forward.down.{kind}",)))
        rules.append(Rule(f"{path}.final_layer_norm.{kind}", (f"{canonical}.feed_forward.norm.{kind}",)))
    return tuple(rules)


RULES = (
    Rule("model.shared.weight", ("encoder.embeddings.token.weight",), old=("model.encoder.embed_tokens.weight",)),
    Rule("model.decoder.embed_tokens.weight", ("decoder.embeddings.token.weight",)),
    *layer_rules("encoder"),
    *layer_rules("decoder"),
    Rule("lm_head.weight", ("head.weight",)),
    # A file of the base model lacks it.
    Rule("final_logits_bias", ("head.bias",), (SQUEEZE,), zeros=True),
)

FAMILY = Family(
    name="marian",
    model_type="marian",
    architectures={
        "MarianMTModel": {"head.kind": "language_model", "head.bias": True},
        "MarianModel": {"head.kind": "none", "head.bias": False},
    },
    prefix="model.",
    fields=(*fields(), *TEXT_FIELDS, *special_tokens(bos=None, eos=0, pad=58100, decoder_start=58100)),
    parts=widths(heads=16, feed_forward=4096),
    constants={**CONSTANTS, "positions.kind": "sinusoidal", "positions.layout": "halves", "embedding.norm": False},
    required={
        "share_encoder_decoder_embeddings": True,
        "normalize_before": False,
        "normalize_embedding": False,
        "add_final_layer_norm": False,
        "tie_word_embeddings": True,
    },
    other_names=OTHER_NAMES,
    rules=RULES,
    # The sines, which are computed.
    ignored=("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"),
    revealing={
        **REVEALING_SIZES,
        "max_position_embeddings": 29,
        "activation_function": "silu",
        "scale_embedding": True,
        "dropout": 0.0,
        "pad_token_id": 82,
        "eos_token_id": 2,
        "decoder_start_token_id": 82,
        "forced_eos_token_id": None,
    },
    variants={"relu": {"activation_function": "relu"}, "unscaled": {"scale_embedding": False}},
)
