"""Matrix products for decoding on a CPU: few rows meet large weights, and to read these from memory is what takes time.

V vocabulary, E embedding width. TensorFlow has no such file: its products are XLA's.
"""

from __future__ import annotations

import ctypes
import platform
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from configs import UserError
from transformer_torch.feed_forward import FeedForward
from transformer_torch.heads import LanguageModelHead
from transformer_torch.layers import Layer
from transformer_torch.linear import Linear
from transformer_torch.products import by_onednn

if TYPE_CHECKING:
    from transformer_torch.model import Transformer

# The most that a weight of 8 bits can be, with its sign.
LARGEST = 127


def for_inference(model: Transformer, weights: str = "float32") -> Transformer:
    """The same model with other products, for generation on a CPU; it is changed, and can be neither trained nor saved any more.

    weights: ``float32`` packed as oneDNN likes to read them, with the same numbers but for rounding; ``bf16`` packed, with all arithmetic
    in bfloat16; ``int8`` with a scale for each row of a weight, and products with activations that are rounded to 7 bits as they come
    (dynamic quantization, Jacob et al. 2018, 2.1). Logits keep no more digits than their weights.
    Raises UserError for a model on another device, or that is not float32.
    """
    if weights not in PRODUCTS:
        raise UserError(f"weights={weights!r} is not known; choose one of: {', '.join(PRODUCTS)}")
    if model.packed is not None:
        raise UserError(f"the model is packed already ({model.packed}); load it again to pack it otherwise")
    weight = next(model.parameters())
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise UserError(f"for_inference packs float32 weights on a CPU, and the model is {weight.dtype} on {weight.device.type}")
    if weights != "int8" and not torch.backends.mkldnn.is_available():
        raise UserError(f"weights={weights!r} are packed by oneDNN, which this PyTorch lacks; leave for_inference out")
    product = PRODUCTS[weights]
    model.eval().requires_grad_(False)
    if weights == "bf16":
        model.to(torch.bfloat16)
    for parent, names in layers_of_one_input(model):
        joined = Joined([getattr(parent, name) for name in names], product)
        for place, name in enumerate(names):
            setattr(parent, name, Part(joined, place))
        give_back_freed_memory()
    for parent in list(model.modules()):
        linear = [name for name, child in parent.named_children() if type(child) is Linear]
        for name in linear:
            setattr(parent, name, product(getattr(parent, name).weight, getattr(parent, name).bias))
        if linear:
            give_back_freed_memory()
    if isinstance(model.head, LanguageModelHead):
        table_VE = model.token_table() if model.head.weight is None else model.head.weight
        assert table_VE is not None
        model.head.product = product(table_VE, model.head.bias)
        if model.head.weight is not None:
            # Of no further use, and as large as all the rest of a small model.
            model.head.weight = nn.Parameter(model.head.weight[:0], requires_grad=False)
    give_back_freed_memory()
    model.packed = weights
    return model


def give_back_freed_memory() -> None:
    """The weights that were replaced lay between others, and glibc would keep the gaps."""
    if is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


@cache
def is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def layers_of_one_input(model: Transformer) -> list[tuple[nn.Module, Sequence[str]]]:
    """The linear layers that one product can take the place of: in self-attention, and at the beginning of gated networks."""
    attentions: list[Any] = [module.self_attention for module in model.modules() if isinstance(module, Layer)]
    networks = [module for module in model.modules() if isinstance(module, FeedForward) and module.gate is not None]
    return [(module, ("query", "key", "value")) for module in attentions] + [(module, ("gate", "up")) for module in networks]


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


class Packed(nn.Module):
    """y = x W^T + b, with W in the order in which oneDNN reads it.

    replaced: the weight and bias that `LanguageModelHead` passes, and that are packed here.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 1)
        self.bias = bias

    def forward(self, hidden: torch.Tensor, *replaced: Any) -> torch.Tensor:
        return by_onednn(hidden, self.packed, self.bias)


class Quantized(nn.Module):
    """y = x W^T + b, with W in 8 bits, and x in 7 by the largest and the least of its numbers: 8 times 8 bits is more than the sums of
    some processors hold. replaced: as in `Packed`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        scales = weight.detach().abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny).double() / LARGEST
        with warnings.catch_warnings():
            # PyTorch will move this to another package; the packed product stays.
            warnings.simplefilter("ignore")
            rounded = torch.quantize_per_channel(weight.detach(), scales, torch.zeros_like(scales, dtype=torch.long), 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, bias)

    def forward(self, hidden: torch.Tensor, *replaced: Any) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic(hidden, self.packed, True)


PRODUCTS: dict[str, Callable[..., nn.Module]] = {"float32": Packed, "bf16": Packed, "int8": Quantized}
