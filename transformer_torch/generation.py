"""Continue prompts token by token.

B batch, R rows (a row for each text of each prompt), T query length (of a prompt), N longest length, M new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from configs import GenerationConfig, Prompts, UserError, as_prompts, build
from configs.speculation import check_speculation
from configs.speech import speech_prompt
from configs.stopping import Stops, build_stops
from transformer_torch.cuda_graphs import are_recorded
from transformer_torch.generation_ahead import decode_ahead
from transformer_torch.generation_beams import BeamSearch, best
from transformer_torch.generation_ends import Ends
from transformer_torch.generation_processors import Processors
from transformer_torch.generation_rows import begin, decode
from transformer_torch.generation_search import Search
from transformer_torch.generation_speculative import build_drafter, num_guesses, speculate

if TYPE_CHECKING:
    from transformer_torch.model import Transformer


class Generated(NamedTuple):
    """Texts and how probable they are.

    tokens: integers (R, T + M), where R is batch * num_return_sequences.
    scores: float32 (R), the sum of a text's log-probabilities; of beams divided by length ** length_penalty.
    log_probs: float32 (R, M), the log-probability of each new token in nats, among those that may follow; 0 after a text's end. Of beams
        what is added up: settings have changed it, and without renormalize_logits probabilities need not add up to 1.
    """

    tokens: torch.Tensor
    scores: torch.Tensor
    log_probs: torch.Tensor


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
    for state, end in search(request):  # noqa: B007  # the last one counts
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
    if not isinstance(assistant, nn.Module | None):
        raise UserError(f"assistant_model is a {type(assistant).__name__}; expected a model of transformer_torch, as load gives it")
    given = {} if config is None else config.model_dump(exclude_unset=True)
    values = GenerationConfig.merged(model.generation_config, GenerationConfig.changed(given, settings))
    generation = build(GenerationConfig, values, "generate").complete(model.config)
    generation.check_model(model.config)
    if decoder_input_ids is not None and any((given | settings).get(name) for name in ("language", "task")):
        raise UserError("decoder_input_ids say language and task themselves; leave out decoder_input_ids, or language and task")
    if model.config.inputs.kind == "audio" and decoder_input_ids is None:
        decoder_input_ids = [speech_prompt(model.config, model.generation_config, generation.language, generation.task)]
    prompts = as_prompts(model.config, on_host(input_ids), on_host(attention_mask), on_host(input_features), on_host(decoder_input_ids))
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
    for texts, end in search(request):
        yield texts.tokens_RN[:, length:end].cpu().numpy()
        length = end


def in_evaluation(search: Callable[[Request], Iterator[Any]]) -> Callable[[Request], Iterator[Any]]:
    """The same search without dropout: between its steps the models are in training, if they were."""

    def evaluated(request: Request) -> Iterator[Any]:
        models = [request.model] if request.assistant is None else [request.model, request.assistant]
        modules, steps = [module for model in models for module in model.modules()], search(request)
        while True:
            were_training = [module for module in modules if module.training]
            try:
                for module in were_training:
                    module.training = False
                step = next(steps, None)
            finally:
                for module in were_training:
                    module.training = True
            if step is None:
                return
            yield step

    return evaluated


@in_evaluation
@torch.no_grad()
def search(request: Request) -> Iterator[tuple[Any, int]]:
    """The state of the search after each step, and how long the texts are."""
    model, generation, times = request.model, request.generation, request.generation.rows_of_a_prompt
    size = num_guesses(generation, request.assistant)
    rows, tokens_BN, logits_BV = begin(model, request.prompts, request.limit, pad_id(generation), generation.ahead)
    device, min_length = tokens_BN.device, generation.shortest(request.start)
    rows.repeat(times)
    processors = Processors(generation, model.config.vocab_size, request.start, min_length, request.limit, rows.pads_R1, device)
    ends = Ends(torch.from_numpy(request.stops.table_AV).to(device), torch.from_numpy(request.states()).to(device))
    logits_RV = logits_BV.repeat_interleave(times, 0)
    if generation.num_beams > 1:
        yield from decode(BeamSearch(generation, processors, ends, tokens_BN, request.start), rows, logits_RV)
        return
    uniforms_MR = torch.from_numpy(request.uniforms()).to(device) if generation.do_sample else None
    tokens_RN = tokens_BN.repeat_interleave(times, 0)
    strategy = Search(generation, processors, ends, tokens_RN, request.start, uniforms_MR, request.return_scores)
    if not size:
        yield from (decode_ahead if are_recorded(rows) else decode)(strategy, rows, logits_RV)
        return
    texts, _ = strategy.advance(strategy.begin(), logits_RV, request.start)
    yield texts, request.start + 1
    drafter = build_drafter(generation, model, request.assistant, request.prompts, request.limit, processors)
    yield from speculate(generation, rows, drafter, processors, ends, texts, request.start + 1, size, request.return_scores)


def finish(request: Request, state: Any, end: int) -> Generated:
    """The result, from the last state of a search and the length of its texts."""
    start = request.start
    if request.generation.num_beams == 1:
        return Generated(state.tokens_RN[:, :end], state.log_probs_RN.sum(-1), state.log_probs_RN[:, start:end])
    tokens_RN, log_probs_RN, scores_R, longest = best(state, request.generation.num_return_sequences)
    end = start + int(longest)
    return Generated(tokens_RN[:, :end], scores_R, log_probs_RN[:, start:end])


def pad_id(generation: GenerationConfig) -> int:
    """The token that fills up a text that has ended. In beam search Hugging Face takes pad_token_id=0 for none, and fills with the end."""
    if generation.num_beams > 1 and generation.eos_token_id:
        return generation.pad_token_id or generation.eos_token_id[0]
    return generation.pad_token_id


def on_host(given: Any) -> Any:
    """What may be a tensor on any device, where NumPy can read it."""
    if not isinstance(given, torch.Tensor):
        return given
    host = given.detach().cpu()
    return host.float().numpy() if host.is_floating_point() else host.numpy()
