"""Prompt lookup in a graph: round after round in one loop of XLA's. PyTorch has no such file: its loop is `speculate`.

R rows (here one), N longest length, M new tokens (those that are guessed), T query length (M + 1), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from configs import GenerationConfig
from configs.speculation import longest_with_guesses
from transformer_tf.generation_ends import Ends
from transformer_tf.generation_programs import Given, compiled, parts
from transformer_tf.generation_rows import SOURCE_BUCKET, Rows, rounded_up
from transformer_tf.generation_search import Texts
from transformer_tf.generation_speculative import Guesses, PromptLookup, verify

# No token, so that it is found nowhere.
NO_TOKEN = -1


def look_ahead(
    generation: GenerationConfig,
    rows: Rows,
    ids: list[int],
    given: Given,
    texts: Texts,
    length: int,
    size: int,
    return_scores: bool,
    at_once: bool,
) -> Iterator[tuple[Texts, int]]:
    """`speculate` by prompt lookup: the texts, and how long they are, after each round, or after all of them.

    ids: to look through before the text, such as an encoder's.
    """
    model, room = rows.model, texts.tokens_RN.shape[1]
    longest = longest_with_guesses(model.config)

    def rounds(
        given: Given,
        tensors: list[tf.Tensor],
        source: tf.Tensor,
        uniforms_NT: tf.Tensor | None,
        number: tf.Tensor,
        texts: Texts,
        length: tf.Tensor,
        until: tf.Tensor,
    ) -> tuple[tf.Tensor, Texts, tf.Tensor, list[tf.Tensor]]:
        rows, processors, ends = parts(model, generation, given, tensors, length - 1, room)
        drafter = PromptLookup(generation, model.config.vocab_size, source)

        def goes_on(number: tf.Tensor, texts: Texts, length: tf.Tensor, tensors: list[tf.Tensor]) -> tf.Tensor:
            return (length < until) & ~tf.reduce_all(ends.has_come(texts.state_R))

        def advance(
            number: tf.Tensor, texts: Texts, length: tf.Tensor, tensors: list[tf.Tensor]
        ) -> tuple[tf.Tensor, Texts, tf.Tensor, list[tf.Tensor]]:
            count = tf.minimum(size, given.limit - length - 1)
            if longest is not None:
                # All guesses are read, those too that may not come.
                count = tf.where(length + size <= longest, count, 0)
            uniforms_T = tf.zeros(size + 1, tf.float64) if uniforms_NT is None else tf.gather(uniforms_NT, number)
            guesses = drafter.propose(texts.tokens_RN, length, count, uniforms_T[:size])

            def read(guesses: Guesses) -> tuple[Texts, tf.Tensor, list[tf.Tensor]]:
                rows.cache.set_tensors(tensors)
                verified = verify(generation, rows, processors, ends, texts, length, guesses, uniforms_T, return_scores)
                return *verified, rows.cache.tensors()

            guessed_M, guesses_MV, found = guesses
            nothing = guessed_M[:0], None if guesses_MV is None else guesses_MV[:0], found
            return number + 1, *tf.cond(found > 0, lambda: read(guesses), lambda: read(nothing))

        done: tuple[tf.Tensor, Texts, tf.Tensor, list[tf.Tensor]] = tf.while_loop(goes_on, advance, (number, texts, length, tensors))
        return done

    run = compiled(model, generation, rounds, return_scores)
    padding = rounded_up(len(ids), SOURCE_BUCKET) - len(ids)
    source = tf.constant([NO_TOKEN] * padding + ids, texts.tokens_RN.dtype)
    uniforms_NT = None
    if generation.do_sample:
        # Other numbers than those that the first token was drawn by.
        uniforms_NT = tf.constant(np.random.default_rng([generation.seed, 1]).random((room, 2 * size + 1))[:, size:])
    limit, ends, number, tensors = int(given.limit), Ends(given.table_AV, given.state_R), tf.constant(0), rows.cache.tensors()
    while length < limit and not bool(tf.reduce_all(ends.has_come(texts.state_R))):
        until = tf.constant(limit if at_once else length + 1)
        now = (number, texts, tf.constant(length), until)
        number, texts, end, tensors = run(given, tensors, source, uniforms_NT, *now)
        length = int(end)
        yield texts, length
