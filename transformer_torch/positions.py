"""Positions inside attention: rotary. B batch, T query length, H heads, K head size, N longest length, R rotary pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from configs import ModelConfig, rotary_tables


class RotaryPositions(nn.Module):
    """Cosines and sines by position (RoFormer, Su et al. 2021). Nothing here is trained."""

    cosines_NR: torch.Tensor
    sines_NR: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tables = rotary_tables(config)
        self.register_buffer("cosines_NR", torch.tensor(self.tables[0], dtype=torch.get_default_dtype()), persistent=False)
        self.register_buffer("sines_NR", torch.tensor(self.tables[1], dtype=torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> RotaryPositions:
        # A table rounded to float32 is not float64 after `.double()`: whatever moves or casts the model makes it anew.
        super()._apply(fn, recurse)
        for buffer, table in zip((self.cosines_NR, self.sines_NR), self.tables, strict=True):
            buffer.copy_(torch.from_numpy(table))
        return self

    def forward(self, position_ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cosines_B1TR = self.cosines_NR[position_ids_BT].unsqueeze(1)
        sines_B1TR = self.sines_NR[position_ids_BT].unsqueeze(1)
        return cosines_B1TR, sines_B1TR


def rotate(heads_BHTK: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Turn value i of each head together with value i + R (RoFormer, equation 34, in the order of Llama's files)."""
    cosines_B1TR, sines_B1TR = rotary
    size = cosines_B1TR.shape[-1]
    first_BHTR, second_BHTR, rest = heads_BHTK.split([size, size, heads_BHTK.shape[-1] - 2 * size], dim=-1)
    turned_first_BHTR = first_BHTR * cosines_B1TR - second_BHTR * sines_B1TR
    turned_second_BHTR = second_BHTR * cosines_B1TR + first_BHTR * sines_B1TR
    return torch.cat([turned_first_BHTR, turned_second_BHTR, rest], dim=-1)
