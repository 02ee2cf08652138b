"""Continue prompts token by token.

B batch, R rows (a row for each text of each prompt), T prompt length, S encoder length, N longest length, M new tokens, D model width,
V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from configs import GenerationConfig, as_ids, build
from transformer_tf.cache import Cache
from transformer_tf.generation_beams import BeamSearch
from transformer_tf.generation_processors import Processors
from transformer_tf.generation_rows import Rows, decode
from transformer_tf.generation_search import Search

if TYPE_CHECKING:
    from transformer_tf.model import Transformer

# Every new length would be compiled anew: room for texts grows in steps.
BUCKET = 64


class Generated(NamedTuple):
    """Texts and how probable they are.

    tokens: integers (R, T + M), where R is batch * num_return_sequences. scores: float32 (R), the sum of a text's log-probabilities, for
    beams divided by length ** length_penalty. log_probs: float32 (R, M), of each new token in nats, 0 after a text's end.
    """

    tokens: tf.Tensor
    scores: tf.Tensor
    log_probs: tf.Tensor


def generate(
    model: Transformer,
    input_ids: Any,
    attention_mask: Any = None,
    config: GenerationConfig | None = None,
    return_scores: bool = False,
    **settings: Any,
) -> Any:
    """Prompts and what follows them; from an encoder-decoder, what it says to its input, decoder_start first.

    input_ids: integers (B, T), padded on the left. attention_mask: (B, T), 1 for tokens and 0 for padding.
    settings: those of `configs.GenerationConfig`, greedy without any; they change those of `config`, if it is given.
    Result: integers (B * num_return_sequences, T + at most max_new_tokens), with `return_scores` inside of a `Generated`.
    Raises UserError before anything is computed.
    """
    prompt_BT = as_ids(input_ids, "input_ids")
    attended_BT = None if attention_mask is None else as_ids(attention_mask, "attention_mask")
    given = {} if config is None else config.model_dump(exclude_unset=True)
    generation = build(GenerationConfig, given | settings, "generate").complete(model.config)
    generation.check(model.config, prompt_BT, attended_BT)
    generated = _generate(model, prompt_BT, attended_BT, generation)
    return generated if return_scores else generated.tokens


def _generate(model: Transformer, prompt_BT: np.ndarray, attended_BT: np.ndarray | None, generation: GenerationConfig) -> Generated:
    config = model.config
    encoded_BSD = encoder_mask_BS = None
    if model.encoder is not None:
        encoder_mask_BS = None if attended_BT is None else tf.constant(attended_BT)
        encoded_BSD = model.encoder(tf.constant(prompt_BT), encoder_mask_BS)
        prompt_BT, attended_BT = np.full((len(prompt_BT), 1), config.special_tokens.decoder_start), None
    batch, start = prompt_BT.shape
    limit = generation.limit(start)
    room = -(-limit // BUCKET) * BUCKET
    mask_BN = None
    if attended_BT is not None and not attended_BT.all():
        mask_BN = tf.pad(tf.constant(attended_BT, tf.int64), ((0, 0), (0, room - start)), constant_values=1)
    tokens_BN = tf.pad(tf.constant(prompt_BT, tf.int64), ((0, 0), (0, room - start)), constant_values=filler(generation))

    rows = Rows(model, Cache(config, batch, room, tf.as_dtype(model.compute_dtype)), mask_BN, encoder_mask_BS)
    times = generation.num_beams if generation.num_beams > 1 else generation.num_return_sequences
    logits_RV = tf.repeat(rows.first(tokens_BN[:, :start], encoded_BSD), times, 0)
    if times > 1:
        rows.repeat(times)
    uniforms_MR = None
    if generation.do_sample:
        uniforms_MR = np.zeros((room, batch * times))
        uniforms_MR[: limit - start] = np.random.default_rng(generation.seed).random((limit - start, batch * times))
    # Numbers that change from call to call go in as tensors.
    numbers = [tf.constant(number) for number in (start, generation.least(start), limit)]
    inputs = (tokens_BN, logits_RV, rows.cache.tensors(), rows.mask_RN, rows.encoder_mask_RS, *numbers)
    tokens_RN, scores_R, log_probs_RN, end = _compiled_decode(model, generation)(*inputs, uniforms_MR)
    return Generated(tokens_RN[:, :end], scores_R, log_probs_RN[:, start:end])


def _compiled_decode(model: Transformer, generation: GenerationConfig) -> Any:
    """All tokens after the first logits as one XLA program, compiled once for each shape and kind of search, and kept with the model."""
    programs = model.__dict__.setdefault("_programs", {})
    key = generation.model_copy(update=dict.fromkeys(("max_new_tokens", "max_length", "min_new_tokens", "min_length", "seed"), 0))
    if key in programs:
        return programs[key]

    def run(
        tokens_BN: tf.Tensor,
        logits_RV: tf.Tensor,
        tensors: list[tf.Tensor],
        mask_RN: tf.Tensor | None,
        encoder_mask_RS: tf.Tensor | None,
        start: tf.Tensor,
        least: tf.Tensor,
        limit: tf.Tensor,
        uniforms_MR: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        cache = Cache(model.config, logits_RV.shape[0], tokens_BN.shape[1], tensors[0].dtype)
        cache.length = start
        cache.set_tensors(tensors)
        rows = Rows(model, cache, mask_RN, encoder_mask_RS)
        processors = Processors(generation, model.config.vocab_size, least, limit, rows.pads_R1)
        if generation.num_beams > 1:
            beams, _ = decode(BeamSearch(generation, processors, tokens_BN, start), rows, logits_RV)
            count, room = generation.num_return_sequences, tokens_BN.shape[1]
            end = start + tf.reduce_max(beams.ended_lengths_BW[:, :count])
            tokens, log_probs = (tf.reshape(texts[:, :count], (-1, room)) for texts in (beams.ended_tokens_BWN, beams.ended_log_probs_BWN))
            return tokens, tf.reshape(beams.ended_scores_BW[:, :count], (-1,)), log_probs, end
        tokens_RN = tf.repeat(tokens_BN, logits_RV.shape[0] // tokens_BN.shape[0], 0)
        texts, end = decode(Search(generation, processors, tokens_RN, start, uniforms_MR), rows, logits_RV)
        return texts.tokens_RN, tf.reduce_sum(texts.log_probs_RN, -1), texts.log_probs_RN, end

    programs[key] = tf.function(run, jit_compile=True, autograph=False)
    return programs[key]


def filler(generation: GenerationConfig) -> int:
    """What stands behind the end of a text. Behind a beam's end, Hugging Face takes pad_token_id=0 for none, and so its tokens differ."""
    if generation.num_beams > 1 and generation.eos_token_id:
        return generation.pad_token_id or generation.eos_token_id[0]
    return generation.pad_token_id
