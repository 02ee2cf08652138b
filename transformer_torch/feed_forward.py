"""Position-wise feed-forward network ("Attention Is All You Need", 3.3).

B batch, T query length, D model width, F feed-forward width, U experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from configs import ModelConfig
from transformer_torch.dropout import Dropout
from transformer_torch.linear import Linear
from transformer_torch.normalization import build_norm


def gelu(hidden: torch.Tensor) -> torch.Tensor:
    """x Phi(x) = 0.5 x (1 + erf(x / sqrt(2))) (Hendrycks and Gimpel 2016)."""
    return F.gelu(hidden)


def gelu_tanh(hidden: torch.Tensor) -> torch.Tensor:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016, section 2)."""
    return F.gelu(hidden, approximate="tanh")


def quick_gelu(hidden: torch.Tensor) -> torch.Tensor:
    """x sigmoid(1.702 x) (Hendrycks and Gimpel 2016, section 2)."""
    return hidden * torch.sigmoid(1.702 * hidden)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class FeedForward(nn.Module):
    """down(activation(up(x))) ("Attention Is All You Need", equation 2), or gated: down(activation(gate(x)) * up(x)) (Shazeer 2020,
    equation 6).

    It holds its norms, which `Layer` applies.
    """

    def __init__(self, config: ModelConfig, has_norms: bool = True) -> None:
        super().__init__()
        width, bias = config.feed_forward.width, config.feed_forward.bias
        self.activation = ACTIVATIONS[config.feed_forward.activation]
        self.norm = build_norm(config) if has_norms else None
        self.gate = Linear(config.width, width, bias) if config.feed_forward.gated else None
        self.up = Linear(config.width, width, bias)
        self.down = Linear(width, config.width, bias)
        self.dropout = Dropout(config.dropout.feed_forward)
        self.output_norm = build_norm(config) if has_norms and config.norm.placement == "both" else None

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        if self.gate is None:
            hidden_BTF = self.activation(self.up(hidden_BTD))
        else:
            hidden_BTF = self.activation(self.gate(hidden_BTD)) * self.up(hidden_BTD)
        return self.down(self.dropout(hidden_BTF))


class Experts(nn.Module):
    """Mixture of experts: for each token the sum of the networks that a router scores highest, weighted by the softmax of their scores
    (Shazeer et al. 2017, 2; Mixtral, Jiang et al. 2024, 2.1).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts = config.feed_forward.experts
        assert experts is not None
        self.per_token = experts.per_token
        self.norm = build_norm(config)
        self.router = Linear(config.width, experts.count, False)
        self.experts: Any = nn.ModuleList([FeedForward(config, has_norms=False) for _ in range(experts.count)])
        self.output_norm = build_norm(config) if config.norm.placement == "both" else None

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        shares_BTU = self.shares(hidden_BTD)
        mixed_BTD = torch.zeros_like(hidden_BTD)
        # Every expert computes every token, and most get a share of zero: so all shapes are known before the router has spoken.
        for index, expert in enumerate(self.experts):
            mixed_BTD = mixed_BTD + shares_BTU[..., index : index + 1] * expert(hidden_BTD)
        return mixed_BTD

    def shares(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        """Softmax over the best few experts of each token, zero for the others."""
        logits_BTU = self.router(hidden_BTD)
        best_BTU = torch.zeros_like(logits_BTU).scatter(-1, logits_BTU.topk(self.per_token).indices, 1.0)
        return logits_BTU.masked_fill(best_BTU == 0.0, torch.finfo(logits_BTU.dtype).min).softmax(-1)


def build_feed_forward(config: ModelConfig) -> nn.Module:
    """One network or several, as the config asks for."""
    return FeedForward(config) if config.feed_forward.experts is None else Experts(config)
