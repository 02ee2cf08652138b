"""Multi-head attention ("Attention Is All You Need", 3.2).

B batch, T query length, S key length, D model width, H heads, G key/value heads, K head size, Q query heads of a key/value head,
I axes joined into one (heads and head size).
"""

from __future__ import annotations

import tensorflow as tf

from configs import ModelConfig
from transformer_tf.cache import KeyValue, LayerCache
from transformer_tf.dropout import Dropout
from transformer_tf.linear import Linear
from transformer_tf.masks import causal_mask
from transformer_tf.module import Module, shape_of
from transformer_tf.normalization import build_norm
from transformer_tf.positions import rotate


def plain_attention(
    query_BHTK: tf.Tensor,
    key_BGSK: tf.Tensor,
    value_BGSK: tf.Tensor,
    mask_BHTS: tf.Tensor | None,
    is_causal: bool,
    scale: float,
    soft_cap: float | None,
    dropout: Dropout,
) -> tf.Tensor:
    """softmax(Q K^T / sqrt(K)) V ("Attention Is All You Need", equation 1), with grouped queries (Ainslie et al. 2023, 2.2).

    Query head h reads key/value head h // (H / G). mask_BHTS is True where a query may see a key, or a number to be added to the
    score. is_causal: in place of a mask, a query sees the keys up to its own place. scale: factor on the scores, in the paper
    1 / sqrt(K). dropout: on the weights. soft_cap: scores become cap * tanh(scores / cap) first (Gemma 2, section 2; Bello et al. 2016).
    Result: (B, H, T, K).
    """
    batch, heads, query_length, head_size = shape_of(query_BHTK)
    groups, key_length = shape_of(key_BGSK)[1:3]
    if is_causal:
        mask_BHTS = causal_mask(tf.range(query_length), tf.range(key_length))
    query_BGQTK = tf.reshape(query_BHTK, (batch, groups, heads // groups, query_length, head_size))
    scores_BGQTS = tf.matmul(query_BGQTK * scale, key_BGSK[:, :, None], transpose_b=True)
    scores_BHTS = tf.reshape(scores_BGQTS, (batch, heads, query_length, key_length))
    if soft_cap is not None:
        scores_BHTS = soft_cap * tf.tanh(scores_BHTS / soft_cap)
    if mask_BHTS is not None and mask_BHTS.dtype == tf.bool:
        # A choice and not a sum: TensorFlow's graph optimizer makes a slow kernel of a product followed by a sum.
        scores_BHTS = tf.where(mask_BHTS, scores_BHTS, scores_BHTS.dtype.min)
    elif mask_BHTS is not None:
        scores_BHTS = scores_BHTS + mask_BHTS
    weights_BHTS = dropout(tf.nn.softmax(scores_BHTS))
    weights_BGQTS = tf.reshape(weights_BHTS, (batch, groups, heads // groups, query_length, key_length))
    mixed_BGQTK = tf.matmul(weights_BGQTS, value_BGSK[:, :, None])
    return tf.reshape(mixed_BGQTK, (batch, heads, query_length, head_size))


# TensorFlow has no fused kernel of its own; XLA fuses the plain formula.
ATTENTIONS = {"plain": plain_attention}


class Attention(Module):
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
        # Keras keeps the name `output` for itself, and would not save what stands under it.
        self.output_ = Linear(query_width, config.width, "output" in config.attention.bias)
        self.output_norm = build_norm(config) if config.norm.placement == "both" else None

    def call(
        self,
        hidden_BTD: tf.Tensor,
        mask_BHTS: tf.Tensor | None,
        is_causal: bool = False,
        rotary: tuple[tf.Tensor, tf.Tensor] | None = None,
        cache: LayerCache | None = None,
        start: int | tf.Tensor = 0,
        key_value: KeyValue | None = None,
    ) -> tf.Tensor:
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
        return self.output_(self.merge_heads(mixed_BHTK))

    def key_value(self, source_BSD: tf.Tensor) -> KeyValue:
        """Keys and values (B, G, S, K) of the states that queries attend to."""
        key_BGSK = self.split_heads(self.key(source_BSD))
        value_BGSK = self.split_heads(self.value(source_BSD))
        if self.key_norm is not None:
            key_BGSK = self.key_norm(key_BGSK)
        return key_BGSK, value_BGSK

    def split_heads(self, hidden_BTI: tf.Tensor) -> tf.Tensor:
        batch, length, width = shape_of(hidden_BTI)
        return tf.transpose(tf.reshape(hidden_BTI, (batch, length, width // self.head_size, self.head_size)), (0, 2, 1, 3))

    def merge_heads(self, heads_BHTK: tf.Tensor) -> tf.Tensor:
        batch, heads, length, head_size = shape_of(heads_BHTK)
        return tf.reshape(tf.transpose(heads_BHTK, (0, 2, 1, 3)), (batch, length, heads * head_size))
