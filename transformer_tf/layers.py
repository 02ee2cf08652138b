"""One layer, and a stack of them ("Attention Is All You Need", 3.1).

B batch, T query length, S key length, D model width, N longest length.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from configs import ModelConfig, UserError
from transformer_tf.attention import Attention, shape_of
from transformer_tf.cache import Cache, LayerCache
from transformer_tf.embeddings import Embeddings
from transformer_tf.feed_forward import FeedForward
from transformer_tf.masks import causal_mask, padding_mask
from transformer_tf.module import Module
from transformer_tf.normalization import build_norm
from transformer_tf.positions import RotaryPositions


class Layer(Module):
    """Self-attention and feed-forward, each inside a residual connection."""

    def __init__(self, config: ModelConfig, attention: str) -> None:
        super().__init__()
        if config.norm.placement == "both" or config.parallel_residual:
            raise UserError("norm.placement='both' and parallel_residual are not built yet")
        self.norm_before = config.norm.placement == "before"
        self.self_attention = Attention(config, attention)
        self.feed_forward = FeedForward(config)
        self.dropout = keras.layers.Dropout(config.dropout.residual)

    def call(
        self,
        hidden_BTD: tf.Tensor,
        mask_B1TS: tf.Tensor | None,
        is_causal: bool,
        rotary: tuple[tf.Tensor, tf.Tensor] | None,
        cache: LayerCache | None,
        start: int | tf.Tensor,
    ) -> tf.Tensor:
        hidden_BTD = self.residual(
            hidden_BTD, self.self_attention, mask_B1TS=mask_B1TS, is_causal=is_causal, rotary=rotary, cache=cache, start=start
        )
        return self.residual(hidden_BTD, self.feed_forward)

    def residual(self, hidden_BTD: tf.Tensor, sublayer: Any, **inputs: Any) -> tf.Tensor:
        """x + Sublayer(Norm(x)) as in GPT-2 (2.3), or Norm(x + Sublayer(x)) as in the paper (3.1)."""
        if self.norm_before:
            return hidden_BTD + self.dropout(sublayer(sublayer.norm(hidden_BTD), **inputs))
        return sublayer.norm(hidden_BTD + self.dropout(sublayer(hidden_BTD, **inputs)))


class Decoder(Module):
    """Embeddings, layers in which each token sees itself and those before it, and the final norm."""

    def __init__(self, config: ModelConfig, attention: str) -> None:
        super().__init__()
        self.max_length = config.max_length
        self.gradient_checkpointing = False
        self.embeddings = Embeddings(config)
        self.rotary = RotaryPositions(config) if config.positions.kind == "rotary" else None
        self.layers = [Layer(config, attention) for _ in range(config.num_layers)]
        self.norm = build_norm(config) if config.norm.placement == "before" else None

    def call(
        self,
        input_ids_BT: tf.Tensor,
        attention_mask_BS: tf.Tensor | None = None,
        position_ids_BT: tf.Tensor | None = None,
        cache: Cache | None = None,
        hidden_states: dict[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Hidden states B, T, D after the last layer. A mapping given as `hidden_states` receives those of every layer too."""
        length = shape_of(input_ids_BT)[1]
        start = cache.length if cache is not None else 0
        # In a graph the numbers may not be known; whoever builds it checks them.
        if isinstance(length, int) and isinstance(start, int) and start + length > self.max_length:
            raise UserError(f"{start + length} tokens are more than the model's max_length of {self.max_length}; shorten the input")
        if position_ids_BT is None:
            position_ids_BT = (start + tf.range(length))[None]
        mask_B1TS, is_causal = self.mask(length, start, attention_mask_BS, cache)
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
            if self.gradient_checkpointing and training:
                hidden_BTD = checkpoint(layer, hidden_BTD, **inputs)
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
        self, length: int | tf.Tensor, start: int | tf.Tensor, attention_mask_BS: tf.Tensor | None, cache: Cache | None
    ) -> tuple[tf.Tensor | None, bool]:
        """What each token may see, or None with a flag for a whole sequence. A cache is read whole, its unwritten end masked."""
        key_length = length if cache is None else cache.max_length
        if attention_mask_BS is not None:
            # What a cache has room for beyond the mask is masked by causality.
            room = key_length - shape_of(attention_mask_BS)[1]
            seen_BS = tf.pad(attention_mask_BS, ((0, 0), (0, tf.maximum(room, 0))), constant_values=1)[:, :key_length]
            return causal_mask(length, key_length, start) & padding_mask(seen_BS), False
        if cache is not None:
            return causal_mask(length, key_length, start), False
        return None, True


def checkpoint(layer: Layer, hidden_BTD: tf.Tensor, **inputs: Any) -> tf.Tensor:
    """Run a layer and forget what is inside until the backward pass needs it."""
    return tf.recompute_grad(lambda hidden_BTD: layer(hidden_BTD, **inputs))(hidden_BTD)
