"""Continue prompts token by token.

B batch, R rows (a row for each text of each prompt), T prompt length, S encoder length, N longest length, M new tokens, D model width,
V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from configs import GenerationConfig, as_ids, build
from transformer_torch.cache import Cache
from transformer_torch.generation_beams import BeamSearch
from transformer_torch.generation_processors import Processors
from transformer_torch.generation_rows import Rows, decode
from transformer_torch.generation_search import Search

if TYPE_CHECKING:
    from transformer_torch.model import Transformer


class Generated(NamedTuple):
    """Texts and how probable they are.

    tokens: integers (R, T + M), where R is batch * num_return_sequences. scores: float32 (R), the sum of a text's log-probabilities, for
    beams divided by length ** length_penalty. log_probs: float32 (R, M), of each new token in nats, 0 after a text's end.
    """

    tokens: torch.Tensor
    scores: torch.Tensor
    log_probs: torch.Tensor


def generate(
    model: Transformer,
    input_ids: Any,
    attention_mask: Any = None,
    config: GenerationConfig | None = None,
    return_scores: bool = False,
    **settings: Any,
) -> Any:
    """Prompts and what follows them; from an encoder-decoder, what it says to its input, decoder_start first.

    input_ids: integers (B, T), padded on the left. attention_mask: (B, T), 1 for tokens and 0 for padding.
    settings: those of `configs.GenerationConfig`, greedy without any; they change those of `config`, if it is given.
    Result: integers (B * num_return_sequences, T + at most max_new_tokens), with `return_scores` inside of a `Generated`.
    Raises UserError before anything is computed.
    """
    prompt_BT = as_ids(on_host(input_ids), "input_ids")
    attended_BT = None if attention_mask is None else as_ids(on_host(attention_mask), "attention_mask")
    given = {} if config is None else config.model_dump(exclude_unset=True)
    generation = build(GenerationConfig, given | settings, "generate").complete(model.config)
    generation.check(model.config, prompt_BT, attended_BT)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            generated = _generate(model, prompt_BT, attended_BT, generation)
    finally:
        model.train(was_training)
    return generated if return_scores else generated.tokens


def _generate(model: Transformer, prompt_BT: np.ndarray, attended_BT: np.ndarray | None, generation: GenerationConfig) -> Generated:
    config, weight = model.config, next(model.parameters())
    device = weight.device
    encoded_BSD = encoder_mask_BS = None
    if model.encoder is not None:
        encoder_mask_BS = None if attended_BT is None else torch.from_numpy(attended_BT).to(device)
        encoded_BSD = model.encoder(torch.from_numpy(prompt_BT).to(device), encoder_mask_BS)
        prompt_BT, attended_BT = np.full((len(prompt_BT), 1), config.special_tokens.decoder_start), None
    batch, start = prompt_BT.shape
    limit = generation.limit(start)
    mask_BN = None
    if attended_BT is not None and not attended_BT.all():
        mask_BN = torch.ones(batch, limit, dtype=torch.long, device=device)
        mask_BN[:, :start] = torch.from_numpy(attended_BT)
    tokens_BN = torch.full((batch, limit), filler(generation), dtype=torch.long, device=device)
    tokens_BN[:, :start] = torch.from_numpy(prompt_BT)

    rows = Rows(model, Cache(config, batch, limit, weight.dtype, device), mask_BN, encoder_mask_BS)
    times = generation.num_beams if generation.num_beams > 1 else generation.num_return_sequences
    logits_RV = rows.first(tokens_BN[:, :start], encoded_BSD).repeat_interleave(times, 0)
    if times > 1:
        rows.repeat(times)
    processors = Processors(generation, config.vocab_size, generation.least(start), limit, rows.pads_R1, device)
    if generation.num_beams > 1:
        beams, _ = decode(BeamSearch(generation, processors, tokens_BN, start), rows, logits_RV)
        count = generation.num_return_sequences
        end = start + int(beams.ended_lengths_BW[:, :count].max())
        tokens, log_probs = (texts[:, :count].flatten(0, 1) for texts in (beams.ended_tokens_BWN, beams.ended_log_probs_BWN))
        return Generated(tokens[:, :end], beams.ended_scores_BW[:, :count].flatten(), log_probs[:, start:end])
    uniforms_MR = torch.from_numpy(np.random.default_rng(generation.seed).random((limit - start, batch * times))).to(device)
    texts, end = decode(Search(generation, processors, tokens_BN.repeat_interleave(times, 0), start, uniforms_MR), rows, logits_RV)
    return Generated(texts.tokens_RN[:, :end], texts.log_probs_RN.sum(-1), texts.log_probs_RN[:, start:end])


def filler(generation: GenerationConfig) -> int:
    """What stands behind the end of a text. Behind a beam's end, Hugging Face takes pad_token_id=0 for none, and so its tokens differ."""
    if generation.num_beams > 1 and generation.eos_token_id:
        return generation.pad_token_id or generation.eos_token_id[0]
    return generation.pad_token_id


def on_host(ids: Any) -> Any:
    """What may be a tensor on any device, where NumPy can read it."""
    return ids.detach().cpu().numpy() if isinstance(ids, torch.Tensor) else ids
