"""`generate` as one graph, which can be saved, served, and called without this package.

B batch, R rows (a row for each text of each prompt), T query length (of a prompt), N longest length, M new tokens,
A states of the automaton, V vocabulary, W beams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from configs import GenerationConfig, UserError, build
from configs.stopping import build_stops
from transformer_tf.generation import pad_id, programs
from transformer_tf.generation_beams import best
from transformer_tf.generation_programs import Given
from transformer_tf.generation_rows import read_prompts
from transformer_tf.module import shape_of

if TYPE_CHECKING:
    from transformer_tf.model import Transformer


def generation_graph(model: Transformer, batch_size: int, max_length: int, **settings: Any) -> Any:
    """A tf.function that continues `batch_size` prompts to at most `max_length` tokens, with `generate`'s tokens, but for those that
    sampling draws: a graph has random numbers of its own.

    settings: those of `configs.GenerationConfig`, which come before those of the model's generation_config.json. Raises UserError for
    stop strings and guesses, which a graph has not, and for a `max_length` that the model has not.

    It takes input_ids and attention_mask, int64 (B, T) of any T, padded on the left (of an encoder-decoder: what it reads, on the right);
    limit, int32, the length of the longest text; and seed, int32. It gives tokens, int64 (B * num_return_sequences, max_length), and
    length, int32, that of the longest text.
    A graph checks nothing: ids must be in the vocabulary, and limit at most `max_length`.
    To save it: `module = tf.Module(); module.model, module.generate = model, generation_graph(...); tf.saved_model.save(module, folder)`.
    """
    values = GenerationConfig.merged(model.generation_config, settings | {"max_length": max_length})
    generation = build(GenerationConfig, values, "generation_graph").complete(model.config)
    check_graph(generation, model)
    times = generation.rows_of_a_prompt
    table_AV = build_stops(generation.eos_token_id or (), model.config.vocab_size, (), None).table_AV
    first, go_on = programs(model, generation, return_scores=False)

    def run(input_ids: tf.Tensor, attention_mask: tf.Tensor, limit: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = {"prompt": input_ids}
        if model.encoder is not None:
            first_token = tf.constant(model.config.special_tokens.decoder_start, tf.int64)
            inputs = {"source": input_ids, "encoder_mask": attention_mask, "prompt": tf.fill((batch_size, 1), first_token)}
        start = shape_of(inputs["prompt"])[1]
        room = (0, 0), (0, max_length - start)
        if model.encoder is None:
            inputs["mask"] = tf.pad(attention_mask, room, constant_values=1)
        tokens_BN = tf.ensure_shape(tf.pad(inputs["prompt"], room, constant_values=pad_id(generation)), (batch_size, max_length))
        rows, logits_BV = read_prompts(model, inputs, max_length, generation.ahead)
        rows.repeat(times)
        uniforms_MR = tf.random.stateless_uniform((max_length, batch_size * times), tf.stack([seed, 0]), dtype=tf.float64)
        state_R = tf.zeros(batch_size * times, tf.int32)
        numbers = (tf.convert_to_tensor(number) for number in (start, generation.shortest(start), limit))
        given = Given(rows.mask_RN, rows.encoder_mask_RS, tf.constant(table_AV), state_R, *numbers)
        texts = tokens_BN, uniforms_MR if generation.do_sample else None
        state, chosen, _ = first(given, rows.cache.tensors(), *texts, tf.repeat(logits_BV, times, 0))
        state, _, length, _, _ = go_on(given, rows.cache.tensors(), *texts, state, chosen, given.start, given.limit)
        if generation.num_beams == 1:
            return {"tokens": state.tokens_RN, "length": length + 1}
        tokens, _, _, longest = best(state, generation.num_return_sequences)
        return {"tokens": tokens, "length": start + longest}

    ids, number = tf.TensorSpec((batch_size, None), tf.int64), tf.TensorSpec((), tf.int32)
    return tf.function(run, input_signature=[ids, ids, number, number], autograph=False)


def check_graph(generation: GenerationConfig, model: Transformer) -> None:
    """Refuse what a graph or its model has not, before it is made."""
    generation.check_model(model.config)
    if generation.stop_strings or generation.prompt_lookup_num_tokens:
        asked = "stop_strings" if generation.stop_strings else "prompt_lookup_num_tokens"
        raise UserError(f"generation_graph has no {asked}; leave it out, or use generate")
    longest = model.config.longest
    if longest is not None and generation.limit(1) > longest:
        raise UserError(f"generation_graph: max_length={generation.limit(1)} is more than the model's {longest}; make it smaller")
