"""Settings that change the scores of the next token before one is chosen, in Hugging Face's order.

R rows, N longest length, S key length (the tokens so far), V vocabulary, Z n-grams so far.
"""

from __future__ import annotations

import math

import torch

from configs import GenerationConfig


class Processors:
    """All the changes that `generation` asks for, one after the other.

    start: tokens of a prompt. min_length: tokens of the shortest text that may end. limit: tokens of the longest text. pads_R1: padding
    on the left of each row, None without any.
    """

    def __init__(
        self,
        generation: GenerationConfig,
        vocab_size: int,
        start: int,
        min_length: int,
        limit: int,
        pads_R1: torch.Tensor | None,
        device: torch.device,
    ) -> None:
        self.generation = generation
        # Where the first new token is forced, begin_suppress_tokens act on the second.
        self.begins_at = start if generation.forced_bos_token_id is None else start + (start == 1)
        self.min_length = min_length
        self.limit = limit
        self.pads_R1 = pads_R1
        self.ends_V = marked(generation.eos_token_id or (), vocab_size, device)
        self.first_V = marked(() if generation.forced_bos_token_id is None else (generation.forced_bos_token_id,), vocab_size, device)
        self.last_V = marked(generation.forced_eos_token_id or (), vocab_size, device)
        self.never_V = marked(generation.suppress_tokens, vocab_size, device)
        self.not_first_V = marked(generation.begin_suppress_tokens, vocab_size, device)
        # An end that is a bad word too stays allowed.
        self.bad_words = [word for word in generation.bad_words_ids if not (len(word) == 1 and word[0] in (generation.eos_token_id or ()))]

    def __call__(self, scores_RV: torch.Tensor, tokens_RN: torch.Tensor, length: int) -> torch.Tensor:
        """Scores (R, V) of what may follow the first `length` tokens of each row, in float32; minus infinity for what may not."""
        generation = self.generation
        scores_RV = scores_RV.float()
        tokens_RS = tokens_RN[:, :length]
        if generation.repetition_penalty != 1.0:
            scores_RV = penalize_repetition(scores_RV, tokens_RS, self.pads_R1, generation.repetition_penalty)
        if 0 < generation.no_repeat_ngram_size <= length:
            scores_RV = forbid(scores_RV, repeating(tokens_RS, generation.no_repeat_ngram_size, scores_RV.shape[1]))
        for word in self.bad_words:
            scores_RV = forbid(scores_RV, completing(tokens_RS, word, scores_RV.shape[1]))
        if length < self.min_length:
            scores_RV = forbid(scores_RV, self.ends_V)
        if generation.forced_bos_token_id is not None and length == 1:
            scores_RV = force(scores_RV, self.first_V)
        if generation.forced_eos_token_id is not None and length == self.limit - 1:
            scores_RV = force(scores_RV, self.last_V)
        if generation.suppress_tokens:
            scores_RV = forbid(scores_RV, self.never_V)
        if generation.begin_suppress_tokens and length == self.begins_at:
            scores_RV = forbid(scores_RV, self.not_first_V)
        return scores_RV.log_softmax(-1) if generation.renormalize_logits else scores_RV


def marked(tokens: tuple[int, ...], vocab_size: int, device: torch.device) -> torch.Tensor:
    """True for these tokens (V)."""
    marked_V = torch.zeros(vocab_size, dtype=torch.bool, device=device)
    if tokens:
        marked_V[list(tokens)] = True
    return marked_V


def forbid(scores_RV: torch.Tensor, forbidden_RV: torch.Tensor) -> torch.Tensor:
    return scores_RV.masked_fill(forbidden_RV, -math.inf)


def force(scores_RV: torch.Tensor, forced_V: torch.Tensor) -> torch.Tensor:
    """Minus infinity for all tokens but these, and 0 for these."""
    return torch.zeros_like(scores_RV).masked_fill(~forced_V, -math.inf)


def penalize_repetition(scores_RV: torch.Tensor, tokens_RS: torch.Tensor, pads_R1: torch.Tensor | None, penalty: float) -> torch.Tensor:
    """Tokens that are there already become less likely (CTRL, Keskar et al. 2019, 4.1, which divides negative scores too). Padding does not
    count."""
    counts_RS = torch.ones_like(tokens_RS)
    if pads_R1 is not None:
        counts_RS = (torch.arange(tokens_RS.shape[1], device=tokens_RS.device) >= pads_R1).long()
    seen_RV = found(tokens_RS, counts_RS, scores_RV.shape[1])
    return torch.where(seen_RV, torch.where(scores_RV < 0, scores_RV * penalty, scores_RV / penalty), scores_RV)


def repeating(tokens_RS: torch.Tensor, size: int, vocab_size: int) -> torch.Tensor:
    """True for tokens (R, V) that would complete an n-gram of `size` tokens for the second time (Paulus et al. 2018, 2.5)."""
    length = tokens_RS.shape[1]
    matches_RZ = torch.ones_like(tokens_RS[:, size - 1 :])
    for place in range(size - 1):
        matches_RZ = matches_RZ * (tokens_RS[:, place : place + length - size + 1] == tokens_RS[:, length - size + 1 + place, None])
    return found(tokens_RS[:, size - 1 :], matches_RZ, vocab_size)


def completing(tokens_RS: torch.Tensor, word: tuple[int, ...], vocab_size: int) -> torch.Tensor:
    """True for the last token of `word` (R, V), in rows that end in all the tokens before it."""
    *prefix, last = word
    matches_R1 = torch.full_like(tokens_RS[:, :1], len(prefix) <= tokens_RS.shape[1], dtype=torch.bool)
    if prefix and len(prefix) <= tokens_RS.shape[1]:
        matches_R1 = (tokens_RS[:, -len(prefix) :] == torch.tensor(prefix, device=tokens_RS.device)).all(-1, keepdim=True)
    return matches_R1 & marked((last,), vocab_size, tokens_RS.device)


def found(tokens_RN: torch.Tensor, counts_RN: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """True for the tokens (R, V) that a row has at one of the places that count."""
    nothing = torch.zeros(len(tokens_RN), vocab_size, dtype=counts_RN.dtype, device=tokens_RN.device)
    return nothing.scatter_add(1, tokens_RN, counts_RN) > 0
