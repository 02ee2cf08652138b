"""The model: one or two stacks, and a head. B batch, T query length, S key length, D model width, V vocabulary."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from configs import ModelConfig, UserError, check_inputs
from transformer_tf.attention import ATTENTIONS
from transformer_tf.cache import Cache
from transformer_tf.generation import generate, stream
from transformer_tf.heads import build_head
from transformer_tf.layers import Stack
from transformer_tf.pooler import Pooler
from transformer_tf.weights import assign
from weight_mapping import initial_tensors


@keras.saving.register_keras_serializable("transformer_tf")
class Transformer(keras.Model):
    """A model as `config` describes it, with fresh weights drawn from `seed` (None leaves them unset, to be filled).

    attention: ``plain``, the readable formula; TensorFlow has no fused kernel, XLA makes one of it. dtype: a Keras dtype policy, such
    as ``float32``, ``float64`` or ``mixed_bfloat16``.
    """

    def __init__(self, config: ModelConfig, seed: int | None = 0, attention: str = "plain", dtype: str = "float32") -> None:
        super().__init__(dtype=dtype)
        if attention not in ATTENTIONS:
            raise UserError(f"attention={attention!r} is not built; choose one of: {', '.join(ATTENTIONS)}")
        self.config = config
        # What a loaded folder's generation_config.json says.
        self.generation_config: dict[str, Any] | None = None
        with _dtype_policy(dtype):
            self.encoder: Any = Stack(config, "encoder", attention) if "encoder" in config.stacks else None
            shared = self.encoder.embeddings.token if self.encoder is not None and config.inputs.kind == "tokens" else None
            self.decoder: Any = Stack(config, "decoder", attention, shared) if "decoder" in config.stacks else None
            self.pooler = Pooler(config, config.pooler) if config.pooler else None
            self.head = build_head(config)
        self.built = True
        if seed is not None:
            assign(self, initial_tensors(config, seed))

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        pixel_values: tf.Tensor | None = None,
        input_features: tf.Tensor | None = None,
        decoder_input_ids: tf.Tensor | None = None,
        decoder_attention_mask: tf.Tensor | None = None,
        encoded: tf.Tensor | None = None,
        cache: Cache | None = None,
        hidden_states: MutableMapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """What the head computes from the last hidden states.

        input_ids: integers (B, T), or a dict of all inputs.
        attention_mask: (B, S), 1 for tokens and 0 for padding, those in the cache too; of an encoder-decoder, the encoder's. Default: no
            padding.
        position_ids: integers (B, T), of an encoder-decoder the encoder's. Default: 0, 1, 2, ... after those in the cache, or as
            `positions.counted` says.
        token_type_ids: the segment of each token, integers (B, T), of an encoder-decoder the encoder's. Default: 0.
        pixel_values: images (B, channels, height, width), in place of input_ids.
        input_features: log-mel spectra (B, mel bins, frames), in place of input_ids.
        decoder_input_ids: of an encoder-decoder, the decoder's tokens.
        decoder_attention_mask: of an encoder-decoder, the decoder's mask.
        encoded: of an encoder-decoder, what the encoder has computed (B, S, D), so that it need not run again.
        cache: keys and values of the tokens before, to which those of these tokens are added.
        hidden_states: a mapping that receives the hidden states of every layer; not a dict, which Keras would copy.

        Returns logits: of a language model (B, T, V), of a token classifier (B, T, num_labels), of a sequence classifier (B, num_labels).
        Of a projection, its vectors (B, head.width). Without a head, the pooler's vectors (B, D); without a pooler too, the hidden states
        (B, T, D).
        Raises UserError for inputs that the model has no use for, and for longer sequences than it knows.
        """
        if isinstance(input_ids, dict):
            # Keras's fit and predict give several inputs as one.
            return self.call(**input_ids)
        check_inputs(
            self.config,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            pixel_values=pixel_values,
            input_features=input_features,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoded=encoded,
            cache=cache,
        )
        inputs = {"input_ids": input_ids, "pixel_values": pixel_values, "input_features": input_features}[self.config.inputs.name]
        if self.encoder is None:
            hidden_BTD = self.decoder(inputs, attention_mask, position_ids, token_type_ids, cache=cache, hidden_states=hidden_states)
            return self.apply_head(hidden_BTD, attention_mask, inputs)
        if encoded is None:
            encoded = self.encoder(inputs, attention_mask, position_ids, token_type_ids, hidden_states=hidden_states)
        if self.decoder is None:
            return self.apply_head(encoded, attention_mask, inputs)
        hidden_BTD = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            cache=cache,
            encoded_BSD=encoded,
            encoder_mask_BS=attention_mask,
            hidden_states=hidden_states,
        )
        return self.apply_head(hidden_BTD, decoder_attention_mask, decoder_input_ids)

    def apply_head(self, hidden_BTD: tf.Tensor, attention_mask_BS: tf.Tensor | None, inputs: Any) -> tf.Tensor:
        """From the last hidden states to what the model gives. inputs: what the last stack read."""
        pooled = hidden_BTD if self.pooler is None else self.pooler(hidden_BTD, attention_mask_BS, inputs)
        return self.head(pooled, self.token_table())

    def hidden_states(self, **inputs: Any) -> dict[str, tf.Tensor]:
        """What enters the first layer of a stack and what leaves each, the last one after the final norm: (B, T, D) each, by name.

        inputs: those of the model.
        """
        # Keras would hand a copy of a plain dict to `call`.
        hidden_states: UserDict[str, tf.Tensor] = UserDict()
        self(**inputs, hidden_states=hidden_states)
        return dict(hidden_states)

    def token_table(self) -> tf.Tensor | None:
        """The vectors of the vocabulary (V, E), which a tied head shares. None for a model of images."""
        stacks = self.config.token_stacks
        return getattr(self, stacks[0]).embeddings.token.weight if stacks else None

    def generate(self, input_ids: Any = None, **settings: Any) -> Any:
        """Continue prompts; see `transformer_tf.generation.generate`."""
        return generate(self, input_ids, **settings)

    def stream(self, input_ids: Any = None, **settings: Any) -> Iterator[np.ndarray]:
        """Continue prompts token by token; see `transformer_tf.generation.stream`."""
        return stream(self, input_ids, **settings)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Keep only the layers' inputs for the backward pass and compute the rest again (Chen et al. 2016)."""
        for stack in (self.encoder, self.decoder):
            if stack is not None:
                stack.gradient_checkpointing = enabled

    def get_config(self) -> dict[str, Any]:
        settings = {"generation_config": self.generation_config}
        return {"config": self.config.model_dump(mode="json"), "dtype": self.dtype_policy.name} | settings

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Transformer:
        model = cls(ModelConfig.model_validate(config["config"]), dtype=config["dtype"])
        model.generation_config = config["generation_config"]
        return model


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Every layer made inside takes this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
