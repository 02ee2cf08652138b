"""Products whose weights lie in the order in which a kernel reads them. Whoever compiles a model sees each as one operator.

TensorFlow has no such file: its products are XLA's.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn

from transformer_torch.linear import Linear
from transformer_torch.products import by_onednn

# The most that a weight of 8 bits can be, with its sign.
LARGEST = 127
multiply_quantized = torch.ops.quantized.linear_dynamic.default


class PackedProduct(nn.Module):
    """y = x W^T + b. `multiply` is the kernel.

    number: what stands for its weights in compiled programs, which take tensors and numbers alone.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.outputs = len(weight)
        self.number = numbered(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy has weights of its own.
        super().__setstate__(state)
        self.number = numbered(self)

    def forward(self, hidden: torch.Tensor, *replaced: Any) -> torch.Tensor:
        """replaced: the weight and bias that `LanguageModelHead` passes, and that are packed here."""
        if torch.compiler.is_compiling():
            found: torch.Tensor = torch.ops.transformer_torch.packed_product(hidden, self.number, self.outputs)
            return found
        return self.multiply(hidden)

    def multiply(self, hidden: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


NUMBERS = itertools.count()
BY_NUMBER: WeakValueDictionary[int, PackedProduct] = WeakValueDictionary()
OPERATORS = torch.library.Library("transformer_torch", "FRAGMENT")
OPERATORS.define("packed_product(Tensor hidden, int number, SymInt outputs) -> Tensor")
OPERATORS.impl("packed_product", lambda hidden, number, outputs: BY_NUMBER[number].multiply(hidden), "CPU")
OPERATORS.impl("packed_product", lambda hidden, number, outputs: hidden.new_empty((*hidden.shape[:-1], outputs)), "Meta")


def numbered(product: PackedProduct) -> int:
    number = next(NUMBERS)
    BY_NUMBER[number] = product
    return number


class Packed(PackedProduct):
    """In the order in which oneDNN reads weights, of float32 or bfloat16."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 1)
        self.bias = bias

    def multiply(self, hidden: torch.Tensor) -> torch.Tensor:
        return by_onednn(hidden, self.packed, self.bias)


class Quantized(PackedProduct):
    """With W in 8 bits, and x in 7 by the largest and the least of its numbers: 8 times 8 bits is more than the sums of some processors
    hold."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight)
        scales = weight.detach().abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny).double() / LARGEST
        with warnings.catch_warnings():
            # PyTorch will move this to another package; the packed product stays.
            warnings.simplefilter("ignore")
            rounded = torch.quantize_per_channel(weight.detach(), scales, torch.zeros_like(scales, dtype=torch.long), 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, bias)

    def multiply(self, hidden: torch.Tensor) -> torch.Tensor:
        return multiply_quantized(hidden, self.packed, True)


class Joined(nn.Module):
    """Several linear layers of the same input as one: with a single token what a call costs by itself is a good part of it."""

    def __init__(self, layers: Sequence[Linear], product: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.sizes = [len(layer.weight) for layer in layers]
        biases = [torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias for layer in layers]
        has_bias = any(layer.bias is not None for layer in layers)
        self.product = product(torch.cat([layer.weight for layer in layers]), torch.cat(biases) if has_bias else None)
        self.kept: tuple[torch.Tensor, Sequence[torch.Tensor]] | None = None

    def part(self, hidden: torch.Tensor, place: int) -> torch.Tensor:
        """What layer number `place` gives; the first that is asked computes them all, and the last lets go of them."""
        kept = self.kept
        if kept is None or kept[0] is not hidden:
            kept = hidden, self.product(hidden).split(self.sizes, -1)
        self.kept = kept if place + 1 < len(self.sizes) else None
        return kept[1][place]


class Part(nn.Module):
    """One of the layers of `Joined`, in the place of the layer that it was."""

    def __init__(self, joined: Joined, place: int) -> None:
        super().__init__()
        self.joined, self.place = joined, place

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.joined.part(hidden, self.place)
