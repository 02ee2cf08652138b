"""Beam search (Sutskever et al. 2014, 3.2), with Hugging Face's rules for when it is over.

B batch, W beams, O candidates for the next beams, N longest length, V vocabulary, R rows (batch times beams), I axes joined into one
(beams and vocabulary; beams and candidates).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from configs import GenerationConfig
from transformer_tf.generation_ends import Ends
from transformer_tf.generation_processors import Processors

# The score of what is not there, as Hugging Face has it: -infinity would make NaN of a length.
NOTHING = -1.0e9


class Beams(NamedTuple):
    """Texts that go on, and texts that have ended.

    tokens_BWN: the texts that go on, the best first.
    log_probs_BWN: the log-probability of each of their new tokens.
    scores_BW: its sum.
    state_BW: their states in `Ends`.
    ended_tokens_BWN: the best texts that have ended.
    ended_log_probs_BWN: the log-probability of each of their new tokens.
    ended_scores_BW: its sum, divided by length ** length_penalty.
    ended_lengths_BW: how many new tokens they have.
    has_ended_BW: False where no text has ended yet, and the other values mean nothing.
    can_improve_B1: whether a text that goes on may still become better than one that has ended.
    is_over: whether the search has ended.
    """

    tokens_BWN: tf.Tensor
    log_probs_BWN: tf.Tensor
    scores_BW: tf.Tensor
    state_BW: tf.Tensor
    ended_tokens_BWN: tf.Tensor
    ended_log_probs_BWN: tf.Tensor
    ended_scores_BW: tf.Tensor
    ended_lengths_BW: tf.Tensor
    has_ended_BW: tf.Tensor
    can_improve_B1: tf.Tensor
    is_over: tf.Tensor


class BeamSearch:
    """The `num_beams` best texts of each prompt, all grown together.

    tokens_BN: the prompts, and room. start: tokens of a prompt.
    """

    def __init__(
        self, generation: GenerationConfig, processors: Processors, ends: Ends, tokens_BN: tf.Tensor, start: int | tf.Tensor
    ) -> None:
        self.generation = generation
        self.processors = processors
        self.ends = ends
        self.tokens_BN = tokens_BN
        self.start = start
        self.stops_early = generation.early_stopping is True
        self.num_ends = len(generation.eos_token_id or ())

    def begin(self) -> Beams:
        batch, width = self.tokens_BN.shape[0], self.generation.num_beams
        tokens_BWN = tf.repeat(self.tokens_BN[:, None], width, 1)
        log_probs_BWN = tf.zeros(tokens_BWN.shape, tf.float32)
        # All beams are the same text still: one counts.
        scores_BW = tf.repeat(tf.constant([[0.0] + [NOTHING] * (width - 1)]), batch, 0)
        state_BW = tf.reshape(self.ends.state_R, (batch, width))
        return Beams(
            tokens_BWN,
            log_probs_BWN,
            scores_BW,
            state_BW,
            ended_tokens_BWN=tokens_BWN,
            ended_log_probs_BWN=log_probs_BWN,
            ended_scores_BW=tf.fill((batch, width), NOTHING),
            ended_lengths_BW=tf.zeros((batch, width), tf.int32),
            has_ended_BW=tf.zeros((batch, width), tf.bool),
            can_improve_B1=tf.ones((batch, 1), tf.bool),
            is_over=tf.constant(False),
        )

    def advance(self, beams: Beams, logits_RV: tf.Tensor, length: tf.Tensor) -> tuple[Beams, tuple[tf.Tensor, tf.Tensor]]:
        """Score every token behind every beam, and take the best of all as candidates: those that do not end are the next beams, and those
        that end compete with the texts that have ended before. Of a candidate, `parent_BO` is the beam that it continues."""
        batch, width, room = beams.tokens_BWN.shape
        vocab_size = logits_RV.shape[1]
        log_probs_RV = tf.nn.log_softmax(tf.cast(logits_RV, tf.float32))
        scores_RV = self.processors(log_probs_RV, tf.reshape(beams.tokens_BWN, (batch * width, room)), length)
        scores_BI = tf.reshape(scores_RV, (batch, width * vocab_size))
        totals_BI = tf.reshape(tf.reshape(scores_RV, (batch, width, vocab_size)) + beams.scores_BW[:, :, None], (batch, width * vocab_size))
        # Enough for `width` that go on, even if every end of every beam is among the best; stop strings may have more ends.
        totals_BO, index_BO = tf.math.top_k(totals_BI, width * (1 + max(1, self.num_ends)))
        parent_BO, token_BO = index_BO // vocab_size, tf.cast(index_BO % vocab_size, beams.tokens_BWN.dtype)
        state_BO = self.ends.after(pick(beams.state_BW, parent_BO), token_BO)
        ends_BO = self.ends.has_come(state_BO) | (length + 1 == self.processors.limit)
        tokens_BON = keras.ops.slice_update(pick(beams.tokens_BWN, parent_BO), (0, 0, length), token_BO[:, :, None])
        chosen_BO = pick(scores_BI, index_BO)
        log_probs_BON = keras.ops.slice_update(pick(beams.log_probs_BWN, parent_BO), (0, 0, length), chosen_BO[:, :, None])

        scores_BW, running_BW = tf.math.top_k(totals_BO + tf.cast(ends_BO, tf.float32) * NOTHING, width)
        tokens_BWN = pick(tokens_BON, running_BW)
        ended = self.end(beams, tokens_BON, log_probs_BON, totals_BO, ends_BO, length + 1 - self.start)
        beams = Beams(tokens_BWN, pick(log_probs_BON, running_BW), scores_BW, pick(state_BO, running_BW), **ended)
        beams = self.judge(beams, ends_BO, length + 1)
        first_B1 = tf.range(batch)[:, None] * width
        order_R = tf.reshape(first_B1 + pick(parent_BO, running_BW), (-1,))
        next_R = tf.reshape(pick(token_BO, running_BW), (-1,))
        return beams, (next_R, order_R)

    def end(
        self,
        beams: Beams,
        tokens_BON: tf.Tensor,
        log_probs_BON: tf.Tensor,
        totals_BO: tf.Tensor,
        ends_BO: tf.Tensor,
        new: tf.Tensor,
    ) -> dict[str, Any]:
        """The best texts that have ended, before or now, with `new` tokens. Of the candidates, only the first W may end."""
        width = beams.scores_BW.shape[1]
        has_ended_BO = ends_BO & (tf.range(ends_BO.shape[1]) < width)
        is_full_B1 = tf.reduce_all(beams.has_ended_BW, 1, keepdims=True) & self.stops_early
        scores_BO = totals_BO / raised(new, self.generation.length_penalty)
        for is_out in (is_full_B1, ~beams.can_improve_B1, ~has_ended_BO):
            scores_BO = scores_BO + tf.cast(is_out, tf.float32) * NOTHING
        scores_BI = tf.concat([beams.ended_scores_BW, scores_BO], 1)
        scores_BW, best_BW = tf.math.top_k(scores_BI, width)
        return {
            "ended_tokens_BWN": pick(tf.concat([beams.ended_tokens_BWN, tokens_BON], 1), best_BW),
            "ended_log_probs_BWN": pick(tf.concat([beams.ended_log_probs_BWN, log_probs_BON], 1), best_BW),
            "ended_scores_BW": scores_BW,
            "ended_lengths_BW": pick(tf.concat([beams.ended_lengths_BW, tf.fill(ends_BO.shape, new)], 1), best_BW),
            "has_ended_BW": pick(tf.concat([beams.has_ended_BW, has_ended_BO], 1), best_BW),
            "can_improve_B1": beams.can_improve_B1,
            "is_over": beams.is_over,
        }

    def judge(self, beams: Beams, ends_BO: tf.Tensor, length: tf.Tensor) -> Beams:
        """Whether anything better may come, now that the texts are `length` long, and whether the search is over."""
        penalty = self.generation.length_penalty
        # With "never" a text may become as long as is best for its score; otherwise it is guessed to end here.
        longest = self.processors.limit if self.generation.early_stopping == "never" and penalty > 0.0 else length
        best_B1 = beams.scores_BW[:, :1] / raised(longest - self.start, penalty)
        worst_BW = tf.where(beams.has_ended_BW, tf.reduce_min(beams.ended_scores_BW, 1, keepdims=True), NOTHING)
        can_improve_B1 = beams.can_improve_B1 & tf.reduce_any(best_B1 > worst_BW, 1, keepdims=True)
        is_full = tf.reduce_all(beams.has_ended_BW) & self.stops_early
        return beams._replace(can_improve_B1=can_improve_B1, is_over=~tf.reduce_any(can_improve_B1) | is_full | tf.reduce_all(ends_BO))

    def goes_on(self, beams: Beams, length: tf.Tensor) -> tf.Tensor:
        return ~beams.is_over


def best(beams: Beams, count: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of the texts that have ended, the `count` best of each prompt: their tokens and log-probabilities (R, N), their scores (R), and the
    new tokens of the longest of them all."""
    texts = (beams.ended_tokens_BWN, beams.ended_log_probs_BWN, beams.ended_scores_BW)
    tokens_RN, log_probs_RN, scores_R = (tf.reshape(tensor[:, :count], (-1, *tensor.shape[2:])) for tensor in texts)
    return tokens_RN, log_probs_RN, scores_R, tf.reduce_max(beams.ended_lengths_BW[:, :count])


def pick(values_BI: tf.Tensor, index_BO: tf.Tensor) -> tf.Tensor:
    """The values of the second axis at the places `index_BO`; a third axis comes along."""
    return tf.gather(values_BI, index_BO, batch_dims=1)


def raised(length: tf.Tensor, power: float) -> tf.Tensor:
    """length ** power, rounded once."""
    return tf.cast(tf.cast(length, tf.float64) ** power, tf.float32)
