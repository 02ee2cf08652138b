"""Positions: fixed sines, rotary angles, relative biases. "Attention Is All You Need", 3.5, and what came after.

B batch, T query length, S key length, H heads, K head size, J rotary pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from configs import ModelConfig, dynamic_frequencies, relative_buckets, rotary_cosines, rotary_sines, sinusoidal_table
from configs.positions import DynamicScaling, RelativePositions
from configs.positions import RotaryPositions as Rotary


class Table(nn.Module):
    """One row of fixed numbers for each position. Nothing here is trained, and nothing is in a checkpoint."""

    rows: torch.Tensor

    def __init__(self, make: Callable[[], np.ndarray]) -> None:
        super().__init__()
        self.make = make
        self.register_buffer("rows", torch.tensor(make(), dtype=torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Table:
        # A table rounded to float32 is not float64 after `.double()`: whatever moves or casts the model makes it anew.
        super()._apply(fn, recurse)
        self.rows.copy_(torch.from_numpy(self.make()))
        return self

    def forward(self, position_ids_BT: torch.Tensor) -> torch.Tensor:
        return self.rows[position_ids_BT]


class ExactTable(Table):
    """A table whose numbers keep their own type, whatever the model's."""

    def __init__(self, make: Callable[[], np.ndarray]) -> None:
        super().__init__(make)
        self.rows = torch.tensor(make())

    def _apply(self, fn: Any, recurse: bool = True) -> ExactTable:
        super()._apply(fn, recurse)
        self.rows = torch.from_numpy(self.make()).to(self.rows.device)
        return self


class SinusoidalPositions(Table):
    """Sines and cosines of the position ("Attention Is All You Need", 3.5), to be added to the embeddings."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(partial(sinusoidal_table, config))


class RotaryPositions(nn.Module):
    """Cosines and sines of the angles by which each position rotates queries and keys (RoFormer, Su et al. 2021, equation 15)."""

    def __init__(self, config: ModelConfig, windowed: bool) -> None:
        super().__init__()
        self.cosines = Table(partial(rotary_cosines, config, windowed))
        self.sines = Table(partial(rotary_sines, config, windowed))

    def forward(self, position_ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cosines_B1TJ = self.cosines(position_ids_BT).unsqueeze(1)
        sines_B1TJ = self.sines(position_ids_BT).unsqueeze(1)
        return cosines_B1TJ, sines_B1TJ


class DynamicRotaryPositions(nn.Module):
    """`RotaryPositions` with dynamic scaling: a call takes all frequencies from one row of the table, that of its largest position."""

    like: torch.Tensor

    def __init__(self, config: ModelConfig, windowed: bool) -> None:
        super().__init__()
        self.frequencies = ExactTable(partial(dynamic_frequencies, config))
        # Only to know the model's type and device.
        self.register_buffer("like", torch.empty(0), persistent=False)

    def forward(self, position_ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # In float64, whatever the model's type: float32 would round an angle of thousands too coarsely.
        frequencies_1J = self.frequencies.rows[position_ids_BT.max()[None]]
        angles_B1TJ = (position_ids_BT[..., None] * frequencies_1J).unsqueeze(1)
        return angles_B1TJ.cos().to(self.like.dtype), angles_B1TJ.sin().to(self.like.dtype)


def rotate(heads_BHTK: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate each pair of values i and i + J of a head by its angle (RoFormer, equation 34, with pairs as in Llama's files). Values beyond
    2 J stay as they are."""
    cosines_B1TJ, sines_B1TJ = rotary
    size = cosines_B1TJ.shape[-1]
    first_BHTJ, second_BHTJ, rest = heads_BHTK.split([size, size, heads_BHTK.shape[-1] - 2 * size], dim=-1)
    rotated_first_BHTJ = first_BHTJ * cosines_B1TJ - second_BHTJ * sines_B1TJ
    rotated_second_BHTJ = second_BHTJ * cosines_B1TJ + first_BHTJ * sines_B1TJ
    return torch.cat([rotated_first_BHTJ, rotated_second_BHTJ, rest], dim=-1)


def build_rotary(config: ModelConfig, windowed: bool) -> nn.Module | None:
    """The rotation of queries and keys, or None. windowed: that of layers with a sliding window."""
    positions = config.positions
    if not isinstance(positions, Rotary):
        return None
    is_scaled = not (windowed and positions.window_base)
    is_dynamic = is_scaled and isinstance(positions.scaling, DynamicScaling)
    return (DynamicRotaryPositions if is_dynamic else RotaryPositions)(config, windowed)


class RelativeBias(nn.Module):
    """A trained number for each head and each bucket of distances, added to the scores (T5, Raffel et al. 2020, 2.1)."""

    def __init__(self, config: ModelConfig, bidirectional: bool) -> None:
        assert isinstance(config.positions, RelativePositions)
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.positions.num_buckets, config.attention.num_heads))
        self.max_distance = config.positions.max_distance
        self.buckets = ExactTable(partial(relative_buckets, config, bidirectional))

    def forward(self, query_T: torch.Tensor, key_S: torch.Tensor) -> torch.Tensor:
        """The bias (1, H, T, S) of queries and keys at these positions."""
        distances_TS = key_S[None, :] - query_T[:, None]
        places_TS = distances_TS.clamp(-self.max_distance, self.max_distance) + self.max_distance
        bias_TSH = F.embedding(self.buckets.rows[places_TS], self.weight)
        return bias_TSH.permute(2, 0, 1).unsqueeze(0)
