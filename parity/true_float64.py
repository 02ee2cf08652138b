"""Arithmetic in which Hugging Face's models, which ask for float32 by name, compute in float64 throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Float64ForFloat32(TorchFunctionMode):
    """Whatever asks for float32 gets float64."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def __torch_function__(self, function: Callable, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        if self.paused:
            return function(*arguments, **keywords)
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        arguments = tuple(torch.float64 if value is torch.float32 else value for value in arguments)
        return function(*arguments, **{key: torch.float64 if value is torch.float32 else value for key, value in keywords.items()})


_MODE = _Float64ForFloat32()


@contextmanager
def true_float64() -> Iterator[None]:
    """Inside, norms, rotary positions, softmax and tables are in float64."""
    dtype, float_tensor = torch.get_default_dtype(), torch.FloatTensor
    torch.set_default_dtype(torch.float64)
    # A constructor, which the mode does not see.
    torch.FloatTensor = torch.DoubleTensor  # type: ignore[assignment,misc]
    try:
        with _MODE:
            yield
    finally:
        torch.FloatTensor = float_tensor  # type: ignore[misc]
        torch.set_default_dtype(dtype)


def in_float32(function: Callable) -> Callable:
    """A function that computes as it is written, in `true_float64` too."""

    def paused(*arguments: Any, **keywords: Any) -> Any:
        before, _MODE.paused = _MODE.paused, True
        try:
            return function(*arguments, **keywords)
        finally:
            _MODE.paused = before

    return paused
