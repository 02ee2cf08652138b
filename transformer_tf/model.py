"""The model: a stack and a head. B batch, T query length, S key length, D model width, V vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from configs import ModelConfig, UserError
from transformer_tf.attention import ATTENTIONS
from transformer_tf.cache import Cache
from transformer_tf.generation import generate
from transformer_tf.heads import build_head
from transformer_tf.layers import Decoder
from transformer_tf.weights import assign
from weight_mapping import initial_tensors


class Transformer(keras.Model):
    """A model as `config` describes it, with fresh weights drawn from `seed` (None leaves them unset, to be filled).

    attention: ``plain``, the readable formula; TensorFlow has no fused kernel, XLA makes one of it. dtype: a Keras dtype policy, such
    as ``float32``, ``float64`` or ``mixed_bfloat16``.
    """

    def __init__(self, config: ModelConfig, seed: int | None = 0, attention: str = "plain", dtype: str = "float32") -> None:
        super().__init__(dtype=dtype)
        if config.architecture != "decoder":
            raise UserError(f"architecture={config.architecture!r} is not built yet; built: decoder")
        if attention not in ATTENTIONS:
            raise UserError(f"attention={attention!r} is not built; choose one of: {', '.join(ATTENTIONS)}")
        self.config = config
        with _dtype_policy(dtype):
            self.decoder = Decoder(config, attention)
            self.head = build_head(config)
        self.built = True
        if seed is not None:
            assign(self, initial_tensors(config, seed))

    def call(
        self,
        input_ids: tf.Tensor,
        attention_mask: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        cache: Cache | None = None,
    ) -> tf.Tensor:
        """Logits for the token after each token.

        input_ids: integers (B, T). attention_mask: (B, S) with 1 for tokens and 0 for padding, S counting those in the cache too.
        position_ids: integers (B, T), default 0, 1, 2, ... after those in the cache. cache: keys and values of the tokens before.
        Result: (B, T, V), or hidden states (B, T, D) where the config has no head.
        Raises UserError for more tokens than the model's max_length.
        """
        hidden_BTD = self.decoder(input_ids, attention_mask, position_ids, cache=cache)
        return self.head(hidden_BTD, self.decoder.embeddings.token.weight)

    def hidden_states(
        self, input_ids: tf.Tensor, attention_mask: tf.Tensor | None = None, position_ids: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """What enters the first layer and what leaves each, the last one after the final norm: (B, T, D) each, by name."""
        hidden_states: dict[str, tf.Tensor] = {}
        # Keras would hand a copy of the mapping to `call`.
        self.decoder.call(input_ids, attention_mask, position_ids, None, hidden_states)
        return hidden_states

    def generate(self, input_ids: Any, **settings: Any) -> tf.Tensor:
        """Continue prompts; see `transformer_tf.generation.generate`."""
        return generate(self, input_ids, **settings)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Keep only the layers' inputs for the backward pass and compute the rest again (Chen et al. 2016)."""
        if enabled and any(self.config.dropout.model_dump().values()):
            # What is computed again would drop out other values, and give wrong gradients.
            raise UserError("gradient checkpointing with dropout is not built in TensorFlow; set the model's dropout to 0")
        self.decoder.gradient_checkpointing = enabled

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json"), "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Transformer:
        return cls(ModelConfig.model_validate(config["config"]), dtype=config["dtype"])


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Every layer made inside takes this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
