"""`generate` as one graph, which `transformer_tf.export` saves to be called without this package.

B batch, R rows (a row for each text of each prompt), T query length (of a prompt), N longest length, M new tokens,
A states of the automaton, V vocabulary, W beams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from configs import GenerationConfig, UserError, build
from configs.parts import AudioInputs
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

    It takes input_ids and attention_mask, int64 (B, T) of any T, padded on the left (of an encoder-decoder: what it reads, on the right),
    or, where the encoder reads audio, input_features, float32 (B, mel bins, frames), and decoder_input_ids, int64 (B, T) of any T;
    limit, int32, the length of the longest text; and seed, int32. It gives tokens, int64 (B * num_return_sequences, max_length), and
    length, int32, that of the longest text.
    A graph checks nothing: ids must be in the vocabulary, and limit at most `max_length`.
    `transformer_tf.export` saves it.
    """
    values = GenerationConfig.merged(model.generation_config, settings | {"max_length": max_length})
    generation = build(GenerationConfig, values, "generation_graph").complete(model.config)
    if {"language", "task"} & set(settings):
        asked = f"language={generation.language!r} and task={generation.task!r}"
        raise UserError(f"{asked}: a graph is given decoder_input_ids, which configs.speech_prompt makes of them")
    check_graph(generation, model, batch_size)
    times = generation.rows_of_a_prompt
    table_AV = build_stops(generation.eos_token_id or (), model.config.vocab_size, (), None).table_AV
    first, go_on = programs(model, generation, return_scores=False)

    def run_text(input_ids: tf.Tensor, attention_mask: tf.Tensor, limit: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        if model.encoder is None:
            mask_BN = tf.pad(attention_mask, ((0, 0), (0, max_length - shape_of(input_ids)[1])), constant_values=1)
            return run({"prompt": input_ids, "mask": mask_BN}, limit, seed)
        first_token = tf.constant(model.config.special_tokens.decoder_start, tf.int64)
        inputs = {"source": input_ids, "encoder_mask": attention_mask, "prompt": tf.fill((batch_size, 1), first_token)}
        return run(inputs, limit, seed)

    def run_audio(input_features: tf.Tensor, decoder_input_ids: tf.Tensor, limit: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return run({"source": input_features, "prompt": decoder_input_ids}, limit, seed)

    def run(inputs: dict[str, tf.Tensor], limit: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        start = shape_of(inputs["prompt"])[1]
        room = (0, 0), (0, max_length - start)
        tokens_BN = tf.reshape(tf.pad(inputs["prompt"], room, constant_values=pad_id(generation)), (batch_size, max_length))
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
    reads = model.config.inputs
    if isinstance(reads, AudioInputs):
        features = tf.TensorSpec((batch_size, reads.num_mel_bins, reads.num_frames), tf.float32)
        return tf.function(run_audio, input_signature=[features, ids, number, number], autograph=False)
    return tf.function(run_text, input_signature=[ids, ids, number, number], autograph=False)


def check_graph(generation: GenerationConfig, model: Transformer, batch_size: int) -> None:
    """Refuse what a graph or its model has not, before it is made."""
    generation.check_model(model.config)
    if batch_size < 1:
        raise UserError(f"generation_graph: batch_size={batch_size}; expected at least 1")
    if generation.shortest(1) > generation.limit(1):
        raise UserError(
            f"generation_graph: texts of at least {generation.shortest(1)} tokens do not fit into max_length={generation.limit(1)}"
        )
    if generation.stop_strings or generation.prompt_lookup_num_tokens:
        asked = "stop_strings" if generation.stop_strings else "prompt_lookup_num_tokens"
        raise UserError(f"generation_graph has no {asked}; leave it out, or use generate")
    longest = model.config.longest
    if longest is not None and generation.limit(1) > longest:
        raise UserError(f"generation_graph: max_length={generation.limit(1)} is more than the model's {longest}; make it smaller")
