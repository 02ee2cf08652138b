"""The two parts with large weights. B batch, T query length, I inputs, O outputs, V vocabulary, D model width."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Linear(nn.Module):
    """y = x W^T + b. `weight` has shape (outputs, inputs)."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, hidden_BTI: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden_BTI, self.weight, self.bias)


class Embedding(nn.Module):
    """One vector for each id. `weight` has shape (ids, width)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, width))

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids_BT, self.weight)
