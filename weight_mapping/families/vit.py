"""ViT (Dosovitskiy et al. 2021): an image in patches, a class token, image classification."""

from collections.abc import Mapping
from typing import Any

from configs import ModelConfig, UserError
from weight_mapping.family import Family
from weight_mapping.operations import SQUEEZE, SQUEEZE_TWO
from weight_mapping.table import ACTIVATIONS, Field, Part, Rule, transform_activation, write_transform_activation

LAYER = "vit.encoder.layer.{layer}"
ATTENTION = "encoder.layers.{layer}.self_attention"
FEED_FORWARD = "encoder.layers.{layer}.feed_forward"
EMBEDDINGS = "vit.embeddings"
IMAGE_SIZE = 224


def side(size: int | list[int]) -> int:
    """Hugging Face also takes (height, width)."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UserError(f"config.json: an image or patch of {size} is not square; only square ones are built")
    return sides.pop()


def image_fields(patch_size: int) -> tuple[Field, ...]:
    """What an image is. patch_size: what is meant where it is left out."""
    return (
        Field("image_size", "inputs.image_size", default=IMAGE_SIZE, read=side),
        Field("patch_size", "inputs.patch_size", default=patch_size, read=side),
        Field("num_channels", "inputs.num_channels", default=3),
    )


def length_of_images(patch_size: int) -> Part:
    """Patches and the class token."""

    def read(source: Mapping[str, Any]) -> int:
        return (side(source.get("image_size") or IMAGE_SIZE) // side(source.get("patch_size") or patch_size)) ** 2 + 1

    return Part("max_length", read, lambda config: {})


def read_bias(source: Mapping[str, Any]) -> tuple[str, ...]:
    return ("query", "key", "value", "output") if source.get("qkv_bias", True) else ("output",)


def write_bias(config: ModelConfig) -> dict[str, Any]:
    return {"qkv_bias": "query" in config.attention.bias}


def pooler(source: Mapping[str, Any]) -> dict[str, Any]:
    """What ViTModel alone has, and no published classifier."""
    return {"kind": "first", "transform": {"activation": transform_activation("pooler_act", source.get("pooler_act") or "tanh")}}


def write_pooler(config: ModelConfig) -> dict[str, Any]:
    transform = config.pooler.transform if config.pooler else None
    return {} if transform is None else {"pooler_act": write_transform_activation(transform.activation)}


REVEALING_SIZES = {
    "hidden_size": 30,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "intermediate_size": 37,
    "layer_norm_eps": 1e-2,
    "image_size": 12,
    "patch_size": 4,
    "num_channels": 2,
}

FAMILY = Family(
    name="vit",
    model_type="vit",
    architectures={
        "ViTForImageClassification": {"head.kind": "classification", "head.bias": True, "pooler": {"kind": "first", "transform": None}},
        "ViTModel": {"head.kind": "none", "head.bias": False, "pooler": pooler},
    },
    prefix="vit.",
    # Of ViTForMaskedImageModeling.
    ignored=("vit.embeddings.mask_token",),
    fields=(
        Field("hidden_size", "width", default=768),
        Field("num_hidden_layers", "num_layers", default=12),
        Field("num_attention_heads", "attention.num_heads", default=12),
        Field("intermediate_size", "feed_forward.width", default=3072),
        Field("hidden_act", "feed_forward.activation", default="gelu", values=ACTIVATIONS),
        Field("hidden_dropout_prob", "dropout.embedding", default=0.0),
        Field("hidden_dropout_prob", "dropout.residual", default=0.0),
        Field("attention_probs_dropout_prob", "dropout.attention", default=0.0),
        Field("initializer_range", "initialization.std", default=0.02),
        Field("layer_norm_eps", "norm.epsilon", default=1e-12),
        *image_fields(patch_size=16),
    ),
    parts=(
        length_of_images(patch_size=16),
        Part("attention.bias", read_bias, write_bias),
        Part("pooler", lambda source: None, write_pooler),
    ),
    constants={
        "architecture": "encoder",
        "inputs.kind": "patches",
        "inputs.class_token": True,
        "inputs.bias": True,
        "positions.kind": "learned",
        "positions.offset": 0,
        "norm.kind": "layer",
        "norm.placement": "before",
        "norm.bias": True,
        "feed_forward.bias": True,
        "feed_forward.gated": False,
    },
    rules=(
        Rule(f"{EMBEDDINGS}.cls_token", ("encoder.embeddings.class_token",), (SQUEEZE_TWO,)),
        Rule(f"{EMBEDDINGS}.position_embeddings", ("encoder.embeddings.position.weight",), (SQUEEZE,)),
        Rule(f"{EMBEDDINGS}.patch_embeddings.projection.weight", ("encoder.embeddings.patch.weight",)),
        Rule(f"{EMBEDDINGS}.patch_embeddings.projection.bias", ("encoder.embeddings.patch.bias",)),
        *(
            Rule(f"{LAYER}.{theirs}.{kind}", (f"{ours}.{kind}",))
            for theirs, ours in {
                "layernorm_before": f"{ATTENTION}.norm",
                "attention.attention.query": f"{ATTENTION}.query",
                "attention.attention.key": f"{ATTENTION}.key",
                "attention.attention.value": f"{ATTENTION}.value",
                "attention.output.dense": f"{ATTENTION}.output",
                "layernorm_after": f"{FEED_FORWARD}.norm",
                "intermediate.dense": f"{FEED_FORWARD}.up",
                "output.dense": f"{FEED_FORWARD}.down",
            }.items()
            for kind in ("weight", "bias")
        ),
        Rule("vit.layernorm.weight", ("encoder.norm.weight",)),
        Rule("vit.layernorm.bias", ("encoder.norm.bias",)),
        Rule("vit.pooler.dense.weight", ("pooler.transform.weight",)),
        Rule("vit.pooler.dense.bias", ("pooler.transform.bias",)),
        Rule("classifier.weight", ("head.weight",)),
        Rule("classifier.bias", ("head.bias",)),
    ),
    pooled_by="vit.pooler.dense.weight",
    revealing={**REVEALING_SIZES, "num_labels": 7},
    variants={"no biases": {"qkv_bias": False}, "relu": {"hidden_act": "relu"}},
)
