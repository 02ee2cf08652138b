"""Tiny Hugging Face models whose every number matters: sizes all different, no tensor left at zero or one.

A model fresh from Hugging Face has zero biases and unit norm weights, and would agree with an implementation that forgets them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import transformers

from weight_mapping.family import Family

NUM_LABELS = 5


def revealing_settings(family: Family, architecture: str | None = None, variant: str | None = None, **changes: Any) -> dict[str, Any]:
    """The content of config.json: `family.revealing`, what the variant changes, and classes where the architecture has them."""
    architecture = architecture or next(iter(family.architectures))
    classifies = "classification" in str(family.architectures[architecture].get("head.kind"))
    labels = {"num_labels": NUM_LABELS} if classifies else {}
    return {**labels, **family.revealing, **(family.variants[variant] if variant else {}), **changes}


def hugging_face_model(
    family: Family,
    architecture: str | None = None,
    variant: str | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> transformers.PreTrainedModel:
    """A tiny random model of revealing sizes, in eval mode.

    architecture: Hugging Face's class, default the family's first. variant: one of `family.variants`. changes: other keys of config.json.
    """
    kind = getattr(transformers, architecture or next(iter(family.architectures)))
    model = kind(kind.config_class(**revealing_settings(family, architecture, variant, **changes)))
    randomise(model, seed)
    return model.to(dtype).eval()


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Every tensor that is trained or saved ~ N(0, 0.3); the weights of norms so around what they were, which is 1 or, as w - 1, 0."""
    generator = torch.Generator().manual_seed(seed)
    norms = {id(module.weight) for module in model.modules() if type(module).__name__.endswith("Norm")}
    saved = model.state_dict(keep_vars=True)
    tensors = {id(tensor): tensor for tensor in saved.values() if tensor.is_floating_point()}
    for tensor in tensors.values():
        if isinstance(tensor, torch.nn.Parameter) and not tensor.requires_grad:
            # A table that is computed, and never read from a file.
            continue
        noise = torch.randn(tensor.shape, generator=generator) * 0.3
        tensor.copy_(tensor + noise if id(tensor) in norms else noise)


def save_hugging_face(model: transformers.PreTrainedModel, folder: str | os.PathLike[str], **settings: Any) -> Path:
    """`save_pretrained` into `folder`, which is returned. settings: such as max_shard_size."""
    model.save_pretrained(folder, **settings)
    return Path(folder)
