"""Settings that change the scores of the next token before one is chosen, in Hugging Face's order.

R rows, N longest length, V vocabulary, Z n-grams so far.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from configs import GenerationConfig


class Processors:
    """All the changes that `generation` asks for, one after the other.

    start: tokens of a prompt. min_length: tokens of the shortest text that may end. limit: tokens of the longest text. pads_R1: padding
    on the left of each row, None without any.
    """

    def __init__(
        self,
        generation: GenerationConfig,
        vocab_size: int,
        start: int | tf.Tensor,
        min_length: int | tf.Tensor,
        limit: int | tf.Tensor,
        pads_R1: tf.Tensor | None,
    ) -> None:
        self.generation = generation
        # Where the first new token is forced, begin_suppress_tokens act on the second.
        self.begins_at = start if generation.forced_bos_token_id is None else start + tf.cast(start == 1, tf.int32)
        self.min_length = min_length
        self.limit = limit
        self.pads_R1 = pads_R1
        self.ends_V = marked(generation.eos_token_id or (), vocab_size)
        self.first_V = marked(() if generation.forced_bos_token_id is None else (generation.forced_bos_token_id,), vocab_size)
        self.last_V = marked(generation.forced_eos_token_id or (), vocab_size)
        self.never_V = marked(generation.suppress_tokens, vocab_size)
        self.not_first_V = marked(generation.begin_suppress_tokens, vocab_size)
        # An end that is a bad word too stays allowed.
        self.bad_words = [word for word in generation.bad_words_ids if not (len(word) == 1 and word[0] in (generation.eos_token_id or ()))]

    def __call__(self, scores_RV: tf.Tensor, tokens_RN: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Scores (R, V) of what may follow the first `length` tokens of each row, in float32; minus infinity for what may not."""
        generation = self.generation
        scores_RV = tf.cast(scores_RV, tf.float32)
        if generation.repetition_penalty != 1.0:
            scores_RV = penalize_repetition(scores_RV, tokens_RN, length, self.pads_R1, generation.repetition_penalty)
        if generation.no_repeat_ngram_size:
            scores_RV = forbid(scores_RV, repeating(tokens_RN, length, generation.no_repeat_ngram_size, scores_RV.shape[1]))
        for word in self.bad_words:
            scores_RV = forbid(scores_RV, completing(tokens_RN, length, word, scores_RV.shape[1]))
        scores_RV = forbid(scores_RV, self.ends_V & (length < self.min_length))
        if generation.forced_bos_token_id is not None:
            scores_RV = tf.where(length == 1, force(scores_RV, self.first_V), scores_RV)
        if generation.forced_eos_token_id is not None:
            scores_RV = tf.where(length == self.limit - 1, force(scores_RV, self.last_V), scores_RV)
        if generation.suppress_tokens:
            scores_RV = forbid(scores_RV, self.never_V)
        if generation.begin_suppress_tokens:
            scores_RV = forbid(scores_RV, self.not_first_V & (length == self.begins_at))
        return tf.nn.log_softmax(scores_RV) if generation.renormalize_logits else scores_RV


def marked(tokens: tuple[int, ...], vocab_size: int) -> tf.Tensor:
    """True for these tokens (V)."""
    marked_V = np.zeros(vocab_size, bool)
    marked_V[list(tokens)] = True
    return tf.constant(marked_V)


def forbid(scores_RV: tf.Tensor, forbidden_RV: tf.Tensor) -> tf.Tensor:
    return tf.where(forbidden_RV, -math.inf, scores_RV)


def force(scores_RV: tf.Tensor, forced_V: tf.Tensor) -> tf.Tensor:
    """Minus infinity for all tokens but these, and 0 for these."""
    return tf.where(forced_V, tf.zeros_like(scores_RV), -math.inf)


def penalize_repetition(
    scores_RV: tf.Tensor, tokens_RN: tf.Tensor, length: tf.Tensor, pads_R1: tf.Tensor | None, penalty: float
) -> tf.Tensor:
    """Tokens that are there already become less likely (CTRL, Keskar et al. 2019, 4.1, which divides negative scores too). Padding does not
    count."""
    place_N = tf.range(tokens_RN.shape[1])
    is_there_RN = tf.broadcast_to(place_N < length, tokens_RN.shape)
    if pads_R1 is not None:
        is_there_RN = is_there_RN & (place_N >= tf.cast(pads_R1, tf.int32))
    seen_RV = found(tokens_RN, is_there_RN, scores_RV.shape[1])
    return tf.where(seen_RV, tf.where(scores_RV < 0, scores_RV * penalty, scores_RV / penalty), scores_RV)


def repeating(tokens_RN: tf.Tensor, length: tf.Tensor, size: int, vocab_size: int) -> tf.Tensor:
    """True for tokens (R, V) that would complete an n-gram of `size` tokens for the second time (Paulus et al. 2018, 2.5)."""
    windows = tokens_RN.shape[1] - size + 1
    if windows < 1:
        return tf.zeros((tokens_RN.shape[0], vocab_size), tf.bool)
    matches_RZ = tf.broadcast_to(tf.range(windows) + size <= length, (tokens_RN.shape[0], windows))
    for place in range(size - 1):
        matches_RZ = matches_RZ & (tokens_RN[:, place : place + windows] == last(tokens_RN, length, size - 1)[:, place, None])
    return found(tokens_RN[:, size - 1 :], matches_RZ, vocab_size)


def completing(tokens_RN: tf.Tensor, length: tf.Tensor, word: tuple[int, ...], vocab_size: int) -> tf.Tensor:
    """True for the last token of `word` (R, V), in rows that end in all the tokens before it."""
    *prefix, end = word
    if len(prefix) > tokens_RN.shape[1]:
        return tf.zeros(vocab_size, tf.bool)
    is_there = length >= len(prefix)
    matches_R1 = tf.reduce_all(last(tokens_RN, length, len(prefix)) == tf.constant(prefix, tokens_RN.dtype), -1, keepdims=True) & is_there
    return matches_R1 & marked((end,), vocab_size)


def last(tokens_RN: tf.Tensor, length: tf.Tensor, size: int) -> tf.Tensor:
    """The `size` tokens before `length` (R, size); whoever asks for more than there are gets others."""
    # Not a slice: XLA would compile one anew for each place where it begins.
    return tf.gather(tokens_RN, tf.maximum(length - size, 0) + tf.range(size), axis=1)


def found(tokens_RN: tf.Tensor, counts_RN: tf.Tensor, vocab_size: int) -> tf.Tensor:
    """True for the tokens (R, V) that a row has at one of the places that count."""
    rows = tf.broadcast_to(tf.range(tokens_RN.shape[0])[:, None], tokens_RN.shape)
    place = tf.stack([rows, tf.cast(tokens_RN, tf.int32)], -1)
    return tf.scatter_nd(place, tf.cast(counts_RN, tf.int32), (tokens_RN.shape[0], vocab_size)) > 0
