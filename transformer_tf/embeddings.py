"""From ids to vectors ("Attention Is All You Need", 3.4 and 3.5). B batch, T query length, D model width, N longest length."""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig, UserError
from transformer_tf.linear import Embedding
from transformer_tf.module import Module


class Embeddings(Module):
    """Token vectors, plus position vectors where positions are learned."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.embedding.norm or config.embedding.token_types or config.embedding.width or config.inputs.kind != "tokens":
            raise UserError("embedding.norm, embedding.token_types, embedding.width and inputs other than tokens are not built yet")
        if config.positions.kind not in ("none", "learned", "rotary"):
            raise UserError(f"positions.kind={config.positions.kind!r} is not built yet; built: none, learned, rotary")
        self.scale = config.width**0.5 if config.embedding.scale else 1.0
        self.token = Embedding(config.vocab_size, config.width)
        self.position = None
        if config.positions.kind == "learned":
            self.offset = config.positions.offset
            self.position = Embedding(config.max_length + self.offset, config.width)
        self.dropout = keras.layers.Dropout(config.dropout.embedding)

    def call(self, input_ids_BT: tf.Tensor, position_ids_BT: tf.Tensor) -> tf.Tensor:
        hidden_BTD = self.token(input_ids_BT)
        if self.scale != 1.0:
            hidden_BTD = hidden_BTD * self.scale
        if self.position is not None:
            hidden_BTD = hidden_BTD + self.position(position_ids_BT + self.offset)
        return self.dropout(hidden_BTD)
