"""One text for each row: greedy search, and sampling.

R rows, N longest length, M new tokens, V vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import tensorflow as tf

from configs import GenerationConfig
from transformer_tf.generation_ends import Ends
from transformer_tf.generation_processors import Processors


class Texts(NamedTuple):
    """The texts so far.

    tokens_RN: their tokens. log_probs_RN: the log-probability of each new token, among those that could be chosen; zeros of a greedy
    search where nobody asks for it. state_R: as in `Ends`.
    """

    tokens_RN: tf.Tensor
    log_probs_RN: tf.Tensor
    state_R: tf.Tensor


class Search:
    """Greedy search: the best token each time; or with `do_sample`, a token that is drawn.

    tokens_RN: the prompts, and room. start: tokens of a prompt. uniforms_MR: for `do_sample` a random number in [0, 1) for each new token.
    return_scores: whether log-probabilities are asked for.
    """

    def __init__(
        self,
        generation: GenerationConfig,
        processors: Processors,
        ends: Ends,
        tokens_RN: tf.Tensor,
        start: int | tf.Tensor,
        uniforms_MR: tf.Tensor | None,
        return_scores: bool,
    ) -> None:
        self.generation = generation
        self.processors = processors
        self.ends = ends
        self.tokens_RN = tokens_RN
        self.start = start
        self.uniforms_MR = uniforms_MR
        self.return_scores = return_scores

    def begin(self) -> Texts:
        return Texts(self.tokens_RN, tf.zeros(self.tokens_RN.shape, tf.float32), self.ends.state_R)

    def advance(self, texts: Texts, logits_RV: tf.Tensor, length: tf.Tensor) -> tuple[Texts, tuple[tf.Tensor]]:
        scores_RV = self.processors(logits_RV, texts.tokens_RN, length)
        log_probs_R = None
        if self.uniforms_MR is not None:
            next_R, log_probs_R = sample(scores_RV, self.generation, tf.gather(self.uniforms_MR, length - self.start))
        else:
            next_R = tf.argmax(scores_RV, -1)
            if self.return_scores:
                log_probs_R = tf.gather(scores_RV, next_R, batch_dims=1) - tf.reduce_logsumexp(scores_RV, -1)
        has_ended_R = self.ends.has_come(texts.state_R)
        next_R = tf.where(has_ended_R, tf.constant(self.generation.pad_token_id, next_R.dtype), next_R)
        tokens_RN = keras.ops.slice_update(texts.tokens_RN, (0, length), next_R[:, None])
        log_probs_RN = texts.log_probs_RN
        if log_probs_R is not None:
            log_probs_R = tf.where(has_ended_R, 0.0, tf.cast(log_probs_R, tf.float32))
            log_probs_RN = keras.ops.slice_update(log_probs_RN, (0, length), log_probs_R[:, None])
        return Texts(tokens_RN, log_probs_RN, self.ends.after(texts.state_R, next_R)), (next_R,)

    def goes_on(self, texts: Texts, length: tf.Tensor) -> tf.Tensor:
        return (length + 1 < self.processors.limit) & ~tf.reduce_all(self.ends.has_come(texts.state_R))


def sample(scores_RV: tf.Tensor, generation: GenerationConfig, uniforms_R: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw a token: that at which the sum of probabilities, from the most probable down, first reaches a uniform random number; and its
    log-probability (R each)."""
    sorted_RV, order_RV = candidates(scores_RV, generation)
    index_R1 = draw(tf.nn.softmax(sorted_RV), uniforms_R)[:, None]
    next_R = tf.gather(order_RV, index_R1, batch_dims=1)[:, 0]
    return tf.cast(next_R, tf.int64), tf.gather(tf.nn.log_softmax(sorted_RV), index_R1, batch_dims=1)[:, 0]


def log_probabilities(scores_RV: tf.Tensor, generation: GenerationConfig) -> tf.Tensor:
    """The log-probability (R, V) of each token, in float64; of a sampling that with which it is drawn."""
    if not generation.do_sample:
        return tf.nn.log_softmax(tf.cast(scores_RV, tf.float64))
    sorted_RV, order_RV = candidates(scores_RV, generation)
    return tf.gather(tf.nn.log_softmax(sorted_RV), tf.argsort(order_RV, -1), batch_dims=1)


def candidates(scores_RV: tf.Tensor, generation: GenerationConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits in float64, sorted from best to worst, with minus infinity for tokens that may not be drawn; and the token of each."""
    order_RV = tf.argsort(scores_RV, -1, direction="DESCENDING", stable=True)
    sorted_RV = tf.gather(tf.cast(scores_RV, tf.float64), order_RV, batch_dims=1)
    return truncate(sorted_RV / generation.temperature, generation), order_RV


def draw(weights_RV: tf.Tensor, uniforms_R: tf.Tensor) -> tf.Tensor:
    """Draw a place (R) in proportion to its weight: the first at which the sum of weights reaches uniforms_R times the sum of all."""
    cumulative_RV = tf.cumsum(weights_RV, -1)
    # Above zero, so that what has been left out at the front is never reached.
    reached_R1 = tf.maximum(uniforms_R, 1e-300)[:, None] * cumulative_RV[:, -1:]
    return tf.reduce_sum(tf.cast(cumulative_RV < reached_R1, tf.int32), -1)


def truncate(sorted_RV: tf.Tensor, generation: GenerationConfig) -> tf.Tensor:
    """Minus infinity for tokens that are not to be drawn: top-k (Fan et al. 2018, 5.4), nucleus (Holtzman et al. 2020, 3.1), min-p (Nguyen
    et al. 2024, 3), typical (Meister et al. 2023). Logits are sorted from best to worst, before and after."""
    nothing = tf.constant(-math.inf, sorted_RV.dtype)
    if generation.top_k is not None:
        sorted_RV = tf.where(sorted_RV < sorted_RV[:, generation.top_k - 1, None], nothing, sorted_RV)
    if generation.top_p < 1.0:
        probabilities_RV = tf.nn.softmax(sorted_RV)
        before_RV = tf.cumsum(probabilities_RV, -1) - probabilities_RV
        sorted_RV = tf.where(before_RV >= generation.top_p, nothing, sorted_RV)
    if generation.min_p > 0.0:
        probabilities_RV = tf.nn.softmax(sorted_RV)
        sorted_RV = tf.where(probabilities_RV < generation.min_p * probabilities_RV[:, :1], nothing, sorted_RV)
    if generation.typical_p < 1.0:
        sorted_RV = keep_typical(sorted_RV, generation.typical_p)
    return sorted_RV


def keep_typical(logits_RV: tf.Tensor, share: float) -> tf.Tensor:
    """Keep the tokens whose information (-log p) is nearest to the entropy, until their probabilities add up to `share` (Meister et al.
    2023, equation 10)."""
    log_probs_RV = tf.nn.log_softmax(logits_RV)
    probabilities_RV = tf.exp(log_probs_RV)
    entropy_R1 = -tf.reduce_sum(tf.math.multiply_no_nan(log_probs_RV, probabilities_RV), -1, keepdims=True)
    distance_RV = tf.abs(-log_probs_RV - entropy_R1)
    order_RV = tf.argsort(distance_RV, -1, stable=True)
    cumulative_RV = tf.cumsum(tf.gather(probabilities_RV, order_RV, batch_dims=1), -1)
    last_R1 = tf.minimum(tf.reduce_sum(tf.cast(cumulative_RV < share, tf.int32), -1, keepdims=True), logits_RV.shape[1] - 1)
    furthest_R1 = tf.gather(distance_RV, tf.gather(order_RV, last_R1, batch_dims=1), batch_dims=1)
    return tf.where(distance_RV > furthest_R1, tf.constant(-math.inf, logits_RV.dtype), logits_RV)
