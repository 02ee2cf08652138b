"""Continue prompts token by token.

B batch, T prompt length, S encoder length, N longest length, M new tokens, D model width, V vocabulary, C candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from configs import GenerationConfig, as_ids, build
from transformer_tf.cache import Cache

if TYPE_CHECKING:
    from transformer_tf.model import Transformer

BUCKET = 64


def generate(model: Transformer, input_ids: Any, attention_mask: Any = None, **settings: Any) -> tf.Tensor:
    """Prompts and what follows them; from an encoder-decoder, what it says to its input, decoder_start first.

    input_ids: integers (B, T), padded on the left. attention_mask: (B, T), 1 for tokens and 0 for padding.
    settings: those of `configs.GenerationConfig`; greedy without any.
    Result: integers (B, T + at most max_new_tokens). Raises UserError before anything is computed.
    """
    config = model.config
    prompt_BT = as_ids(input_ids, "input_ids")
    attended_BT = None if attention_mask is None else as_ids(attention_mask, "attention_mask")
    generation = build(GenerationConfig, settings, "generate").complete(config)
    generation.check(config, prompt_BT, attended_BT)
    source: dict[str, Any] = {}
    if model.encoder is not None:
        seen_BS = None if attended_BT is None else tf.constant(attended_BT)
        encoded_BSD = model.encoder(tf.constant(prompt_BT), seen_BS)
        source = {"encoded_BSD": encoded_BSD, "encoder_mask_BS": seen_BS}
        prompt_BT, attended_BT = np.full((len(prompt_BT), 1), config.special_tokens.decoder_start), None
    batch, length = prompt_BT.shape
    total = length + generation.max_new_tokens
    pad, eos = generation.pad_token_id, generation.eos_token_id or ()
    uniforms_MB = np.random.default_rng(generation.seed).random((generation.max_new_tokens, batch))

    # Every new length would be compiled anew: caches grow in steps.
    room = -(-total // BUCKET) * BUCKET
    mask_BN = position_ids_BT = None
    if attended_BT is not None and not attended_BT.all():
        mask_BN = tf.concat([tf.constant(attended_BT, tf.int64), tf.ones((batch, room - length), tf.int64)], 1)
        position_ids_BT = tf.maximum(tf.cumsum(mask_BN[:, :length], -1) - 1, 0)
    cache = Cache(config, batch, room, tf.as_dtype(model.compute_dtype))
    tokens_BN = np.full((batch, room), pad, dtype=np.int64)
    tokens_BN[:, :length] = prompt_BT
    finished_B = np.zeros(batch, dtype=bool)

    decode = _compiled_step(model)
    hidden_BTD = model.decoder(tf.constant(tokens_BN[:, :length]), mask_BN, position_ids_BT, cache=cache, **source)
    logits_BV = model.head(hidden_BTD[:, -1:], model.token_table())[:, 0]
    for step in range(generation.max_new_tokens):
        if generation.do_sample:
            next_B = sample(logits_BV, generation, tf.constant(uniforms_MB[step])).numpy()
        else:
            next_B = tf.argmax(logits_BV, -1).numpy()
        next_B = np.where(finished_B, pad, next_B)
        tokens_BN[:, length + step] = next_B
        finished_B = finished_B | np.isin(next_B, eos)
        if finished_B.all() or step + 1 == generation.max_new_tokens:
            break
        if position_ids_BT is not None:
            position_ids_BT = position_ids_BT[:, -1:] + 1
        start = tf.constant(length + step)
        logits_BV, tensors = decode(
            tf.constant(next_B[:, None]), mask_BN, position_ids_BT, cache.tensors(), start, source.get("encoder_mask_BS")
        )
        cache.set_tensors(tensors)
    return tf.constant(tokens_BN[:, : length + step + 1])


def sample(logits_BV: tf.Tensor, generation: GenerationConfig, uniforms_B: tf.Tensor) -> tf.Tensor:
    """The token at which the sum of probabilities, from the most probable down, first reaches a uniform random number."""
    order_BV = tf.argsort(logits_BV, -1, direction="DESCENDING", stable=True)
    sorted_BV = tf.gather(tf.cast(logits_BV, tf.float64), order_BV, batch_dims=1)
    probabilities_BC = tf.nn.softmax(sorted_BV[:, : generation.top_k] / generation.temperature)
    cumulative_BC = tf.cumsum(probabilities_BC, -1)
    index_B1 = tf.reduce_sum(tf.cast(cumulative_BC < uniforms_B[:, None] * cumulative_BC[:, -1:], tf.int32), -1, keepdims=True)
    return tf.gather(order_BV, index_B1, batch_dims=1)[:, 0]


def _compiled_step(model: Transformer) -> Any:
    """One token through the model as one XLA program, compiled once for each shape and kept with the model."""
    if not hasattr(model, "_decode"):

        def decode(
            ids_B1: tf.Tensor,
            mask_BN: tf.Tensor | None,
            positions_B1: tf.Tensor | None,
            tensors: list[tf.Tensor],
            start: tf.Tensor,
            encoder_mask_BS: tf.Tensor | None,
        ) -> tuple[tf.Tensor, list[tf.Tensor]]:
            cache = Cache(model.config, ids_B1.shape[0], tensors[0].shape[2], tensors[0].dtype)
            cache.length = start
            cache.set_tensors(tensors)
            hidden_B1D = model.decoder(ids_B1, mask_BN, positions_B1, cache=cache, encoder_mask_BS=encoder_mask_BS)
            return model.head(hidden_B1D, model.token_table())[:, 0], cache.tensors()

        model._decode = tf.function(decode, jit_compile=True)
    return model._decode
