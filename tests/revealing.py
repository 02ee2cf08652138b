"""Tiny Hugging Face models whose every number matters: sizes all different, no tensor left at zero or one.

A model fresh from Hugging Face has zero biases and unit norm weights, and would agree with an implementation that forgets them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from weight_mapping.family import Family

NORMS = ("norm", "ln_")


def hugging_face_model(family: Family, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """A tiny random causal language model of `family.revealing` sizes, in eval mode. changes: other keys of config.json."""
    config = AutoConfig.for_model(family.model_type, **{**family.revealing, **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed)
    return model.to(dtype).eval()


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Every parameter ~ N(0, 0.3); the weights of norms ~ 1 + N(0, 0.3)."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator) * 0.3
        is_norm_weight = parameter.ndim == 1 and name.endswith("weight") and any(norm in name.lower() for norm in NORMS)
        parameter.copy_(values + 1.0 if is_norm_weight else values)


def save_hugging_face(model: PreTrainedModel, folder: str | os.PathLike[str], **settings: Any) -> Path:
    """`save_pretrained` into `folder`, which is returned. settings: such as max_shard_size."""
    model.save_pretrained(folder, **settings)
    return Path(folder)
