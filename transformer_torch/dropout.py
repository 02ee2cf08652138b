"""Dropout ("Attention Is All You Need", 5.4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from transformer_torch.products import is_transformed

# A value stays where a random 16-bit integer is at least rate * LEVELS.
LEVELS = 2**16


class Dropout(nn.Dropout):
    """In training a value becomes 0 with probability p, else x / (1 - p); otherwise it stays as it is (Srivastava et al. 2014, 10).

    On a CPU, PyTorch draws a random number of 64 bits for each value, and that takes longer than the layer before it. Here one such
    number serves four values, so that p is a multiple of 1/65,536.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return hidden
        if hidden.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed():
            return super().forward(hidden)
        return DropByBits.apply(hidden, min(round(self.p * LEVELS), LEVELS - 1))


class DropByBits(torch.autograd.Function):
    """Set each value to 0 with probability dropped / 65,536."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, dropped: int) -> torch.Tensor:
        words = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        stays = (words.view(torch.int16)[: hidden.numel()] >= dropped - LEVELS // 2).view(hidden.shape)
        ctx.save_for_backward(stays)
        ctx.scale = LEVELS / (LEVELS - dropped)
        return hidden * stays.to(hidden.dtype).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (stays,) = ctx.saved_tensors
        return gradients[0] * stays.to(gradients[0].dtype).mul_(ctx.scale), None
