"""What is read from the last hidden state. B batch, T query length, D model width, V vocabulary."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from configs import ModelConfig, UserError


class NoHead(nn.Module):
    """The hidden states themselves."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def forward(self, hidden_BTD: torch.Tensor, token_VD: torch.Tensor) -> torch.Tensor:
        return hidden_BTD


class LanguageModelHead(nn.Module):
    """A logit for each token of the vocabulary, by a matrix of its own or the token table ("Attention Is All You Need", 3.4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.head.soft_cap or config.head.scale:
            raise UserError("head.soft_cap and head.scale are not built yet")
        self.weight = None if config.head.tied else nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.bias = nn.Parameter(torch.empty(config.vocab_size)) if config.head.bias else None

    def forward(self, hidden_BTD: torch.Tensor, token_VD: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden_BTD, token_VD if self.weight is None else self.weight, self.bias)


HEADS = {"none": NoHead, "language_model": LanguageModelHead}


def build_head(config: ModelConfig) -> nn.Module:
    """The head that the config asks for."""
    if config.head.kind not in HEADS:
        raise UserError(f"head.kind={config.head.kind!r} is not built yet; built: {', '.join(HEADS)}")
    return HEADS[config.head.kind](config)
