"""What XLA compiles: programs that are kept with the model, and what goes into them. PyTorch runs its loops as they are.

R rows, N longest length, S key length (of an encoder), A states of the automaton, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from configs import GenerationConfig
from transformer_tf.cache import Cache
from transformer_tf.generation_ends import Ends
from transformer_tf.generation_processors import Processors
from transformer_tf.generation_rows import Rows, kept_programs

if TYPE_CHECKING:
    from transformer_tf.model import Transformer

# Settings that programs take as tensors, or not at all.
CHANGING = ("max_new_tokens", "max_length", "min_new_tokens", "min_length", "seed")


class Given(NamedTuple):
    """What stays while texts grow, as tensors: those of `Rows` and `Ends`, and how long a text is at the start, at least and at most."""

    mask_RN: tf.Tensor | None
    encoder_mask_RS: tf.Tensor | None
    table_AV: tf.Tensor
    state_R: tf.Tensor
    start: tf.Tensor
    min_length: tf.Tensor
    limit: tf.Tensor


def parts(
    model: Transformer, generation: GenerationConfig, given: Given, tensors: list[tf.Tensor], length: tf.Tensor, room: int
) -> tuple[Rows, Processors, Ends]:
    """What a graph works with, made of the tensors that go into it. tensors: those of a cache for `room` tokens, with `length` in it."""
    cache = Cache(model.config, given.state_R.shape[0], room, tensors[0].dtype, generation.ahead)
    cache.length = length
    cache.set_tensors(tensors)
    rows = Rows(model, cache, given.mask_RN, given.encoder_mask_RS)
    processors = Processors(generation, model.config.vocab_size, given.min_length, given.limit, rows.pads_R1)
    return rows, processors, Ends(given.table_AV, given.state_R)


def compiled(model: Transformer, generation: GenerationConfig, program: Callable[..., Any]) -> Any:
    """The program for these settings, which it may close over: compiled once for each shape and kind of search, and kept."""
    key = program.__name__, generation.model_copy(update={**dict.fromkeys(CHANGING, 0), "stop_strings": ()})
    return kept_programs(model).setdefault(key, tf.function(program, jit_compile=True, autograph=False))
