"""Normalization over the last axis, of hidden states (B, T, D) or of anything else; `weight` and `bias` are as long as that."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from configs import ModelConfig


def plain_layer_norm(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, epsilon: float) -> torch.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016, equation 4)."""
    mean = hidden.mean(-1, keepdim=True)
    variance = (hidden - mean).square().mean(-1, keepdim=True)
    normal = (hidden - mean) * torch.rsqrt(variance + epsilon)
    return normal * weight if bias is None else normal * weight + bias


def plain_rms_norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019, equation 4)."""
    mean_square = hidden.square().mean(-1, keepdim=True)
    return hidden * torch.rsqrt(mean_square + epsilon) * weight


class LayerNorm(nn.Module):
    """`plain_layer_norm` by PyTorch's fused kernel."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.epsilon = config.norm.epsilon
        self.weight = nn.Parameter(torch.empty(size))
        self.bias = nn.Parameter(torch.empty(size)) if config.norm.bias else None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(hidden, self.weight.shape, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """`plain_rms_norm` by PyTorch's fused kernel. The weight may be stored as w - 1 (Gemma)."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.epsilon = config.norm.epsilon
        self.offset = 1.0 if config.norm.unit_offset else 0.0
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.offset:
            return F.rms_norm(hidden, self.weight.shape, self.weight, self.epsilon)
        # 1 + w has more digits than half precision keeps.
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        weight = self.weight.to(wide) + self.offset
        return F.rms_norm(hidden.to(wide), weight.shape, weight, self.epsilon).to(hidden.dtype)


NORMS = {"layer": LayerNorm, "rms": RMSNorm}


def build_norm(config: ModelConfig, size: int | None = None) -> nn.Module:
    """The norm that the config asks for, over `size` values: default the model's width."""
    return NORMS[config.norm.kind](config, size or config.width)
