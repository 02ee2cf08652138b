"""What XLA compiles: programs that are kept with the model, and the tensors that they take. PyTorch runs its loops as they are.

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

# Settings that programs take as tensors, as shapes, or not at all.
CHANGING = (
    "max_new_tokens",
    "max_length",
    "min_new_tokens",
    "min_length",
    "seed",
    "num_return_sequences",
    "language",
    "task",
)


class Given(NamedTuple):
    """Tensors that stay the same while texts grow.

    mask_RN, encoder_mask_RS: as in `Rows`. table_AV, state_R: as in `Ends`. start: tokens of a prompt. min_length: tokens of the shortest
    text that may end. limit: tokens of the longest text.
    """

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
    """The objects that a graph works with, made of the tensors that it takes. tensors: a cache's, with room for `room` tokens and `length`
    in it."""
    cache = Cache(model.config, given.state_R.shape[0], room, tensors[0].dtype, generation.ahead)
    cache.length = length
    cache.set_tensors(tensors)
    rows = Rows(model, cache, given.mask_RN, given.encoder_mask_RS)
    processors = Processors(generation, model.config.vocab_size, given.start, given.min_length, given.limit, rows.pads_R1)
    return rows, processors, Ends(given.table_AV, given.state_R)


def compiled(model: Transformer, generation: GenerationConfig, program: Callable[..., Any], return_scores: bool = False) -> Any:
    """The program for these settings, which it may close over: compiled once for each shape and kind of search, and kept."""
    key = program.__name__, return_scores, generation.model_copy(update={**dict.fromkeys(CHANGING, 0), "stop_strings": ()})
    return kept_programs(model).setdefault(key, tf.function(program, jit_compile=True, autograph=False))
