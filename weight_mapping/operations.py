"""What may happen to tensors between a Hugging Face file and the canonical names: few, named, and exactly invertible.

Each operation takes a list of arrays and gives a list of arrays; `forward` reads a Hugging Face file, `inverse` writes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from configs import ModelConfig

Shape = tuple[int, ...]


class Operation(Protocol):
    @property
    def name(self) -> str: ...

    def forward(self, arrays: list[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        """From the file to arrays of these `shapes`."""

    def inverse(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Back to the file."""

    def inverse_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shapes that `inverse` gives."""

    def of(self, config: ModelConfig) -> Operation:
        """The operation with what it needs to know of a model."""
        return self


@dataclass(frozen=True)
class Transpose(Operation):
    """Swap the two axes of every matrix (GPT-2 keeps its linear weights as inputs x outputs)."""

    name: str = "transpose"

    def forward(self, arrays: list[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        return [array.T for array in arrays]

    def inverse(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [array.T for array in arrays]

    def inverse_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        return [shape[::-1] for shape in shapes]


@dataclass(frozen=True)
class Split(Operation):
    """Cut one tensor of the file into several along the first axis (query, key and value in one)."""

    name: str = "split"

    def forward(self, arrays: list[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        return np.split(arrays[0], np.cumsum([shape[0] for shape in shapes])[:-1])

    def inverse(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [np.concatenate(arrays)]

    def inverse_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        return [(sum(shape[0] for shape in shapes), *shapes[0][1:])]


@dataclass(frozen=True)
class SplitHeads(Operation):
    """Cut one tensor of the file that is laid out head by head, each with its query, key and value: H x 3 x K (GPT-NeoX)."""

    heads: int = 1
    name: str = "split heads"

    def forward(self, arrays: list[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        by_head = arrays[0].reshape(self.heads, len(shapes), -1)
        return [by_head[:, part].reshape(shape) for part, shape in enumerate(shapes)]

    def inverse(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        by_head = [array.reshape(self.heads, -1) for array in arrays]
        return [np.stack(by_head, axis=1).reshape(-1, *arrays[0].shape[1:])]

    def inverse_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        return SPLIT.inverse_shapes(shapes)

    def of(self, config: ModelConfig) -> Operation:
        return replace(self, heads=config.attention.num_heads)


@dataclass(frozen=True)
class Squeeze(Operation):
    """Drop leading axes of length one (biases and tables that are kept as if for a batch)."""

    axes: int = 1
    name: str = "squeeze"

    def forward(self, arrays: list[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        return [array.reshape(array.shape[self.axes :]) for array in arrays]

    def inverse(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [array.reshape((1,) * self.axes + array.shape) for array in arrays]

    def inverse_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        return [(1,) * self.axes + tuple(shape) for shape in shapes]


TRANSPOSE = Transpose()
SPLIT = Split()
SPLIT_HEADS = SplitHeads()
SQUEEZE = Squeeze()
SQUEEZE_TWO = Squeeze(2, "squeeze 2")
