"""What a device would do to tensors that have no storage: bf16 autocast, and attention in one kernel.

B batch, T query length, S key length, H heads, G key/value heads, K head size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from transformer_torch.layers import Layer

PRODUCTS = {F.linear, F.conv2d, F.scaled_dot_product_attention, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm}


class AsOnDevice(TorchFunctionMode):
    """On the meta device `torch.autocast` casts nothing, and attention falls back to the formula, which keeps all scores.

    bf16: matrix products cast what they are given, and a weight once, as autocast has it.
    """

    def __init__(self, bf16: bool) -> None:
        super().__init__()
        self.bf16 = bf16
        self.weights: dict[int, torch.Tensor] = {}
        self.active = False

    def cover(self, model: nn.Module) -> None:
        """Be on while the model's `forward` runs, and a layer's, which gradient checkpointing calls again in the backward pass."""
        for module in model.modules():
            if module is model or isinstance(module, Layer):
                module.forward = self.within(module.forward)

    def within(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if self.active:
                return forward(*arguments, **named)
            self.active = True
            try:
                with self:
                    return forward(*arguments, **named)
            finally:
                self.active = False

        return run

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(named or {})
        if self.bf16 and function in PRODUCTS:
            arguments, named = [self.cast(value) for value in arguments], {name: self.cast(value) for name, value in named.items()}
        if function is F.scaled_dot_product_attention and len(arguments) > 3 and arguments[3] is None:
            return Kernel.apply(*arguments[:3])
        return function(*arguments, **named)

    def cast(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        if id(value) not in self.weights:
            self.weights[id(value)] = value.to(torch.bfloat16)
        return self.weights[id(value)]


class Kernel(torch.autograd.Function):
    """The products and what is kept of attention in one kernel (FlashAttention, Dao et al. 2022): no scores, but a sum for each query."""

    @staticmethod
    def forward(ctx: Any, query_BHTK: torch.Tensor, key_BGSK: torch.Tensor, value_BGSK: torch.Tensor) -> torch.Tensor:
        groups = query_BHTK.shape[1] // key_BGSK.shape[1]
        key_BHSK, value_BHSK = (heads.repeat_interleave(groups, 1) for heads in (key_BGSK, value_BGSK))
        scores_BHTS = query_BHTK @ key_BHSK.mT
        mixed_BHTK = scores_BHTS @ value_BHSK
        ctx.save_for_backward(query_BHTK, key_BGSK, value_BGSK, mixed_BHTK, torch.empty_like(scores_BHTS[..., 0], dtype=torch.float32))
        return mixed_BHTK

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query_BHTK, key_BGSK, value_BGSK, _, _ = ctx.saved_tensors
        groups = query_BHTK.shape[1] // key_BGSK.shape[1]
        key_BHSK, value_BHSK = (heads.repeat_interleave(groups, 1) for heads in (key_BGSK, value_BGSK))
        scores_BHTS = gradients[0] @ value_BHSK.mT
        return scores_BHTS @ key_BHSK, (scores_BHTS.mT @ query_BHTK)[:, ::groups], (scores_BHTS.mT @ gradients[0])[:, ::groups]
