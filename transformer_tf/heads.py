"""What is computed from the last hidden states. B batch, T query length, D model width, V vocabulary, E embedding width."""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig
from transformer_tf.dropout import Dropout
from transformer_tf.linear import Linear
from transformer_tf.module import Module
from transformer_tf.pooler import Transform


class NoHead(Module):
    """The hidden states themselves."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def call(self, hidden: tf.Tensor, token_VE: tf.Tensor | None) -> tf.Tensor:
        return hidden


class LanguageModelHead(Module):
    """A logit for each token of the vocabulary, by a matrix of its own or the token table (Press and Wolf 2017; "Attention Is
    All You Need", 3.4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        head, width = config.head, config.head_width
        self.scale, self.soft_cap = head.scale, head.soft_cap
        self.transform = Transform(config, head.transform, width) if head.transform else None
        self.weight = None if head.tied else self.add_weight(name="weight", shape=(config.vocab_size, width))
        self.bias = self.add_weight(name="bias", shape=(config.vocab_size,)) if head.bias else None

    def call(self, hidden_BTD: tf.Tensor, token_VE: tf.Tensor | None) -> tf.Tensor:
        hidden_BTE = hidden_BTD if self.transform is None else self.transform(hidden_BTD)
        if self.scale is not None:
            hidden_BTE = hidden_BTE * self.scale
        weight_VE = tf.convert_to_tensor(token_VE if self.weight is None else self.weight)
        logits_BTV = tf.matmul(hidden_BTE, weight_VE, transpose_b=True)
        if self.bias is not None:
            logits_BTV = logits_BTV + self.bias
        return logits_BTV if self.soft_cap is None else self.soft_cap * tf.tanh(logits_BTV / self.soft_cap)


class ClassificationHead(Linear):
    """A logit for each class: of a pooled vector (B, D), or of every token (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.width, config.head.num_classes, config.head.bias)
        self.dropout = Dropout(config.dropout.head)
        self.transform = Transform(config, config.head.transform, config.width) if config.head.transform else None

    def call(self, hidden: tf.Tensor, token_VE: tf.Tensor | None = None) -> tf.Tensor:
        hidden = self.dropout(hidden)
        if self.transform is not None:
            hidden = self.dropout(self.transform(hidden))
        return super().call(hidden)


class ProjectionHead(Linear):
    """A pooled vector in another width, where those of texts and images lie side by side (CLIP, Radford et al. 2021, 2.3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.width, config.head.num_outputs, config.head.bias)

    def call(self, hidden: tf.Tensor, token_VE: tf.Tensor | None = None) -> tf.Tensor:
        return super().call(hidden)


HEADS = {
    "none": NoHead,
    "language_model": LanguageModelHead,
    "masked_language_model": LanguageModelHead,
    "classification": ClassificationHead,
    "token_classification": ClassificationHead,
    "next_sentence": ClassificationHead,
    "projection": ProjectionHead,
}


def build_head(config: ModelConfig) -> keras.layers.Layer:
    """The head that the config asks for."""
    return HEADS[config.head.kind](config)
