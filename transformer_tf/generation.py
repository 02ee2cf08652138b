"""Continue prompts token by token.

B batch, R rows (a row for each text of each prompt), T query length (of a prompt), N longest length, M new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from configs import GenerationConfig, Prompts, UserError, as_prompts, build
from configs.speculation import check_speculation
from configs.speech import speech_prompt
from configs.stopping import Stops, build_stops
from transformer_tf.generation_beams import BeamSearch, best
from transformer_tf.generation_ends import Ends
from transformer_tf.generation_lookup import look_ahead
from transformer_tf.generation_processors import Processors
from transformer_tf.generation_programs import Given, compiled, parts
from transformer_tf.generation_rows import BUCKET, Strategy, begin, decode, rounded_up
from transformer_tf.generation_search import Search
from transformer_tf.generation_speculative import build_drafter, num_guesses, speculate

if TYPE_CHECKING:
    from transformer_tf.model import Transformer


class Generated(NamedTuple):
    """Texts and how probable they are.

    tokens: integers (R, T + M), where R is batch * num_return_sequences.
    scores: float32 (R), the sum of a text's log-probabilities; of beams divided by length ** length_penalty.
    log_probs: float32 (R, M), the log-probability of each new token in nats, among those that may follow; 0 after a text's end. Of beams
        what is added up: settings have changed it, and without renormalize_logits probabilities need not add up to 1.
    """

    tokens: tf.Tensor
    scores: tf.Tensor
    log_probs: tf.Tensor


class Request(NamedTuple):
    """What is to be generated, checked.

    start: tokens before the first new one, which are those of a prompt. limit: tokens of the longest text, those included.
    return_scores: whether greedy search is to compute log-probabilities, each a pass over the vocabulary.
    """

    model: Transformer
    assistant: Transformer | None
    prompts: Prompts
    generation: GenerationConfig
    stops: Stops
    start: int
    limit: int
    return_scores: bool

    def uniforms(self) -> np.ndarray:
        """The random numbers of a sampling, one for each new token."""
        shape = self.limit - self.start, len(self.prompts.prompt_BT) * self.generation.rows_of_a_prompt
        return np.random.default_rng(self.generation.seed).random(shape)

    def states(self) -> np.ndarray:
        """The state in which each row's prompt leaves the automaton of `Ends`."""
        return self.stops.begin(self.prompts.prompt_BT).repeat(self.generation.rows_of_a_prompt)


def generate(
    model: Transformer,
    input_ids: Any = None,
    attention_mask: Any = None,
    config: GenerationConfig | None = None,
    return_scores: bool = False,
    tokenizer: Any = None,
    assistant_model: Transformer | None = None,
    input_features: Any = None,
    decoder_input_ids: Any = None,
    **settings: Any,
) -> Any:
    """Prompts and the tokens that follow them; of an encoder-decoder the tokens of its decoder, decoder_start first.

    input_ids: integers (B, T), of a decoder padded on the left; of an encoder-decoder, what the encoder reads.
    attention_mask: (B, T), 1 for tokens and 0 for padding. Default: there is no padding, where Hugging Face takes pad tokens for it.
    config: settings, which come before those of the model's generation_config.json.
    return_scores: give a `Generated`, with scores and log-probabilities, and not its tokens alone.
    tokenizer: needed for `stop_strings`: one of the package `tokenizers`, Hugging Face's around it, or the folder of a tokenizer.json.
    assistant_model: a smaller model that guesses tokens.
    input_features: log-mel spectra (B, mel bins, frames), in place of input_ids where the encoder reads audio.
    decoder_input_ids: integers (B, T), or one row for all, what an encoder-decoder's decoder is to go on from; where no row begins with
        decoder_start, that comes first, but for audio. Default: decoder_start alone, of Whisper what `configs.speech` says.
    settings: those of `configs.GenerationConfig`, which come before those of `config`. Where nothing is set, the search is greedy.

    Returns integers (B * num_return_sequences, T + at most max_new_tokens). Raises UserError before anything is computed.
    """
    inputs = input_ids, attention_mask, input_features, decoder_input_ids
    request = ask(model, *inputs, config, tokenizer, assistant_model, return_scores, settings)
    for state, end in search(request, at_once=True):  # noqa: B007  # the last one counts
        pass
    generated = finish(request, state, end)
    return generated if return_scores else generated.tokens


def stream(
    model: Transformer,
    input_ids: Any = None,
    attention_mask: Any = None,
    config: GenerationConfig | None = None,
    tokenizer: Any = None,
    assistant_model: Transformer | None = None,
    input_features: Any = None,
    decoder_input_ids: Any = None,
    **settings: Any,
) -> Iterator[np.ndarray]:
    """The new tokens of `generate` as soon as they are there: for each step int64 (R, 1), with guesses (1, M). A text that has
    ended is filled up.

    Arguments are those of `generate`. Raises UserError before anything is computed, and for beams, which are known at their end only.
    """
    inputs = input_ids, attention_mask, input_features, decoder_input_ids
    request = ask(model, *inputs, config, tokenizer, assistant_model, False, settings)
    if request.generation.num_beams > 1:
        raise UserError(f"num_beams={request.generation.num_beams} and streaming: which beam is best is known at the end; use generate")
    return new_tokens(request)


def ask(
    model: Transformer,
    input_ids: Any,
    attention_mask: Any,
    input_features: Any,
    decoder_input_ids: Any,
    config: GenerationConfig | None,
    tokenizer: Any,
    assistant: Transformer | None,
    return_scores: bool,
    settings: dict[str, Any],
) -> Request:
    """Check what a caller asks for. Raises UserError where the model cannot do it."""
    if not isinstance(config, GenerationConfig | None):
        raise UserError(f"config is a {type(config).__name__}; expected a GenerationConfig, or settings by name")
    if not isinstance(assistant, keras.Model | None):
        raise UserError(f"assistant_model is a {type(assistant).__name__}; expected a model of transformer_tf, as load gives it")
    given = {} if config is None else config.model_dump(exclude_unset=True)
    values = GenerationConfig.merged(model.generation_config, GenerationConfig.changed(given, settings))
    generation = build(GenerationConfig, values, "generate").complete(model.config)
    generation.check_model(model.config)
    if decoder_input_ids is not None and any((given | settings).get(name) for name in ("language", "task")):
        raise UserError("decoder_input_ids say language and task themselves; leave out decoder_input_ids, or language and task")
    if model.config.inputs.kind == "audio" and decoder_input_ids is None:
        decoder_input_ids = [speech_prompt(model.config, model.generation_config, generation.language, generation.task)]
    prompts = as_prompts(model.config, input_ids, attention_mask, input_features, decoder_input_ids)
    generation.check_room(model.config, prompts)
    batch, start = prompts.prompt_BT.shape
    limit = generation.limit(start)
    longest = max(limit, prompts.source_ids.shape[1])
    check_speculation(generation, model.config, None if assistant is None else assistant.config, batch, longest)
    stops = build_stops(generation.eos_token_id or (), model.config.vocab_size, generation.stop_strings, tokenizer)
    # The other searches know it anyway.
    return_scores = return_scores and not generation.do_sample and generation.num_beams == 1
    return Request(model, assistant, prompts, generation, stops, start, limit, return_scores)


def new_tokens(request: Request) -> Iterator[np.ndarray]:
    """The new tokens of each step."""
    length = request.start
    for texts, end in search(request, at_once=False):
        yield texts.tokens_RN[:, length:end].numpy()
        length = end


def search(request: Request, at_once: bool) -> Iterator[tuple[Any, int]]:
    """The state of the search after each step, or after all of them, and how long the texts are."""
    model, generation, times = request.model, request.generation, request.generation.rows_of_a_prompt
    size = num_guesses(generation, request.assistant)
    room = rounded_up(request.limit + size, BUCKET)
    rows, tokens_BN, logits_BV = begin(model, request.prompts, room, pad_id(generation), generation.ahead)
    rows.repeat(times)
    # Numbers that change from call to call go in as tensors.
    numbers = (tf.constant(number) for number in (request.start, generation.shortest(request.start), request.limit))
    tables = tf.constant(request.stops.table_AV), tf.constant(request.states())
    given = Given(rows.mask_RN, rows.encoder_mask_RS, *tables, *numbers)
    uniforms_MR = None
    if generation.do_sample:
        uniforms_MR = tf.pad(request.uniforms(), ((0, room - (request.limit - request.start)), (0, 0)))
    first, go_on = (
        compiled(model, generation, program, request.return_scores) for program in programs(model, generation, request.return_scores)
    )
    state, chosen, goes_on = first(given, rows.cache.tensors(), tokens_BN, uniforms_MR, tf.repeat(logits_BV, times, 0))
    if size:
        yield state, request.start + 1
        end, return_scores = request.start + 1, request.return_scores
        if request.assistant is None:
            source = request.prompts.source_ids[0].tolist()
            yield from look_ahead(generation, rows, source, given, state, end, size, return_scores, at_once)
        else:
            drafter = build_drafter(generation, request.assistant, request.prompts, room, given)
            yield from speculate(generation, rows, drafter, given, state, end, size, return_scores)
        return
    length, tensors = given.start, rows.cache.tensors()
    if not at_once:
        yield state, request.start + 1
    while goes_on:
        until = given.limit if at_once else length + 2
        now = (state, chosen, length, until)
        state, chosen, length, tensors, goes_on = go_on(given, tensors, tokens_BN, uniforms_MR, *now)
        if not at_once:
            yield state, int(length) + 1
    if at_once:
        yield state, int(length) + 1


def programs(model: Transformer, generation: GenerationConfig, return_scores: bool) -> tuple[Any, Any]:
    """Two functions to be compiled: one adds the first token to the prompts, the other adds tokens until texts are `until` long."""

    def strategy(processors: Processors, ends: Ends, given: Given, tokens_BN: tf.Tensor, uniforms_MR: tf.Tensor | None) -> Strategy:
        if generation.num_beams > 1:
            return BeamSearch(generation, processors, ends, tokens_BN, given.start)
        tokens_RN = tf.repeat(tokens_BN, given.state_R.shape[0] // tokens_BN.shape[0], 0)
        return Search(generation, processors, ends, tokens_RN, given.start, uniforms_MR, return_scores)

    def first(
        given: Given, tensors: list[tf.Tensor], tokens_BN: tf.Tensor, uniforms_MR: tf.Tensor | None, logits_RV: tf.Tensor
    ) -> tuple[Any, Any, tf.Tensor]:
        _, processors, ends = parts(model, generation, given, tensors, given.start, tokens_BN.shape[1])
        searching = strategy(processors, ends, given, tokens_BN, uniforms_MR)
        state, chosen = searching.advance(searching.begin(), logits_RV, given.start)
        return state, chosen, searching.goes_on(state, given.start)

    def go_on(
        given: Given,
        tensors: list[tf.Tensor],
        tokens_BN: tf.Tensor,
        uniforms_MR: tf.Tensor | None,
        state: Any,
        chosen: Any,
        length: tf.Tensor,
        until: tf.Tensor,
    ) -> tuple[Any, Any, tf.Tensor, list[tf.Tensor], tf.Tensor]:
        rows, processors, ends = parts(model, generation, given, tensors, length, tokens_BN.shape[1])
        searching = strategy(processors, ends, given, tokens_BN, uniforms_MR)
        state, chosen = decode(searching, rows, state, chosen, until)
        return state, chosen, rows.cache.length, rows.cache.tensors(), searching.goes_on(state, rows.cache.length)

    return first, go_on


def finish(request: Request, state: Any, end: int) -> Generated:
    """The result, from the last state of a search and the length of its texts."""
    start = request.start
    if request.generation.num_beams == 1:
        return Generated(state.tokens_RN[:, :end], tf.reduce_sum(state.log_probs_RN, -1), state.log_probs_RN[:, start:end])
    tokens_RN, log_probs_RN, scores_R, longest = best(state, request.generation.num_return_sequences)
    end = start + int(longest)
    return Generated(tokens_RN[:, :end], scores_R, log_probs_RN[:, start:end])


def pad_id(generation: GenerationConfig) -> int:
    """The token that fills up a text that has ended. In beam search Hugging Face takes pad_token_id=0 for none, and fills with the end."""
    if generation.num_beams > 1 and generation.eos_token_id:
        return generation.pad_token_id or generation.eos_token_id[0]
    return generation.pad_token_id
