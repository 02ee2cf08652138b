"""What is read from the last hidden state. B batch, T query length, D model width, V vocabulary."""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig, UserError
from transformer_tf.module import Module


class NoHead(Module):
    """The hidden states themselves."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def call(self, hidden_BTD: tf.Tensor, token_VD: tf.Tensor) -> tf.Tensor:
        return hidden_BTD


class LanguageModelHead(Module):
    """A logit for each token of the vocabulary, by a matrix of its own or the token table ("Attention Is All You Need", 3.4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.head.soft_cap or config.head.scale:
            raise UserError("head.soft_cap and head.scale are not built yet")
        shape = (config.vocab_size, config.width)
        self.weight = None if config.head.tied else self.add_weight(name="weight", shape=shape, initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=shape[:1], initializer="zeros") if config.head.bias else None

    def call(self, hidden_BTD: tf.Tensor, token_VD: tf.Tensor) -> tf.Tensor:
        weight_VD = tf.convert_to_tensor(token_VD if self.weight is None else self.weight)
        logits_BTV = tf.tensordot(hidden_BTD, weight_VD, ((2,), (1,)))
        return logits_BTV if self.bias is None else logits_BTV + self.bias


HEADS = {"none": NoHead, "language_model": LanguageModelHead}


def build_head(config: ModelConfig) -> keras.layers.Layer:
    """The head that the config asks for."""
    if config.head.kind not in HEADS:
        raise UserError(f"head.kind={config.head.kind!r} is not built yet; built: {', '.join(HEADS)}")
    return HEADS[config.head.kind](config)
