"""One layer, and a stack of them ("Attention Is All You Need", 3.1 and figure 1).

B batch, T query length, S key length, H heads, D model width.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from configs import ModelConfig, UserError
from transformer_torch.attention import Attention
from transformer_torch.cache import Cache, KeyValue, LayerCache
from transformer_torch.dropout import Dropout
from transformer_torch.embeddings import build_embeddings
from transformer_torch.feed_forward import build_feed_forward
from transformer_torch.linear import Embedding
from transformer_torch.masks import additive_mask, causal_mask, padding_mask, window_mask
from transformer_torch.normalization import build_norm
from transformer_torch.positions import RelativeBias, build_rotary


class Layer(nn.Module):
    """Self-attention, in a decoder with an encoder cross-attention, and feed-forward, each inside a residual connection.

    has_first_norm: whether a norm stands before self-attention, which the first layer of ModernBERT has not.
    """

    def __init__(self, config: ModelConfig, attention: str, has_cross_attention: bool, has_first_norm: bool) -> None:
        super().__init__()
        self.norm_after = config.norm.placement == "after"
        self.parallel = config.parallel_residual
        self.self_attention = Attention(config, attention, has_first_norm)
        self.cross_attention: Any = Attention(config, attention) if has_cross_attention else None
        self.feed_forward: Any = build_feed_forward(config)
        self.dropout = Dropout(config.dropout.residual)

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        mask_BHTS: torch.Tensor | None,
        is_causal: bool,
        rotary: tuple[torch.Tensor, torch.Tensor] | None,
        cache: LayerCache | None,
        start: int | torch.Tensor,
        encoder_key_value: KeyValue | None,
        encoder_mask_B11S: torch.Tensor | None,
    ) -> torch.Tensor:
        """Hidden states (B, T, D) after this layer.

        mask_BHTS, is_causal, rotary, cache, start: of its self-attention, as in `Attention`.
        encoder_key_value, encoder_mask_B11S: what its cross-attention looks at, and which of it is no padding.
        """
        inputs: dict[str, Any] = {"mask_BHTS": mask_BHTS, "is_causal": is_causal, "rotary": rotary, "cache": cache, "start": start}
        if self.parallel:
            # Both sublayers read the same input (GPT-NeoX, Black et al. 2022, 2.1).
            return hidden_BTD + self.branch(hidden_BTD, self.self_attention, **inputs) + self.branch(hidden_BTD, self.feed_forward)
        hidden_BTD = self.residual(hidden_BTD, self.self_attention, **inputs)
        if self.cross_attention is not None:
            hidden_BTD = self.residual(hidden_BTD, self.cross_attention, mask_BHTS=encoder_mask_B11S, key_value=encoder_key_value)
        return self.residual(hidden_BTD, self.feed_forward)

    def residual(self, hidden_BTD: torch.Tensor, sublayer: Any, **inputs: Any) -> torch.Tensor:
        """Norm(x + Sublayer(x)) as in the paper (3.1), or x + Sublayer(Norm(x)) as in GPT-2 (2.3)."""
        if self.norm_after:
            return sublayer.norm(hidden_BTD + self.dropout(sublayer(hidden_BTD, **inputs)))
        return hidden_BTD + self.branch(hidden_BTD, sublayer, **inputs)

    def branch(self, hidden_BTD: torch.Tensor, sublayer: Any, **inputs: Any) -> torch.Tensor:
        """Sublayer(Norm(x)), or Norm(Sublayer(Norm(x))) as in Gemma 2."""
        branch_BTD = sublayer(hidden_BTD if sublayer.norm is None else sublayer.norm(hidden_BTD), **inputs)
        return self.dropout(branch_BTD if sublayer.output_norm is None else sublayer.output_norm(branch_BTD))


class Stack(nn.Module):
    """Embeddings, layers, and the final norm: the encoder, in which all tokens see all, or the decoder, in which none sees those after it.

    token: the table of the encoder, which the decoder shares.
    """

    def __init__(self, config: ModelConfig, name: str, attention: str, token: Embedding | None = None) -> None:
        super().__init__()
        self.stack = name
        self.longest = config.longest_of(name)
        self.gradient_checkpointing = False
        self.embeddings: Any = build_embeddings(config, name, token)
        self.rotary = build_rotary(config, windowed=False)
        self.window_rotary = build_rotary(config, windowed=True) if config.attention.window else None
        self.relative_bias = RelativeBias(config, bidirectional=name == "encoder") if config.positions.kind == "relative" else None
        self.windows = [config.window_of(layer) for layer in range(config.layers_of(name))]
        has_cross_attention = name == "decoder" and "encoder" in config.stacks
        self.layers = nn.ModuleList(
            [Layer(config, attention, has_cross_attention, layer > 0 or config.norm.first) for layer in range(len(self.windows))]
        )
        self.norm = build_norm(config) if config.norm.placement != "after" else None

    def forward(
        self,
        inputs: torch.Tensor,
        attention_mask_BS: torch.Tensor | None = None,
        position_ids_BT: torch.Tensor | None = None,
        token_type_ids_BT: torch.Tensor | None = None,
        cache: Cache | None = None,
        encoded_BSD: torch.Tensor | None = None,
        encoder_mask_BS: torch.Tensor | None = None,
        hidden_states: MutableMapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Hidden states (B, T, D) after the last layer. inputs: ids (B, T), images or audio. encoded_BSD: what an encoder has made.

        A mapping given as `hidden_states` receives those of every layer too.
        """
        length, start = self.embeddings.length(inputs), cache.length if cache is not None else 0
        # In a compiled program the numbers are not known; whoever runs it checks them.
        if self.longest is not None and isinstance(start, int) and start + length > self.longest:
            raise UserError(f"{start + length} tokens are more than the model's max_length of {self.longest}; shorten the input")
        check_room(start + length, cache, attention_mask_BS)
        if encoded_BSD is not None:
            check_room(encoded_BSD.shape[1], None, encoder_mask_BS)
        if position_ids_BT is None:
            position_ids_BT = self.embeddings.positions(inputs, start, attention_mask_BS)
        hidden_BTD = self.embeddings(inputs, position_ids_BT, token_type_ids_BT)
        views = {
            window: self.mask_and_rotary(window, length, start, attention_mask_BS, position_ids_BT, cache)
            for window in dict.fromkeys(self.windows)
        }
        encoder_key_values = self.encoder_key_values(encoded_BSD, cache)
        encoder_mask_B11S = padding_mask(encoder_mask_BS) if encoder_mask_BS is not None else None
        if hidden_states is not None:
            hidden_states[f"{self.stack}.embeddings"] = hidden_BTD
        for index, layer in enumerate(self.layers):
            layer_inputs: dict[str, Any] = {
                **views[self.windows[index]],
                "cache": cache.layers[index] if cache is not None else None,
                "start": start,
                "encoder_key_value": encoder_key_values[index],
                "encoder_mask_B11S": encoder_mask_B11S,
            }
            if self.gradient_checkpointing and self.training:
                hidden_BTD = checkpoint(layer, hidden_BTD, use_reentrant=False, **layer_inputs)
            else:
                hidden_BTD = layer(hidden_BTD, **layer_inputs)
            if self.norm is not None and index + 1 == len(self.layers):
                hidden_BTD = self.norm(hidden_BTD)
            if hidden_states is not None:
                hidden_states[f"{self.stack}.layers.{index}"] = hidden_BTD
        if cache is not None:
            cache.length = start + length
        return hidden_BTD

    def mask_and_rotary(
        self,
        window: int | None,
        length: int,
        start: int | torch.Tensor,
        attention_mask_BS: torch.Tensor | None,
        position_ids_BT: torch.Tensor,
        cache: Cache | None,
    ) -> dict[str, Any]:
        """The mask, and the rotation of queries and keys, for the layers with this window."""
        rotary = self.rotary if window is None else self.window_rotary
        query_T = torch.arange(length, device=position_ids_BT.device) + start
        key_S = query_T if cache is None else cache.layers[self.windows.index(window)].positions(start, length)
        mask_BHTS, is_causal = self.mask(window, query_T, key_S, start, attention_mask_BS)
        if self.relative_bias is not None:
            bias_BHTS = self.relative_bias(query_T, key_S)
            if is_causal:
                mask_BHTS, is_causal = causal_mask(query_T, key_S), False
            mask_BHTS = bias_BHTS if mask_BHTS is None else additive_mask(bias_BHTS, mask_BHTS)
        return {"mask_BHTS": mask_BHTS, "is_causal": is_causal, "rotary": rotary(position_ids_BT) if rotary is not None else None}

    def mask(
        self,
        window: int | None,
        query_T: torch.Tensor,
        key_S: torch.Tensor,
        start: int | torch.Tensor,
        attention_mask_BS: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, bool]:
        """A mask, and whether to mask causally by itself. There is no mask where that is enough (a whole sequence without padding), or
        nothing is hidden (one new token). Where `start` is a tensor a cache is read whole, its unwritten end masked."""
        length = len(query_T)
        seen_B11S = None if attention_mask_BS is None else padding_mask(attention_mask_BS[:, key_S.clamp(min=0)])
        if self.stack == "encoder":
            near_11TS = None if window is None else window_mask(query_T, key_S, window)
            return combine_masks(near_11TS, seen_B11S), False
        if isinstance(start, int):
            if window is not None and window >= start + length:
                window = None
            if seen_B11S is None and window is None and (start == 0 or length == 1):
                return None, start == 0
        return combine_masks(causal_mask(query_T, key_S, window), seen_B11S), False

    def encoder_key_values(self, encoded_BSD: torch.Tensor | None, cache: Cache | None) -> list[KeyValue | None]:
        """For each layer the keys and values of its cross-attention, computed once for a whole generation."""
        if cache is not None and cache.cross:
            return list(cache.cross)
        if encoded_BSD is None:
            return [None] * len(self.layers)
        attentions: list[Any] = [layer.cross_attention for layer in self.layers]
        key_values = [attention.key_value(encoded_BSD) for attention in attentions]
        if cache is not None:
            cache.cross = key_values
        return key_values


def check_room(total: int | torch.Tensor, cache: Cache | None, attention_mask_BS: torch.Tensor | None) -> None:
    """Refuse a cache without room for all tokens so far, and a mask that does not speak of them all."""
    if not isinstance(total, int):
        return
    if cache is not None and total > cache.max_length:
        raise UserError(f"{total} tokens do not fit into a cache of {cache.max_length}; make a longer one")
    if attention_mask_BS is None:
        return
    # A cache has room for more, and so may its mask.
    longest = total if cache is None else math.inf
    if attention_mask_BS.ndim != 2 or not total <= attention_mask_BS.shape[1] <= longest:
        shape = list(attention_mask_BS.shape)
        more = ", those in the cache too" if cache is not None else ""
        raise UserError(f"attention_mask has shape {shape}; expected (batch, {total}): 1 or 0 for every token{more}")


def combine_masks(first_BHTS: torch.Tensor | None, second_BHTS: torch.Tensor | None) -> torch.Tensor | None:
    """What both masks let through; None lets everything through."""
    if first_BHTS is None or second_BHTS is None:
        return second_BHTS if first_BHTS is None else first_BHTS
    return first_BHTS & second_BHTS
