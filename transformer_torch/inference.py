"""Matrix products for decoding on a CPU: few rows meet large weights, and to read these from memory is what takes time.

V vocabulary, E embedding width. TensorFlow has no such file: its products are XLA's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from configs import UserError
from transformer_torch.feed_forward import FeedForward
from transformer_torch.heads import LanguageModelHead
from transformer_torch.layers import Layer
from transformer_torch.linear import Linear
from transformer_torch.memory import give_back_freed_memory, use_large_pages
from transformer_torch.packed import Joined, Packed, Part, Quantized

if TYPE_CHECKING:
    from transformer_torch.model import Transformer


def for_inference(model: Transformer, weights: str = "float32") -> Transformer:
    """The same model with other products, for generation on a CPU; it is changed, and can be neither trained nor saved any more.

    weights: ``float32`` packed as oneDNN likes to read them, with the same numbers but for rounding; ``bf16`` packed, with all arithmetic
    in bfloat16; ``int8`` with a scale for each row of a weight, and products with activations that are rounded to 7 bits as they come
    (dynamic quantization, Jacob et al. 2018, 2.1). Logits keep no more digits than their weights. The model can be compiled, before or
    after.
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
    use_large_pages()
    model.packed = weights
    return model


def layers_of_one_input(model: Transformer) -> list[tuple[nn.Module, Sequence[str]]]:
    """The linear layers that one product can take the place of: in self-attention, and at the beginning of gated networks."""
    attentions: list[Any] = [module.self_attention for module in model.modules() if isinstance(module, Layer)]
    networks = [module for module in model.modules() if isinstance(module, FeedForward) and module.gate is not None]
    return [(module, ("query", "key", "value")) for module in attentions] + [(module, ("gate", "up")) for module in networks]


PRODUCTS: dict[str, Callable[..., nn.Module]] = {"float32": Packed, "bf16": Packed, "int8": Quantized}
