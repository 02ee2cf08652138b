"""The parts with large weights: linear layers, tables of vectors, the projection of patches, and convolutions over time.

B batch, T query length, D model width, C channels, Y image height, X image width, P patches.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from transformer_torch.products import product


class Linear(nn.Module):
    """y = x W^T + b. `weight` has shape (outputs, inputs)."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # F.linear, but where another kernel is faster: `products.py` is about speed alone.
        return product(hidden, self.weight, self.bias)


class Embedding(nn.Module):
    """One vector for each id. `weight` has shape (ids, width)."""

    def __init__(self, size: int, width: int, is_trained: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, width), requires_grad=is_trained)

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids_BT, self.weight)


class PatchProjection(nn.Module):
    """Each square patch of an image to one vector (ViT, Dosovitskiy et al. 2021, equation 1).

    `weight` has shape (D, C, patch_size, patch_size).
    """

    def __init__(self, channels: int, width: int, patch_size: int, bias: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.weight = nn.Parameter(torch.empty(width, channels, patch_size, patch_size))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None

    def forward(self, pixel_values_BCYX: torch.Tensor) -> torch.Tensor:
        """Patches (B, P, D), row by row."""
        patches_BDP = F.conv2d(pixel_values_BCYX, self.weight, self.bias, stride=self.patch_size).flatten(2)
        return patches_BDP.transpose(1, 2)


class Convolution(nn.Module):
    """Each frame with its two neighbours to one vector, at every `stride`-th frame. `weight` has shape (outputs, inputs, 3)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """From frames (B, frames, inputs) to (B, T, D); beyond both ends there are zeros."""
        hidden_BDT = F.conv1d(frames.transpose(1, 2), self.weight, self.bias, stride=self.stride, padding=1)
        return hidden_BDT.transpose(1, 2)
