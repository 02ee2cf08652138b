"""Multi-head attention ("Attention Is All You Need", 3.2).

B batch, T query length, S key length, D model width, H heads, G key/value heads, K head size, Q query heads of a key/value head.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from configs import ModelConfig, UserError
from transformer_torch.cache import LayerCache
from transformer_torch.linear import Linear
from transformer_torch.masks import causal_mask
from transformer_torch.normalization import build_norm
from transformer_torch.positions import rotate


def plain_attention(
    query_BHTK: torch.Tensor,
    key_BGSK: torch.Tensor,
    value_BGSK: torch.Tensor,
    mask_B1TS: torch.Tensor | None,
    is_causal: bool,
    scale: float,
    dropout: nn.Dropout,
) -> torch.Tensor:
    """softmax(Q K^T / sqrt(K)) V ("Attention Is All You Need", equation 1), with grouped heads (Ainslie et al. 2023).

    Query head h reads key/value head h // (H / G). mask_B1TS is True where a query may see a key. Result: B, H, T, K.
    """
    batch, heads, query_length, head_size = query_BHTK.shape
    groups, key_length = key_BGSK.shape[1:3]
    if is_causal:
        mask_B1TS = causal_mask(query_length, key_length, 0, query_BHTK.device)
    query_BGQTK = query_BHTK.reshape(batch, groups, heads // groups, query_length, head_size)
    scores_BGQTS = query_BGQTK * scale @ key_BGSK.unsqueeze(2).transpose(-1, -2)
    if mask_B1TS is not None:
        scores_BGQTS = scores_BGQTS.masked_fill(~mask_B1TS.unsqueeze(2), torch.finfo(scores_BGQTS.dtype).min)
    weights_BGQTS = dropout(scores_BGQTS.softmax(-1))
    mixed_BGQTK = weights_BGQTS @ value_BGSK.unsqueeze(2)
    return mixed_BGQTK.reshape(batch, heads, query_length, head_size)


def fused_attention(
    query_BHTK: torch.Tensor,
    key_BGSK: torch.Tensor,
    value_BGSK: torch.Tensor,
    mask_B1TS: torch.Tensor | None,
    is_causal: bool,
    scale: float,
    dropout: nn.Dropout,
) -> torch.Tensor:
    """`plain_attention` in one kernel that never holds all scores (FlashAttention, Dao et al. 2022)."""
    grouped = query_BHTK.shape[1] != key_BGSK.shape[1]
    rate = dropout.p if dropout.training else 0.0
    return F.scaled_dot_product_attention(query_BHTK, key_BGSK, value_BGSK, mask_B1TS, rate, is_causal, scale=scale, enable_gqa=grouped)


ATTENTIONS = {"plain": plain_attention, "fused": fused_attention}


class Attention(nn.Module):
    """Queries, keys and values by head, attention, and the projection back. Carries the norm that belongs to it."""

    def __init__(self, config: ModelConfig, attention: str) -> None:
        super().__init__()
        unbuilt = {
            "soft_cap": config.attention.soft_cap,
            "window": config.attention.window,
            "query_key_norm": config.attention.query_key_norm,
        }
        for name, value in unbuilt.items():
            if value:
                raise UserError(f"attention.{name}={value} is not built yet")
        self.attend = ATTENTIONS[attention]
        self.head_size = config.head_size
        self.scale = config.attention_scale
        self.dropout = nn.Dropout(config.dropout.attention)
        query_width = config.attention.num_heads * config.head_size
        key_value_width = config.num_key_value_heads * config.head_size
        self.norm = build_norm(config)
        self.query = Linear(config.width, query_width, "query" in config.attention.bias)
        self.key = Linear(config.width, key_value_width, "key" in config.attention.bias)
        self.value = Linear(config.width, key_value_width, "value" in config.attention.bias)
        self.output = Linear(query_width, config.width, "output" in config.attention.bias)

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        mask_B1TS: torch.Tensor | None,
        is_causal: bool,
        rotary: tuple[torch.Tensor, torch.Tensor] | None,
        cache: LayerCache | None,
        start: int,
    ) -> torch.Tensor:
        query_BHTK = self.split_heads(self.query(hidden_BTD))
        key_BGTK = self.split_heads(self.key(hidden_BTD))
        value_BGTK = self.split_heads(self.value(hidden_BTD))
        if rotary is not None:
            query_BHTK, key_BGTK = rotate(query_BHTK, rotary), rotate(key_BGTK, rotary)
        key_BGSK, value_BGSK = (key_BGTK, value_BGTK) if cache is None else cache.update(key_BGTK, value_BGTK, start)
        mixed_BHTK = self.attend(query_BHTK, key_BGSK, value_BGSK, mask_B1TS, is_causal, self.scale, self.dropout)
        return self.output(self.merge_heads(mixed_BHTK))

    def split_heads(self, hidden_BTI: torch.Tensor) -> torch.Tensor:
        batch, length, width = hidden_BTI.shape
        return hidden_BTI.reshape(batch, length, width // self.head_size, self.head_size).transpose(1, 2)

    def merge_heads(self, heads_BHTK: torch.Tensor) -> torch.Tensor:
        batch, heads, length, head_size = heads_BHTK.shape
        return heads_BHTK.transpose(1, 2).reshape(batch, length, heads * head_size)
