"""Who may attend to whom: True where a query may see a key. B batch, T query length, S key length."""

from __future__ import annotations

import torch


def causal_mask(query_length: int, key_length: int, start: int, device: torch.device | None = None) -> torch.Tensor:
    """Key s is seen by query t where s <= start + t; `start` tokens came before the first query. Shape (1, 1, T, S)."""
    query_T1 = torch.arange(query_length, device=device)[:, None] + start
    key_1S = torch.arange(key_length, device=device)[None, :]
    return (key_1S <= query_T1)[None, None]


def padding_mask(attention_mask_BS: torch.Tensor) -> torch.Tensor:
    """Keys that are tokens (1) and not padding (0). Shape (B, 1, 1, S)."""
    return attention_mask_BS.bool()[:, None, None, :]
