"""The matrix product of linear layers, forward and backward: PyTorch's, but for AMD's CPUs and compiled steps on a GPU. TensorFlow has no
such file: its products are XLA's.

PyTorch leaves float32 products to Intel's MKL, whose kernels reach half of what oneDNN's do on AMD's processors (benchmarks/README.md).
oneDNN adds long sums up in another order, and was 2.7 times as far from float64 as MKL in a layer of width 256.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.nn import functional as F


def product(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """y = x W^T + b: `hidden` of shape (..., inputs) and `weight` of shape (outputs, inputs) give (..., outputs)."""
    if torch.compiler.is_compiling() and hidden.device.type == "cuda" and bias is not None and hidden.numel() == hidden.shape[-1]:
        # A compiler can write the product with one row itself, and join to it what comes before and after.
        multiplied = F.linear(hidden, weight)
        return multiplied + bias.to(multiplied.dtype)
    if not takes_onednn(hidden, weight):
        return F.linear(hidden, weight, bias)
    return Product.apply(hidden, weight, bias) if torch.is_grad_enabled() else by_onednn(hidden, weight, bias)


def by_onednn(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The same without a gradient, by an operator that PyTorch's compiler uses too."""
    return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")


def takes_onednn(hidden: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether oneDNN is faster here: several rows in float32 on a CPU that MKL was not made for. Compilers, autocast and the transforms of
    `torch.func` have PyTorch's own product."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"):
        return False
    is_float32_on_cpu = hidden.device.type == "cpu" and hidden.dtype == weight.dtype == torch.float32
    has_rows = hidden.numel() > hidden.shape[-1]
    return is_float32_on_cpu and has_rows and is_amd() and bool(torch.backends.mkldnn.enabled) and not is_transformed()


@cache
def is_amd() -> bool:
    """Whether this is a processor of AMD's, and PyTorch has oneDNN."""
    # Older versions of PyTorch do not tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.backends.mkldnn.is_available() and "AMD" in capabilities.get("cpu_name", "")


def is_transformed() -> bool:
    """Whether `torch.func` (vmap, jvp, hessian) or forward-mode differentiation is at work: they know PyTorch's own operators only."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


class Product(torch.autograd.Function):
    """y = x W^T + b, with dx = dy W, dW = dy^T x and db = the sum of dy over rows: products too."""

    @staticmethod
    def forward(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return by_onednn(hidden, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        gradient, needed = gradients[0], ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(gradient, weight.t()) if needed[0] else None,
            product(rows.t(), hidden.reshape(-1, hidden.shape[-1]).t()) if needed[1] else None,
            rows.sum(0) if needed[2] else None,
        )
