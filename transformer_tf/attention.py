"""Multi-head attention ("Attention Is All You Need", 3.2).

B batch, T query length, S key length, D model width, H heads, G key/value heads, K head size, Q query heads of a key/value head.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig, UserError
from transformer_tf.cache import LayerCache
from transformer_tf.linear import Linear
from transformer_tf.masks import causal_mask
from transformer_tf.module import Module
from transformer_tf.normalization import build_norm
from transformer_tf.positions import rotate


def plain_attention(
    query_BHTK: tf.Tensor,
    key_BGSK: tf.Tensor,
    value_BGSK: tf.Tensor,
    mask_B1TS: tf.Tensor | None,
    is_causal: bool,
    scale: float,
    dropout: keras.layers.Dropout,
) -> tf.Tensor:
    """softmax(Q K^T / sqrt(K)) V ("Attention Is All You Need", equation 1), with grouped heads (Ainslie et al. 2023).

    Query head h reads key/value head h // (H / G). mask_B1TS is True where a query may see a key. Result: B, H, T, K.
    """
    batch, heads, query_length, head_size = shape_of(query_BHTK)
    groups, key_length = shape_of(key_BGSK)[1:3]
    if is_causal:
        mask_B1TS = causal_mask(query_length, key_length, 0)
    query_BGQTK = tf.reshape(query_BHTK, (batch, groups, heads // groups, query_length, head_size))
    scores_BGQTS = tf.matmul(query_BGQTK * scale, key_BGSK[:, :, None], transpose_b=True)
    if mask_B1TS is not None:
        # A choice and not a sum: TensorFlow's graph optimiser makes a slow kernel of a product followed by a sum.
        scores_BGQTS = tf.where(mask_B1TS[:, :, None], scores_BGQTS, scores_BGQTS.dtype.min)
    weights_BGQTS = dropout(tf.nn.softmax(scores_BGQTS))
    mixed_BGQTK = tf.matmul(weights_BGQTS, value_BGSK[:, :, None])
    return tf.reshape(mixed_BGQTK, (batch, heads, query_length, head_size))


# TensorFlow has no fused kernel of its own; XLA fuses the plain formula.
ATTENTIONS = {"plain": plain_attention}


class Attention(Module):
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
        self.dropout = keras.layers.Dropout(config.dropout.attention)
        query_width = config.attention.num_heads * config.head_size
        key_value_width = config.num_key_value_heads * config.head_size
        self.norm = build_norm(config)
        self.query = Linear(config.width, query_width, "query" in config.attention.bias)
        self.key = Linear(config.width, key_value_width, "key" in config.attention.bias)
        self.value = Linear(config.width, key_value_width, "value" in config.attention.bias)
        # Keras keeps the name `output` for itself, and would not save what stands under it.
        self.output_ = Linear(query_width, config.width, "output" in config.attention.bias)

    def call(
        self,
        hidden_BTD: tf.Tensor,
        mask_B1TS: tf.Tensor | None,
        is_causal: bool,
        rotary: tuple[tf.Tensor, tf.Tensor] | None,
        cache: LayerCache | None,
        start: int | tf.Tensor,
    ) -> tf.Tensor:
        query_BHTK = self.split_heads(self.query(hidden_BTD))
        key_BGTK = self.split_heads(self.key(hidden_BTD))
        value_BGTK = self.split_heads(self.value(hidden_BTD))
        if rotary is not None:
            query_BHTK, key_BGTK = rotate(query_BHTK, rotary), rotate(key_BGTK, rotary)
        key_BGSK, value_BGSK = (key_BGTK, value_BGTK) if cache is None else cache.update(key_BGTK, value_BGTK, start)
        mixed_BHTK = self.attend(query_BHTK, key_BGSK, value_BGSK, mask_B1TS, is_causal, self.scale, self.dropout)
        return self.output_(self.merge_heads(mixed_BHTK))

    def split_heads(self, hidden_BTI: tf.Tensor) -> tf.Tensor:
        batch, length, width = shape_of(hidden_BTI)
        return tf.transpose(tf.reshape(hidden_BTI, (batch, length, width // self.head_size, self.head_size)), (0, 2, 1, 3))

    def merge_heads(self, heads_BHTK: tf.Tensor) -> tf.Tensor:
        batch, heads, length, head_size = shape_of(heads_BHTK)
        return tf.reshape(tf.transpose(heads_BHTK, (0, 2, 1, 3)), (batch, length, heads * head_size))


def shape_of(tensor: tf.Tensor) -> list[int | tf.Tensor]:
    """The shape, as numbers where a graph knows them and as tensors where it does not."""
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if length is None else length for axis, length in enumerate(tensor.shape)]
