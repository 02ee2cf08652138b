"""CLIP's tower of texts (Radford et al. 2021): a decoder whose vector at the end of a text is projected to where images are too."""

from collections.abc import Callable, Mapping
from typing import Any

from configs import ModelConfig, UserError
from weight_mapping.family import Family
from weight_mapping.table import ACTIVATIONS, Field, Part, Rule, special_tokens

LAST_TOKEN = 49407


def tower(name: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """How a tower's config.json comes out of that of both: in old files it is there twice, and Hugging Face believes the second one. The
    width of projections stands outside."""

    def read(source: Mapping[str, Any]) -> Mapping[str, Any]:
        key = name if source.get(f"{name}_dict") is None else f"{name}_dict"
        own = source.get(key) or {}
        if not isinstance(own, Mapping):
            raise UserError(f"config.json: {key} is {own!r}; expected the keys and values of a tower")
        return {**own, "projection_dim": source.get("projection_dim")}

    return read


def architectures(name: str) -> dict[str, Mapping[str, Any]]:
    """With the projection, and without."""
    projection = {"head.kind": "projection", "head.width": lambda source: source.get("projection_dim") or 512}
    return {f"CLIP{name}ModelWithProjection": projection, f"CLIP{name}Model": {"head.kind": "none", "head.width": None}}


def layer_rules(tower: str, stack: str) -> tuple[Rule, ...]:
    """The names of a layer, which are the same in both towers."""
    layer, ours = f"{tower}.encoder.layers.{{layer}}", f"{stack}.layers.{{layer}}"
    names = {
        "layer_norm1": "self_attention.norm",
        "self_attn.q_proj": "self_attention.query",
        "self_attn.k_proj": "self_attention.key",
        "self_attn.v_proj": "self_attention.value",
        "self_attn.out_proj": "self_attention.output",
        "layer_norm2": "feed_forward.norm",
        "mlp.fc1": "feed_forward.up",
        "mlp.fc2": "feed_forward.down",
    }
    return tuple(
        Rule(f"{layer}.{theirs}.{kind}", (f"{ours}.{part}.{kind}",)) for theirs, part in names.items() for kind in ("weight", "bias")
    )


def fields(**defaults: int) -> tuple[Field, ...]:
    """The keys of both towers: `hidden_size`, `num_attention_heads` and `intermediate_size` with other defaults in each."""
    return (
        Field("hidden_size", "width", default=defaults["hidden_size"]),
        Field("num_hidden_layers", "num_layers", default=12),
        Field("num_attention_heads", "attention.num_heads", default=defaults["num_attention_heads"]),
        Field("intermediate_size", "feed_forward.width", default=defaults["intermediate_size"]),
        Field("hidden_act", "feed_forward.activation", default="quick_gelu", values=ACTIVATIONS),
        Field("layer_norm_eps", "norm.epsilon", default=1e-5),
        Field("attention_dropout", "dropout.attention", default=0.0),
        Field("initializer_range", "initialization.std", default=0.02),
    )


# Read with the architecture.
PROJECTION = Part("head.width", lambda source: None, lambda config: {"projection_dim": config.head.width} if config.head.width else {})
CONSTANTS = {
    "positions.kind": "learned",
    "positions.offset": 0,
    "norm.kind": "layer",
    "norm.placement": "before",
    "norm.bias": True,
    "attention.bias": ("query", "key", "value", "output"),
    "feed_forward.bias": True,
    "feed_forward.gated": False,
    "head.bias": False,
}


def read_pooler(source: Mapping[str, Any]) -> dict[str, Any]:
    """Where a text is read: at its end. Old files say 2 of it, by which Hugging Face knows to look for the highest id."""
    end, count = source.get("eos_token_id", LAST_TOKEN), source.get("vocab_size", LAST_TOKEN + 1)
    if end == 2:
        return {"kind": "highest", "transform": None}
    if not isinstance(end, int) or not 0 <= end < count:
        raise UserError(f"config.json: eos_token_id is {end!r}, where a text is read; expected one id of a vocabulary of {count}")
    return {"kind": "end", "transform": None}


def write_pooler(config: ModelConfig) -> dict[str, Any]:
    if len(config.special_tokens.eos) != 1:
        raise UserError(f"special_tokens.eos is {list(config.special_tokens.eos)}; Hugging Face's CLIP has one place for it")
    return {}


FAMILY = Family(
    name="clip_text",
    model_type="clip_text_model",
    inside={"clip": tower("text_config")},
    architectures=architectures("Text"),
    prefix="text_model.",
    ignored=("text_model.embeddings.position_ids", "vision_model.*", "visual_projection.weight", "logit_scale"),
    fields=(
        *fields(hidden_size=512, num_attention_heads=8, intermediate_size=2048),
        Field("vocab_size", "vocab_size", default=LAST_TOKEN + 1),
        Field("max_position_embeddings", "max_length", default=77),
        *special_tokens(bos=49406, eos=LAST_TOKEN, pad=1),
    ),
    parts=(Part("pooler", read_pooler, write_pooler), PROJECTION),
    constants={**CONSTANTS, "architecture": "decoder"},
    rules=(
        Rule("text_model.embeddings.token_embedding.weight", ("decoder.embeddings.token.weight",)),
        Rule("text_model.embeddings.position_embedding.weight", ("decoder.embeddings.position.weight",)),
        *layer_rules("text_model", "decoder"),
        Rule("text_model.final_layer_norm.weight", ("decoder.norm.weight",)),
        Rule("text_model.final_layer_norm.bias", ("decoder.norm.bias",)),
        Rule("text_projection.weight", ("head.weight",)),
    ),
    revealing={
        "vocab_size": 83,
        "hidden_size": 30,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "intermediate_size": 37,
        "max_position_embeddings": 29,
        "layer_norm_eps": 1e-2,
        "projection_dim": 11,
        "bos_token_id": 81,
        "eos_token_id": 82,
        "pad_token_id": 1,
    },
    variants={"gelu": {"hidden_act": "gelu"}, "highest id": {"eos_token_id": 2}},
)
