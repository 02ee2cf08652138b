"""From a sequence to one vector, and the dense layer that may stand before a head (BERT, Devlin et al. 2019, 3.1, and its
released code).

B batch, T query length, D model width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from configs import ModelConfig
from configs.parts import Pooler as PoolerConfig
from configs.parts import Transform as TransformConfig
from transformer_torch.feed_forward import ACTIVATIONS
from transformer_torch.linear import Linear
from transformer_torch.normalization import build_norm


class Transform(Linear):
    """norm(activation(x W^T + b)), with or without the norm."""

    def __init__(self, config: ModelConfig, transform: TransformConfig, outputs: int) -> None:
        super().__init__(config.width, outputs, transform.bias)
        self.activation = ACTIVATIONS[transform.activation]
        self.norm = build_norm(config, outputs) if transform.norm else None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.activation(super().forward(hidden))
        return hidden if self.norm is None else self.norm(hidden)


def first(hidden_BTD: torch.Tensor, attention_mask_BT: torch.Tensor | None) -> torch.Tensor:
    """The first token's vector (BERT, ViT)."""
    return hidden_BTD[:, 0]


def last(hidden_BTD: torch.Tensor, attention_mask_BT: torch.Tensor | None) -> torch.Tensor:
    """The vector of the last token that the mask lets through (GPT, Radford et al. 2018, 3.2)."""
    if attention_mask_BT is None:
        return hidden_BTD[:, -1]
    places_T = torch.arange(hidden_BTD.shape[1], device=hidden_BTD.device)
    last_B = (attention_mask_BT.long() * places_T).argmax(1)
    return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), last_B]


def end(hidden_BTD: torch.Tensor, is_end_BT: torch.Tensor) -> torch.Tensor:
    """The vector of the first token that ends a text, or, where none does, of the first (CLIP, Radford et al. 2021, 2.4)."""
    length = hidden_BTD.shape[1]
    places_T = torch.arange(length, device=hidden_BTD.device)
    # Where there is none, the least is `length`, which the remainder makes 0.
    end_B = torch.where(is_end_BT, places_T, length).amin(1) % length
    return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), end_B]


def mean(hidden_BTD: torch.Tensor, attention_mask_BT: torch.Tensor | None) -> torch.Tensor:
    """The mean over the tokens that the mask lets through (Sentence-BERT, Reimers and Gurevych 2019, 3)."""
    if attention_mask_BT is None:
        return hidden_BTD.mean(1)
    weights_BT1 = attention_mask_BT[:, :, None].to(hidden_BTD.dtype)
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)


POOLINGS: dict[str, Callable[..., torch.Tensor]] = {"first": first, "last": last, "end": end, "highest": end, "mean": mean}


class Pooler(nn.Module):
    """One vector (B, D) for a sequence."""

    def __init__(self, config: ModelConfig, pooler: PoolerConfig) -> None:
        super().__init__()
        self.pool = POOLINGS[pooler.kind]
        self.kind, self.ends = pooler.kind, config.special_tokens.eos
        self.transform = Transform(config, pooler.transform, config.width) if pooler.transform else None

    def forward(self, hidden_BTD: torch.Tensor, attention_mask_BT: torch.Tensor | None, inputs: torch.Tensor) -> torch.Tensor:
        """inputs: what the stack read, of texts its ids (B, T)."""
        mask_BT = attention_mask_BT
        if self.kind == "end":
            mask_BT = torch.stack([inputs == token for token in self.ends]).any(0)
        elif self.kind == "highest":
            mask_BT = inputs == inputs.amax(1, keepdim=True)
        pooled_BD = self.pool(hidden_BTD, mask_BT)
        return pooled_BD if self.transform is None else self.transform(pooled_BD)
