"""The model's weights by canonical name, as NumPy arrays, in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import ml_dtypes
import numpy as np
import torch
from torch import nn


def named_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint by its canonical name, which is PyTorch's own name for it."""
    return dict(model.named_parameters())


def reader(model: nn.Module) -> Callable[[str], np.ndarray]:
    """A function from a canonical name to that weight in canonical layout, which is PyTorch's own."""
    weights = named_weights(model)
    return lambda name: to_numpy(weights[name])


def to_numpy(weight: torch.Tensor) -> np.ndarray:
    """An array of the same type; NumPy's bfloat16 is that of ml_dtypes."""
    weight = weight.detach().cpu()
    if weight.dtype == torch.bfloat16:
        return weight.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return weight.numpy()


@torch.no_grad()
def assign(model: nn.Module, tensors: Iterable[tuple[str, np.ndarray]], share: bool = False) -> None:
    """Fill every weight of the model, converted to its type. Raises KeyError for a name the model lacks or that is left unset.

    share: a weight whose type is that of its array takes over the array's memory, as a mapped file is, and is not copied.
    """
    weights = named_weights(model)
    for name, array in tensors:
        weight, tensor = weights.pop(name), to_torch(array)
        if share and tensor.dtype == weight.dtype:
            # A matrix may lie transposed, as GPT-2's do, but not with gaps between its rows: there PyTorch's fused AdamW is silently wrong.
            is_transposed = tensor.ndim == 2 and tensor.stride(0) < tensor.stride(1)
            weight.data = tensor.mT.contiguous().mT if is_transposed else tensor.contiguous()
        else:
            weight.copy_(tensor)
    if weights:
        raise KeyError(f"left unset: {', '.join(weights)}")


def to_torch(array: np.ndarray) -> torch.Tensor:
    """The inverse of `to_numpy`, on the same memory."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
