"""One layer, and a stack of them ("Attention Is All You Need", 3.1).

B batch, T query length, S key length, D model width, N longest length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from configs import ModelConfig, UserError
from transformer_torch.attention import Attention
from transformer_torch.cache import Cache, LayerCache
from transformer_torch.embeddings import Embeddings
from transformer_torch.feed_forward import FeedForward
from transformer_torch.masks import causal_mask, padding_mask
from transformer_torch.normalization import build_norm
from transformer_torch.positions import RotaryPositions


class Layer(nn.Module):
    """Self-attention and feed-forward, each inside a residual connection."""

    def __init__(self, config: ModelConfig, attention: str) -> None:
        super().__init__()
        if config.norm.placement == "both" or config.parallel_residual:
            raise UserError("norm.placement='both' and parallel_residual are not built yet")
        self.norm_before = config.norm.placement == "before"
        self.self_attention = Attention(config, attention)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout.residual)

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        mask_B1TS: torch.Tensor | None,
        is_causal: bool,
        rotary: tuple[torch.Tensor, torch.Tensor] | None,
        cache: LayerCache | None,
        start: int,
    ) -> torch.Tensor:
        hidden_BTD = self.residual(
            hidden_BTD, self.self_attention, mask_B1TS=mask_B1TS, is_causal=is_causal, rotary=rotary, cache=cache, start=start
        )
        return self.residual(hidden_BTD, self.feed_forward)

    def residual(self, hidden_BTD: torch.Tensor, sublayer: Any, **inputs: Any) -> torch.Tensor:
        """x + Sublayer(Norm(x)) as in GPT-2 (2.3), or Norm(x + Sublayer(x)) as in the paper (3.1)."""
        if self.norm_before:
            return hidden_BTD + self.dropout(sublayer(sublayer.norm(hidden_BTD), **inputs))
        return sublayer.norm(hidden_BTD + self.dropout(sublayer(hidden_BTD, **inputs)))


class Decoder(nn.Module):
    """Embeddings, layers in which each token sees itself and those before it, and the final norm."""

    def __init__(self, config: ModelConfig, attention: str) -> None:
        super().__init__()
        self.max_length = config.max_length
        self.gradient_checkpointing = False
        self.embeddings = Embeddings(config)
        self.rotary = RotaryPositions(config) if config.positions.kind == "rotary" else None
        self.layers = nn.ModuleList([Layer(config, attention) for _ in range(config.num_layers)])
        self.norm = build_norm(config) if config.norm.placement == "before" else None

    def forward(
        self,
        input_ids_BT: torch.Tensor,
        attention_mask_BS: torch.Tensor | None = None,
        position_ids_BT: torch.Tensor | None = None,
        cache: Cache | None = None,
        hidden_states: dict[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Hidden states B, T, D after the last layer. A mapping given as `hidden_states` receives those of every layer too."""
        length, device = input_ids_BT.shape[1], input_ids_BT.device
        start = cache.length if cache is not None else 0
        if start + length > self.max_length:
            raise UserError(f"{start + length} tokens are more than the model's max_length of {self.max_length}; shorten the input")
        if position_ids_BT is None:
            position_ids_BT = torch.arange(start, start + length, device=device)[None]
        mask_B1TS, is_causal = self.mask(length, start, attention_mask_BS, device)
        hidden_BTD = self.embeddings(input_ids_BT, position_ids_BT)
        rotary = self.rotary(position_ids_BT) if self.rotary is not None else None
        if hidden_states is not None:
            hidden_states["decoder.embeddings"] = hidden_BTD
        for index, layer in enumerate(self.layers):
            layer_cache = cache.layers[index] if cache is not None else None
            inputs: dict[str, Any] = {
                "mask_B1TS": mask_B1TS,
                "is_causal": is_causal,
                "rotary": rotary,
                "cache": layer_cache,
                "start": start,
            }
            if self.gradient_checkpointing and self.training:
                hidden_BTD = checkpoint(layer, hidden_BTD, use_reentrant=False, **inputs)
            else:
                hidden_BTD = layer(hidden_BTD, **inputs)
            if hidden_states is not None:
                hidden_states[f"decoder.layers.{index}"] = hidden_BTD
        if cache is not None:
            cache.length = start + length
        if self.norm is not None:
            hidden_BTD = self.norm(hidden_BTD)
        if hidden_states is not None:
            hidden_states[f"decoder.layers.{len(self.layers) - 1}"] = hidden_BTD
        return hidden_BTD

    def mask(
        self, length: int, start: int, attention_mask_BS: torch.Tensor | None, device: torch.device
    ) -> tuple[torch.Tensor | None, bool]:
        """What each token may see, or None with a flag for the kernel: a whole sequence is masked by it, one new token sees everything."""
        if attention_mask_BS is not None:
            seen_BS = attention_mask_BS[:, : start + length]
            return causal_mask(length, start + length, start, device) & padding_mask(seen_BS), False
        if start > 0 and length > 1:
            return causal_mask(length, start + length, start, device), False
        return None, start == 0
