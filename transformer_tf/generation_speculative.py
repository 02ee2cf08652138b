"""Guess several tokens, and let the model read them at once (Leviathan et al. 2023, algorithm 1).

B batch, R rows, both of them one, N longest length, M new tokens (those that are guessed), T query length (M + 1), V vocabulary,
S key length (of what is looked through).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import keras
import numpy as np
import tensorflow as tf

from configs import GenerationConfig, Prompts
from configs.speculation import longest_with_guesses
from transformer_tf.generation_ends import Ends
from transformer_tf.generation_processors import Processors
from transformer_tf.generation_programs import Given, compiled, parts
from transformer_tf.generation_rows import Rows, begin
from transformer_tf.generation_search import Texts, draw, log_probabilities

if TYPE_CHECKING:
    from transformer_tf.model import Transformer


# Tokens (M), the probabilities (M, V) by which they were drawn, and how many of them were guessed.
Guesses = tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]


class Drafter(Protocol):
    """A way to guess tokens."""

    def propose(self, tokens_RN: tf.Tensor, length: int, count: int, uniforms_M: tf.Tensor) -> Guesses:
        """Tokens (M) that may follow the first `length`, and the probabilities (M, V) by which they were drawn; in greedy search None.
        And how many of them were guessed, at most `count`: a graph's shapes are fixed."""


class PromptLookup:
    """Guess what followed the last tokens where they stood before (Saxena 2023). source: ids to look through before the text."""

    def __init__(self, generation: GenerationConfig, vocab_size: int, source: tf.Tensor) -> None:
        self.generation = generation
        self.vocab_size = vocab_size
        self.source = source

    def propose(self, tokens_RN: tf.Tensor, length: tf.Tensor, count: tf.Tensor, uniforms_M: tf.Tensor) -> Guesses:
        seen_S, end = tf.concat([self.source, tokens_RN[0]], 0), self.source.shape[0] + length
        guessed_M, is_found = look_up(seen_S, end, self.generation.max_matching_ngram_size, uniforms_M.shape[0])
        guesses_MV = tf.one_hot(guessed_M, self.vocab_size, dtype=tf.float64) if self.generation.do_sample else None
        return guessed_M, guesses_MV, tf.where(is_found, count, 0)


def look_up(seen_S: tf.Tensor, end: tf.Tensor, longest: int, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """`configs.speculation.look_up` in a graph, of the first `end` tokens: `count` that may follow (M), and whether any were found."""
    place_S = tf.range(seen_S.shape[0])
    # How many tokens up to each place are the last ones.
    matching_S, goes_on_S = tf.zeros_like(place_S), place_S < end - 1
    for back in range(longest):
        goes_on_S &= (place_S >= back) & (tf.roll(seen_S, back, 0) == tf.gather(seen_S, tf.maximum(end - 1 - back, 0)))
        matching_S += tf.cast(goes_on_S, tf.int32)
    # The longest match, and the last of those.
    best = tf.argmax(matching_S * seen_S.shape[0] + place_S * tf.sign(matching_S), output_type=tf.int32)
    # Where the text runs out, it is taken to go round in a circle.
    following_M = best + 1 + tf.range(count) % tf.maximum(end - 1 - best, 1)
    return tf.gather(seen_S, following_M), tf.gather(matching_S, best) > 0


class Assistant:
    """A smaller model that guesses by the same settings as the large one chooses. rows: the text as it has read it."""

    def __init__(self, generation: GenerationConfig, model: Transformer, given: Given, rows: Rows) -> None:
        self.generation = generation
        self.model = model
        self.given = given
        self.rows = rows

    def propose(self, tokens_RN: tf.Tensor, length: int, count: int, uniforms_M: tf.Tensor) -> Guesses:
        model, generation, size = self.model, self.generation, len(uniforms_M)
        longest = longest_with_guesses(model.config)
        if count < 1 or (longest is not None and length + size > longest):
            guesses_MV = tf.zeros((0, model.config.vocab_size), tf.float64) if generation.do_sample else None
            return tf.zeros(0, tf.int64), guesses_MV, tf.constant(0)

        def guess(
            given: Given, tensors: list[tf.Tensor], tokens_RN: tf.Tensor, place: tf.Tensor, length: tf.Tensor, uniforms_M: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor | None, list[tf.Tensor]]:
            rows, processors, _ = parts(model, generation, given, tensors, place, tokens_RN.shape[1])

            def step(
                place: tf.Tensor, tokens_RN: tf.Tensor, drawn: list[tf.Tensor], tensors: list[tf.Tensor]
            ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
                rows.cache.length = place
                rows.cache.set_tensors(tensors)
                logits_RV = rows.next(tf.gather(tokens_RN, place, axis=1))
                # What is read for the second time is guessed too, and guessed over.
                number = tf.maximum(place + 1 - length, 0)
                scores_RV = processors(logits_RV, tokens_RN, place + 1)
                if generation.do_sample:
                    chosen_RV = tf.exp(log_probabilities(scores_RV, generation))
                    next_R = tf.cast(draw(chosen_RV, tf.gather(uniforms_M, number)[None]), tokens_RN.dtype)
                    drawn = [keras.ops.slice_update(drawn[0], (number, 0), chosen_RV)]
                else:
                    next_R = tf.argmax(scores_RV, -1, tokens_RN.dtype)
                tokens_RN = keras.ops.slice_update(tokens_RN, (0, length + number), next_R[:, None])
                return place + 1, tokens_RN, drawn, rows.cache.tensors()

            # A loop carries no None.
            drawn = [tf.zeros((size, model.config.vocab_size), tf.float64)] if generation.do_sample else []
            now = (place, tokens_RN, drawn, tensors)
            _, tokens_RN, drawn, tensors = tf.while_loop(lambda place, *others: place < length + size - 1, step, now)
            return tf.gather(tokens_RN[0], length + tf.range(size)), drawn[0] if drawn else None, tensors

        # The last token has not been read, and after guesses that were all right neither has the one before.
        place = min(int(self.rows.cache.length), length - 1)
        numbers = tf.constant(place), tf.constant(length), uniforms_M
        run = compiled(model, generation, guess)
        guessed_M, guesses_MV, tensors = run(self.given, self.rows.cache.tensors(), tokens_RN, *numbers)
        self.rows.cache.set_tensors(tensors)
        self.rows.cache.length = length + size - 1
        return guessed_M, guesses_MV, tf.constant(count)


def num_guesses(generation: GenerationConfig, assistant: Transformer | None) -> int:
    """How many tokens are guessed at once; 0 where none are."""
    return generation.num_assistant_tokens if assistant is not None else generation.prompt_lookup_num_tokens or 0


def build_drafter(
    generation: GenerationConfig,
    assistant: Transformer,
    prompts: Prompts,
    room: int,
    given: Given,
) -> Drafter:
    """The drafter that is asked for, if it is a model: `generation_lookup` has the other one."""
    rows, _, _ = begin(assistant, prompts, room, 0, generation.ahead)
    # A model that knows shorter texts gives the source less room.
    return Assistant(generation, assistant, given._replace(encoder_mask_RS=rows.encoder_mask_RS), rows)


def speculate(
    generation: GenerationConfig,
    rows: Rows,
    drafter: Drafter,
    given: Given,
    texts: Texts,
    length: int,
    size: int,
    return_scores: bool,
) -> Iterator[tuple[Texts, int]]:
    """Round after round of at most `size` guesses: each time the texts, and how long they are."""
    # Other numbers than those that the first token was drawn by.
    random = np.random.default_rng([generation.seed, 1])
    model, limit, ends = rows.model, int(given.limit), Ends(given.table_AV, given.state_R)

    def check(
        given: Given, tensors: list[tf.Tensor], texts: Texts, length: tf.Tensor, guesses: Guesses, uniforms: tf.Tensor
    ) -> tuple[Texts, tf.Tensor, list[tf.Tensor]]:
        rows, processors, ends = parts(model, generation, given, tensors, length - 1, texts.tokens_RN.shape[1])
        texts, length = verify(generation, rows, processors, ends, texts, length, guesses, uniforms, return_scores)
        return texts, length, rows.cache.tensors()

    run = compiled(model, generation, check, return_scores)
    longest = longest_with_guesses(model.config)
    while length < limit and not bool(tf.reduce_all(ends.has_come(texts.state_R))):
        uniforms = tf.constant(random.random(2 * size + 1))
        # All guesses are read, those too that may not come.
        fits = longest is None or length + size <= longest
        count = min(size, limit - length - 1) if fits else 0
        guesses = drafter.propose(texts.tokens_RN, length, count, uniforms[:size])
        texts, new_length, tensors = run(given, rows.cache.tensors(), texts, tf.constant(length), guesses, uniforms[size:])
        rows.cache.set_tensors(tensors)
        length = int(new_length)
        yield texts, length


def verify(
    generation: GenerationConfig,
    rows: Rows,
    processors: Processors,
    ends: Ends,
    texts: Texts,
    length: tf.Tensor,
    guesses: Guesses,
    uniforms: tf.Tensor,
    return_scores: bool,
) -> tuple[Texts, tf.Tensor]:
    """Let the model read all guesses at once: the text with those that it accepts, and with the token that it puts behind them."""
    guessed_M, guesses_MV, count = guesses
    size = guessed_M.shape[0]
    # A slice that begins at a number would be compiled anew for each number; gathering is not.
    tokens_RN = keras.ops.slice_update(texts.tokens_RN, (0, length), guessed_M[None])
    # The cache is cut back to what was accepted; the last token is read again.
    rows.cache.length = length - 1
    logits_RTV = rows.extend(tf.gather(tokens_RN, length - 1 + tf.range(size + 1), axis=1))
    scores_TV = tf.concat([processors(logits_RTV[:, place], tokens_RN, length + place) for place in range(size + 1)], 0)
    log_probs_TV = log_probabilities(scores_TV, generation) if return_scores or generation.do_sample else None
    if generation.do_sample:
        assert log_probs_TV is not None
        assert guesses_MV is not None
        accepted, last = accept(guessed_M, guesses_MV, tf.exp(log_probs_TV), uniforms, count)
    else:
        accepted, last = accept_best(guessed_M, scores_TV, count)
    new_T = tf.where(tf.range(size + 1) < accepted, tf.pad(guessed_M, ((0, 1),)), last)

    new, state_R = tf.constant(0), texts.state_R
    for place in range(size + 1):
        goes_on = (place <= accepted) & ~tf.reduce_all(ends.has_come(state_R))
        state_R = tf.where(goes_on, ends.after(state_R, new_T[place, None]), state_R)
        new += tf.cast(goes_on, tf.int32)
    is_new = tf.range(size + 1) < new
    pad = tf.constant(generation.pad_token_id, new_T.dtype)
    tokens_RN = keras.ops.slice_update(tokens_RN, (0, length), tf.where(is_new, new_T, pad)[None])
    log_probs_RN = texts.log_probs_RN
    if log_probs_TV is not None:
        log_probs = tf.where(is_new, tf.cast(tf.gather(log_probs_TV, new_T, batch_dims=1), tf.float32), 0.0)
        log_probs_RN = keras.ops.slice_update(log_probs_RN, (0, length), log_probs[None])
    return Texts(tokens_RN, log_probs_RN, state_R), length + new


def accept_best(guessed_M: tf.Tensor, scores_TV: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How many guesses are the best tokens, and the best token after them: what greedy search would choose one by one."""
    best_T = tf.argmax(scores_TV, -1, guessed_M.dtype)
    accepted = kept(guessed_M == best_T[:-1], count)
    return accepted, tf.gather(best_T, accepted)


def accept(
    guessed_M: tf.Tensor, guesses_MV: tf.Tensor, chosen_TV: tf.Tensor, uniforms: tf.Tensor, count: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """How many guesses hold, and the token after them. Algorithm 1 of Leviathan et al. 2023: a guess is kept with probability
    min(1, p / q); what is drawn in the place of the first that is not comes from max(0, p - q). So all is distributed as p.

    guesses_MV: q. chosen_TV: p. uniforms: random numbers in [0, 1), M or more and one at the end. count: how many were guessed.
    """
    size = guessed_M.shape[0]
    mine_M, theirs_M = (tf.gather(values, guessed_M, batch_dims=1) for values in (chosen_TV[:size], guesses_MV))
    accepted = kept(uniforms[:size] * theirs_M < mine_M, count)
    # Behind the last guess nothing was guessed.
    was_guessed = tf.cast(tf.range(size + 1) < count, tf.float64)[:, None]
    rest_TV = chosen_TV - tf.pad(guesses_MV, ((0, 1), (0, 0))) * was_guessed
    last = draw(tf.maximum(tf.gather(rest_TV, accepted)[None], 0), uniforms[-1:])[0]
    return accepted, tf.cast(last, guessed_M.dtype)


def kept(holds_M: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """How many guesses there are before the first that does not hold."""
    holds_M = holds_M & (tf.range(holds_M.shape[0]) < count)
    return tf.reduce_sum(tf.math.cumprod(tf.cast(holds_M, tf.int32)))
