"""What is computed from the last hidden states. B batch, T query length, D model width, V vocabulary, E embedding width."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from configs import ModelConfig
from transformer_torch.dropout import Dropout
from transformer_torch.linear import Linear
from transformer_torch.pooler import Transform
from transformer_torch.products import product


class NoHead(nn.Module):
    """The hidden states themselves."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def forward(self, hidden: torch.Tensor, token_VE: torch.Tensor | None) -> torch.Tensor:
        return hidden


class LanguageModelHead(nn.Module):
    """A logit for each token of the vocabulary, by a matrix of its own or the token table (Press and Wolf 2017; "Attention Is
    All You Need", 3.4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        head, width = config.head, config.head_width
        self.scale, self.soft_cap = head.scale, head.soft_cap
        self.transform = Transform(config, head.transform, width) if head.transform else None
        self.weight = None if head.tied else nn.Parameter(torch.empty(config.vocab_size, width))
        self.bias = nn.Parameter(torch.empty(config.vocab_size)) if head.bias else None
        # `for_inference` puts another one here.
        self.product: Any = product

    def forward(self, hidden_BTD: torch.Tensor, token_VE: torch.Tensor | None) -> torch.Tensor:
        hidden_BTE = hidden_BTD if self.transform is None else self.transform(hidden_BTD)
        if self.scale is not None:
            hidden_BTE = hidden_BTE * self.scale
        weight_VE = token_VE if self.weight is None else self.weight
        assert weight_VE is not None
        logits_BTV = self.product(hidden_BTE, weight_VE, self.bias)
        return logits_BTV if self.soft_cap is None else self.soft_cap * torch.tanh(logits_BTV / self.soft_cap)


class ClassificationHead(Linear):
    """A logit for each class: of a pooled vector (B, D), or of every token (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.width, config.head.num_classes, config.head.bias)
        self.dropout = Dropout(config.dropout.head)
        self.transform = Transform(config, config.head.transform, config.width) if config.head.transform else None

    def forward(self, hidden: torch.Tensor, token_VE: torch.Tensor | None = None) -> torch.Tensor:
        hidden = self.dropout(hidden)
        if self.transform is not None:
            hidden = self.dropout(self.transform(hidden))
        return super().forward(hidden)


class ProjectionHead(Linear):
    """A pooled vector in another width, where those of texts and images lie side by side (CLIP, Radford et al. 2021, 2.3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.width, config.head.num_outputs, config.head.bias)

    def forward(self, hidden: torch.Tensor, token_VE: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(hidden)


HEADS = {
    "none": NoHead,
    "language_model": LanguageModelHead,
    "masked_language_model": LanguageModelHead,
    "classification": ClassificationHead,
    "token_classification": ClassificationHead,
    "next_sentence": ClassificationHead,
    "projection": ProjectionHead,
}


def build_head(config: ModelConfig) -> nn.Module:
    """The head that the config asks for."""
    return HEADS[config.head.kind](config)
