"""CLIP's tower of images (Radford et al. 2021): ViT with a norm on the embeddings and no bias of patches, projected to where texts are."""

from weight_mapping.families.clip_text import CONSTANTS, PROJECTION, architectures, fields, layer_rules, tower
from weight_mapping.families.vit import REVEALING_SIZES, image_fields, length_of_images
from weight_mapping.family import Family
from weight_mapping.table import Rule

FAMILY = Family(
    name="clip_vision",
    model_type="clip_vision_model",
    inside={"clip": tower("vision_config")},
    architectures=architectures("Vision"),
    prefix="vision_model.",
    ignored=("vision_model.embeddings.position_ids", "text_model.*", "text_projection.weight", "logit_scale"),
    fields=(*fields(hidden_size=768, num_attention_heads=12, intermediate_size=3072), *image_fields(patch_size=32)),
    parts=(length_of_images(patch_size=32), PROJECTION),
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
        # Hugging Face norms the class token alone. Here all are, which changes nothing of that one: a norm sees a token at a time.
        Rule("vision_model.post_layernorm.weight", ("encoder.norm.weight",)),
        Rule("vision_model.post_layernorm.bias", ("encoder.norm.bias",)),
        Rule("visual_projection.weight", ("head.weight",)),
    ),
    revealing={**REVEALING_SIZES, "projection_dim": 11},
)
