"""Who may attend to whom: True where a query may see a key. B batch, H heads, T query length, S key length."""

from __future__ import annotations

import torch


def causal_mask(
    query_length: int, key_length: int, start: int, window: int | None = None, device: torch.device | None = None
) -> torch.Tensor:
    """Key s is seen by query t where s <= start + t; `start` tokens came before the first query. Shape (1, 1, T, S).

    window: and where s > start + t - window (Longformer, Beltagy et al. 2020, 3.1): a token sees itself and the window - 1 before it.
    """
    query_T1 = torch.arange(query_length, device=device)[:, None] + start
    key_1S = torch.arange(key_length, device=device)[None, :]
    seen_TS = key_1S <= query_T1
    if window is not None:
        seen_TS = seen_TS & (key_1S > query_T1 - window)
    return seen_TS[None, None]


def window_mask(length: int, window: int, device: torch.device | None = None) -> torch.Tensor:
    """Each token sees the window // 2 tokens on either side (Longformer, 3.1). Shape (1, 1, T, T)."""
    distance_TS = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None, :]
    return (distance_TS.abs() <= window // 2)[None, None]


def padding_mask(attention_mask_BS: torch.Tensor) -> torch.Tensor:
    """Keys that are tokens (1) and not padding (0). Shape (B, 1, 1, S)."""
    return attention_mask_BS.bool()[:, None, None, :]


def additive_mask(bias_BHTS: torch.Tensor, mask_B1TS: torch.Tensor) -> torch.Tensor:
    """Numbers to be added to the scores: the bias where a query may see a key, and the least number there is where it may not."""
    return bias_BHTS.masked_fill(~mask_B1TS, torch.finfo(bias_BHTS.dtype).min)
