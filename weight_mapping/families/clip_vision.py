"""CLIP's tower of images (Radford et al. 2021): ViT with a norm on the embeddings and no bias of patches, projected to where texts are."""

from weight_mapping.families.clip_text import CONSTANTS, architectures, fields, layer_rules, tower, write_projection
from weight_mapping.families.vit import read_length, side
from weight_mapping.family import Family
from weight_mapping.table import Field, Part, Rule

FAMILY = Family(
    name="clip_vision",
    model_type="clip_vision_model",
    inside={"clip": tower("vision_config")},
    architectures=architectures("Vision"),
    prefix="vision_model.",
    ignored=("vision_model.embeddings.position_ids", "text_model.*", "text_projection.weight", "logit_scale"),
    fields=(
        *fields(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
        Field("image_size", "inputs.image_size", default=224, read=side),
        Field("patch_size", "inputs.patch_size", default=32, read=side),
        Field("num_channels", "inputs.num_channels", default=3),
    ),
    parts=(
        Part("max_length", lambda source: read_length(source, patch_size=32), lambda config: {}),
        Part("head.width", lambda source: None, write_projection),
    ),
    constants={
        **CONSTANTS,
        "architecture": "encoder",
        "inputs.kind": "patches",
        "inputs.class_token": True,
        "inputs.bias": False,
        "embedding.norm": True,
        "pooler": {"kind": "first", "transform": None},
    },
    rules=(
        Rule("vision_model.embeddings.class_embedding", ("encoder.embeddings.class_token",)),
        Rule("vision_model.embeddings.patch_embedding.weight", ("encoder.embeddings.patch.weight",)),
        Rule("vision_model.embeddings.position_embedding.weight", ("encoder.embeddings.position.weight",)),
        # The file spells it so.
        Rule("vision_model.pre_layrnorm.weight", ("encoder.embeddings.norm.weight",)),
        Rule("vision_model.pre_layrnorm.bias", ("encoder.embeddings.norm.bias",)),
        *layer_rules("vision_model", "encoder"),
        # Of the class token alone, whose vector is the image's: norms see no other token.
        Rule("vision_model.post_layernorm.weight", ("encoder.norm.weight",)),
        Rule("vision_model.post_layernorm.bias", ("encoder.norm.bias",)),
        Rule("visual_projection.weight", ("head.weight",)),
    ),
    revealing={
        "hidden_size": 30,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "intermediate_size": 37,
        "layer_norm_eps": 1e-2,
        "image_size": 12,
        "patch_size": 4,
        "num_channels": 2,
        "projection_dim": 11,
    },
)
