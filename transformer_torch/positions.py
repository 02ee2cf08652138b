"""Positions inside attention: rotary. B batch, T query length, H heads, K head size, N longest length, R rotary pairs."""

from __future__ import annotations

import torch
from torch import nn

from configs import ModelConfig, rotary_tables


class RotaryPositions(nn.Module):
    """Cosines and sines by position (RoFormer, Su et al. 2021). Nothing here is trained."""

    cosines_NR: torch.Tensor
    sines_NR: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        cosines_NR, sines_NR = rotary_tables(config)
        self.register_buffer("cosines_NR", torch.from_numpy(cosines_NR), persistent=False)
        self.register_buffer("sines_NR", torch.from_numpy(sines_NR), persistent=False)

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
