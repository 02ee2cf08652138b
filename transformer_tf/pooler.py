"""From a sequence to one vector, and the dense layer that may stand before a head (BERT, Devlin et al. 2019, 3.1, and its
released code).

B batch, T query length, D model width.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from configs import ModelConfig
from configs.parts import Pooler as PoolerConfig
from configs.parts import Transform as TransformConfig
from transformer_tf.feed_forward import ACTIVATIONS
from transformer_tf.linear import Linear
from transformer_tf.module import Module
from transformer_tf.normalization import build_norm


class Transform(Linear):
    """norm(activation(x W + b)), with or without the norm."""

    def __init__(self, config: ModelConfig, transform: TransformConfig, outputs: int) -> None:
        super().__init__(config.width, outputs, transform.bias)
        self.activation = ACTIVATIONS[transform.activation]
        self.norm = build_norm(config, outputs) if transform.norm else None

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        hidden = self.activation(super().call(hidden))
        return hidden if self.norm is None else self.norm(hidden)


def first(hidden_BTD: tf.Tensor, attention_mask_BT: tf.Tensor | None) -> tf.Tensor:
    """The first token's vector (BERT, ViT)."""
    return hidden_BTD[:, 0]


def last(hidden_BTD: tf.Tensor, attention_mask_BT: tf.Tensor | None) -> tf.Tensor:
    """The vector of the last token that the mask lets through (GPT, Radford et al. 2018, 3.2)."""
    if attention_mask_BT is None:
        return hidden_BTD[:, -1]
    places_T = tf.range(tf.shape(hidden_BTD)[1])
    last_B = tf.argmax(tf.cast(attention_mask_BT, tf.int32) * places_T, 1)
    return tf.gather(hidden_BTD, last_B, batch_dims=1)


def end(hidden_BTD: tf.Tensor, is_end_BT: tf.Tensor) -> tf.Tensor:
    """The vector of the first token that ends a text, or, where none does, of the first (CLIP, Radford et al. 2021, 2.4)."""
    length = tf.shape(hidden_BTD)[1]
    places_T = tf.range(length)
    # Where there is none, the least is `length`, which the remainder makes 0.
    end_B = tf.reduce_min(tf.where(is_end_BT, places_T, length), 1) % length
    return tf.gather(hidden_BTD, end_B, batch_dims=1)


def mean(hidden_BTD: tf.Tensor, attention_mask_BT: tf.Tensor | None) -> tf.Tensor:
    """The mean over the tokens that the mask lets through (Sentence-BERT, Reimers and Gurevych 2019, 3)."""
    if attention_mask_BT is None:
        return tf.reduce_mean(hidden_BTD, 1)
    weights_BT1 = tf.cast(attention_mask_BT[:, :, None], hidden_BTD.dtype)
    return tf.reduce_sum(hidden_BTD * weights_BT1, 1) / tf.reduce_sum(weights_BT1, 1)


POOLINGS: dict[str, Callable[..., tf.Tensor]] = {"first": first, "last": last, "end": end, "highest": end, "mean": mean}


class Pooler(Module):
    """One vector (B, D) for a sequence."""

    def __init__(self, config: ModelConfig, pooler: PoolerConfig) -> None:
        super().__init__()
        self.pool = POOLINGS[pooler.kind]
        self.kind, self.ends = pooler.kind, config.special_tokens.eos
        self.transform = Transform(config, pooler.transform, config.width) if pooler.transform else None

    def call(self, hidden_BTD: tf.Tensor, attention_mask_BT: tf.Tensor | None, inputs: tf.Tensor) -> tf.Tensor:
        """inputs: what the stack read, of texts its ids (B, T)."""
        mask_BT = attention_mask_BT
        if self.kind == "end":
            mask_BT = tf.reduce_any(tf.stack([inputs == token for token in self.ends]), 0)
        elif self.kind == "highest":
            mask_BT = inputs == tf.reduce_max(inputs, 1, keepdims=True)
        pooled_BD = self.pool(hidden_BTD, mask_BT)
        return pooled_BD if self.transform is None else self.transform(pooled_BD)
