"""Who may attend to whom: True where a query may see a key. B batch, H heads, T query length, S key length."""

from __future__ import annotations

import torch


def causal_mask(query_T: torch.Tensor, key_S: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """A query sees the keys at its own position and before it. query_T, key_S: positions. Shape (1, 1, T, S).

    window: of these the last `window` (Mistral 7B, Jiang et al. 2023, 2). A negative key position stands for no key.
    """
    query_T1, key_1S = query_T[:, None], key_S[None, :]
    seen_TS = key_1S <= query_T1
    if window is not None:
        seen_TS = seen_TS & (key_1S > query_T1 - window) & (key_1S >= 0)
    return seen_TS[None, None]


def window_mask(query_T: torch.Tensor, key_S: torch.Tensor, window: int) -> torch.Tensor:
    """A query sees the keys at most window // 2 positions away, on either side (Longformer, Beltagy et al. 2020, 3.1). Shape
    (1, 1, T, S)."""
    distance_TS = query_T[:, None] - key_S[None, :]
    return (distance_TS.abs() <= window // 2)[None, None]


def padding_mask(attention_mask_BS: torch.Tensor) -> torch.Tensor:
    """Keys that are tokens (1) and not padding (0). Shape (B, 1, 1, S)."""
    return attention_mask_BS.bool()[:, None, None, :]


def additive_mask(bias_BHTS: torch.Tensor, mask_B1TS: torch.Tensor) -> torch.Tensor:
    """Numbers to be added to the scores: the bias where a query may see a key, and the least number there is where it may not."""
    return bias_BHTS.masked_fill(~mask_B1TS, torch.finfo(bias_BHTS.dtype).min)
