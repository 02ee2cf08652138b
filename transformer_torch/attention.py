"""Multi-head attention ("Attention Is All You Need", 3.2).

B batch, T query length, S key length, D model width, H heads, G key/value heads, K head size, Q query heads of a key/value head,
I axes joined into one (heads and head size).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from configs import ModelConfig
from transformer_torch.cache import KeyValue, LayerCache
from transformer_torch.dropout import Dropout
from transformer_torch.linear import Linear
from transformer_torch.masks import causal_mask
from transformer_torch.normalization import build_norm
from transformer_torch.positions import rotate

# Keys up to which the plain formula is the faster one on a CPU.
SHORT = 32


def plain_attention(
    query_BHTK: torch.Tensor,
    key_BGSK: torch.Tensor,
    value_BGSK: torch.Tensor,
    mask_BHTS: torch.Tensor | None,
    is_causal: bool,
    scale: float,
    soft_cap: float | None,
    dropout: Dropout,
) -> torch.Tensor:
    """softmax(Q K^T / sqrt(K)) V ("Attention Is All You Need", equation 1), with grouped queries (Ainslie et al. 2023, 2.2).

    Query head h reads key/value head h // (H / G). mask_BHTS is True where a query may see a key, or a number to be added to the
    score. is_causal: in place of a mask, a query sees the keys up to its own place. scale: factor on the scores, in the paper
    1 / sqrt(K). dropout: on the weights. soft_cap: scores become cap * tanh(scores / cap) first (Gemma 2, section 2; Bello et al. 2016).
    Result: (B, H, T, K).
    """
    batch, heads, query_length, head_size = query_BHTK.shape
    groups, key_length = key_BGSK.shape[1:3]
    if is_causal:
        device = query_BHTK.device
        mask_BHTS = causal_mask(torch.arange(query_length, device=device), torch.arange(key_length, device=device))
    query_BGQTK = query_BHTK.reshape(batch, groups, heads // groups, query_length, head_size)
    scores_BGQTS = query_BGQTK * scale @ key_BGSK.unsqueeze(2).transpose(-1, -2)
    scores_BHTS = scores_BGQTS.reshape(batch, heads, query_length, key_length)
    if soft_cap is not None:
        scores_BHTS = soft_cap * torch.tanh(scores_BHTS / soft_cap)
    if mask_BHTS is not None and mask_BHTS.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~mask_BHTS, torch.finfo(scores_BHTS.dtype).min)
    elif mask_BHTS is not None:
        scores_BHTS = scores_BHTS + mask_BHTS
    weights_BHTS = dropout(scores_BHTS.softmax(-1))
    weights_BGQTS = weights_BHTS.reshape(batch, groups, heads // groups, query_length, key_length)
    mixed_BGQTK = weights_BGQTS @ value_BGSK.unsqueeze(2)
    return mixed_BGQTK.reshape(batch, heads, query_length, head_size)


def fused_attention(
    query_BHTK: torch.Tensor,
    key_BGSK: torch.Tensor,
    value_BGSK: torch.Tensor,
    mask_BHTS: torch.Tensor | None,
    is_causal: bool,
    scale: float,
    soft_cap: float | None,
    dropout: Dropout,
) -> torch.Tensor:
    """`plain_attention` in one kernel that never holds all scores (FlashAttention, Dao et al. 2022).

    `plain_attention` runs instead with a soft cap, which the kernel lacks; on a CPU for several queries of short sequences or in bfloat16,
    where it is faster; and in compiled programs with one token, where a compiler makes better kernels of it: on a CPU, and of grouped
    queries on a GPU, for which the kernel with a mask would repeat the keys.
    """
    batch, heads, query_length, head_size = query_BHTK.shape
    groups, key_length = key_BGSK.shape[1:3]
    is_one, is_on_cpu, is_grouped = query_length == 1, query_BHTK.device.type == "cpu", heads != groups
    slower = is_on_cpu and not is_one and (key_length <= SHORT or query_BHTK.dtype == torch.bfloat16)
    slower = slower or (is_one and (is_on_cpu or is_grouped) and torch.compiler.is_compiling())
    if soft_cap is not None or slower:
        return plain_attention(query_BHTK, key_BGSK, value_BGSK, mask_BHTS, is_causal, scale, soft_cap, dropout)
    rate = dropout.p if dropout.training else 0.0
    if is_one and is_grouped and not is_causal:
        # The queries that share a key/value head are as good as tokens of one head, and read it together.
        query_BGQK = query_BHTK.reshape(batch, groups, heads // groups, head_size)
        mask = mask_BHTS
        if mask is not None and mask.shape[1] > 1:
            mask = mask.reshape(-1, *query_BGQK.shape[1:3], key_length)
        mixed_BGQK = F.scaled_dot_product_attention(query_BGQK, key_BGSK, value_BGSK, mask, rate, scale=scale)
        return mixed_BGQK.reshape(query_BHTK.shape)
    return F.scaled_dot_product_attention(query_BHTK, key_BGSK, value_BGSK, mask_BHTS, rate, is_causal, scale=scale, enable_gqa=is_grouped)


ATTENTIONS = {"plain": plain_attention, "fused": fused_attention}


class Attention(nn.Module):
    """Projections to queries, keys and values, attention head by head, and the projection back ("Attention Is All You Need", 3.2.2).

    It holds its norms, which `Layer` applies.
    """

    def __init__(self, config: ModelConfig, attention: str, has_norm: bool = True) -> None:
        super().__init__()
        self.attend = ATTENTIONS[attention]
        self.head_size = config.head_size
        self.scale = config.attention_scale
        self.soft_cap = config.attention.soft_cap
        self.dropout = Dropout(config.dropout.attention)
        query_width = config.attention.num_heads * config.head_size
        key_value_width = config.num_key_value_heads * config.head_size
        self.norm = build_norm(config) if has_norm else None
        self.query = Linear(config.width, query_width, "query" in config.attention.bias)
        self.key = Linear(config.width, key_value_width, "key" in config.attention.bias)
        self.value = Linear(config.width, key_value_width, "value" in config.attention.bias)
        self.query_norm = build_norm(config, config.head_size) if config.attention.query_key_norm else None
        self.key_norm = build_norm(config, config.head_size) if config.attention.query_key_norm else None
        self.output = Linear(query_width, config.width, "output" in config.attention.bias)
        self.output_norm = build_norm(config) if config.norm.placement == "both" else None

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        mask_BHTS: torch.Tensor | None,
        is_causal: bool = False,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
        cache: LayerCache | None = None,
        start: int | torch.Tensor = 0,
        key_value: KeyValue | None = None,
    ) -> torch.Tensor:
        """Attention (B, T, D) of hidden states to themselves and to what the cache holds; with `key_value`, to those of an encoder instead.

        mask_BHTS, is_causal: as in `plain_attention`. rotary: cosines and sines of the positions. start: tokens in the cache.
        """
        query_BHTK = self.split_heads(self.query(hidden_BTD))
        if self.query_norm is not None:
            query_BHTK = self.query_norm(query_BHTK)
        if rotary is not None:
            query_BHTK = rotate(query_BHTK, rotary)
        if key_value is None:
            key_BGTK, value_BGTK = self.key_value(hidden_BTD)
            if rotary is not None:
                key_BGTK = rotate(key_BGTK, rotary)
            key_value = (key_BGTK, value_BGTK) if cache is None else cache.update(key_BGTK, value_BGTK, start)
        mixed_BHTK = self.attend(query_BHTK, *key_value, mask_BHTS, is_causal, self.scale, self.soft_cap, self.dropout)
        return self.output(self.merge_heads(mixed_BHTK))

    def key_value(self, source_BSD: torch.Tensor) -> KeyValue:
        """Keys and values (B, G, S, K) of the states that queries attend to."""
        key_BGSK = self.split_heads(self.key(source_BSD))
        value_BGSK = self.split_heads(self.value(source_BSD))
        if self.key_norm is not None:
            key_BGSK = self.key_norm(key_BGSK)
        return key_BGSK, value_BGSK

    def split_heads(self, hidden_BTI: torch.Tensor) -> torch.Tensor:
        batch, length, width = hidden_BTI.shape
        return hidden_BTI.reshape(batch, length, width // self.head_size, self.head_size).transpose(1, 2)

    def merge_heads(self, heads_BHTK: torch.Tensor) -> torch.Tensor:
        batch, heads, length, head_size = heads_BHTK.shape
        return heads_BHTK.transpose(1, 2).reshape(batch, length, heads * head_size)
