"""Guess several tokens, and let the model read them at once (Leviathan et al. 2023, algorithm 1).

B batch, R rows, both of them one, N longest length, M new tokens (those that are guessed), T query length (M + 1), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from configs import GenerationConfig, Prompts
from configs.speculation import look_up
from transformer_torch.generation_ends import Ends
from transformer_torch.generation_processors import Processors
from transformer_torch.generation_rows import Rows, begin
from transformer_torch.generation_search import Texts, draw, log_probabilities

if TYPE_CHECKING:
    from transformer_torch.model import Transformer


# Tokens (M), and the probabilities (M, V) by which they were drawn.
Guesses = tuple[torch.Tensor, torch.Tensor | None]


class Drafter(Protocol):
    """A way to guess tokens."""

    def propose(self, tokens_RN: torch.Tensor, length: int, count: int, uniforms_M: torch.Tensor) -> Guesses:
        """At most `count` tokens (M) that may follow the first `length`, and the probabilities (M, V) by which they were drawn; in
        greedy search None."""


class PromptLookup:
    """Guess what followed the last tokens where they stood before (Saxena 2023). source: ids to look through before the text."""

    def __init__(self, generation: GenerationConfig, vocab_size: int, source: list[int]) -> None:
        self.generation = generation
        self.vocab_size = vocab_size
        self.source = source

    def propose(self, tokens_RN: torch.Tensor, length: int, count: int, uniforms_M: torch.Tensor) -> Guesses:
        seen = self.source + tokens_RN[0, :length].tolist()
        found = look_up(seen, self.generation.max_matching_ngram_size, count)
        guessed_M = torch.tensor(found, dtype=torch.long, device=tokens_RN.device)
        guesses_MV = F.one_hot(guessed_M, self.vocab_size).double() if self.generation.do_sample else None
        return guessed_M, guesses_MV


class Assistant:
    """A smaller model that guesses by the same settings as the large one chooses. rows: the text as it has read it."""

    def __init__(self, generation: GenerationConfig, model: Transformer, processors: Processors, rows: Rows) -> None:
        self.generation = generation
        self.model = model
        self.processors = processors
        self.rows = rows

    def propose(self, tokens_RN: torch.Tensor, length: int, count: int, uniforms_M: torch.Tensor) -> Guesses:
        guesses_MV = None
        if self.generation.do_sample:
            guesses_MV = torch.zeros(count, self.model.config.vocab_size, dtype=torch.float64, device=tokens_RN.device)
        # The last token has not been read, and after guesses that were all right neither has the one before.
        for place in range(min(self.rows.cache.length, length - 1), length + count - 1):
            self.rows.cache.length = place
            logits_RV = self.rows.next(tokens_RN[:, place])
            if (number := place + 1 - length) >= 0:
                scores_RV = self.processors(logits_RV, tokens_RN, place + 1)
                if guesses_MV is not None:
                    guesses_MV[number] = log_probabilities(scores_RV, self.generation)[0].exp()
                    tokens_RN[:, place + 1] = draw(guesses_MV[number][None], uniforms_M[number : number + 1])
                else:
                    tokens_RN[:, place + 1] = scores_RV.argmax(-1)
        return tokens_RN[0, length : length + count], guesses_MV


def num_guesses(generation: GenerationConfig, assistant: Transformer | None) -> int:
    """How many tokens are guessed at once; 0 where none are."""
    return generation.num_assistant_tokens if assistant is not None else generation.prompt_lookup_num_tokens or 0


def build_drafter(
    generation: GenerationConfig,
    model: Transformer,
    assistant: Transformer | None,
    prompts: Prompts,
    room: int,
    processors: Processors,
) -> Drafter:
    """The drafter that is asked for. Prompt lookup looks through the encoder's input too."""
    if assistant is None:
        return PromptLookup(generation, model.config.vocab_size, prompts.source_ids[0].tolist())
    rows, _, _ = begin(assistant, prompts, room, 0, generation.ahead)
    return Assistant(generation, assistant, processors, rows)


def speculate(
    generation: GenerationConfig,
    rows: Rows,
    drafter: Drafter,
    processors: Processors,
    ends: Ends,
    texts: Texts,
    length: int,
    size: int,
    return_scores: bool,
) -> Iterator[tuple[Texts, int]]:
    """Round after round of at most `size` guesses: each time the texts, and how long they are."""
    # Other numbers than those that the first token was drawn by.
    random = np.random.default_rng([generation.seed, 1])
    while length < processors.limit and not bool(ends.has_come(texts.state_R).all()):
        uniforms = torch.from_numpy(random.random(2 * size + 1)).to(texts.tokens_RN.device)
        count = min(size, processors.limit - length - 1)
        guesses = drafter.propose(texts.tokens_RN, length, count, uniforms[:size])
        texts, length = verify(generation, rows, processors, ends, texts, length, guesses, uniforms[size:], return_scores)
        yield texts, length


def verify(
    generation: GenerationConfig,
    rows: Rows,
    processors: Processors,
    ends: Ends,
    texts: Texts,
    length: int,
    guesses: Guesses,
    uniforms: torch.Tensor,
    return_scores: bool,
) -> tuple[Texts, int]:
    """Let the model read all guesses at once: the text with those that it accepts, and with the token that it puts behind them."""
    guessed_M, guesses_MV = guesses
    tokens_RN, count = texts.tokens_RN, len(guessed_M)
    tokens_RN[0, length : length + count] = guessed_M
    # The cache is cut back to what was accepted; the last token is read again.
    rows.cache.length = length - 1
    logits_RTV = rows.extend(tokens_RN[:, length - 1 : length + count])
    scores_TV = torch.cat([processors(logits_RTV[:, place], tokens_RN, length + place) for place in range(count + 1)])
    log_probs_TV = log_probabilities(scores_TV, generation) if return_scores or generation.do_sample else None
    if generation.do_sample:
        assert log_probs_TV is not None
        assert guesses_MV is not None
        accepted, last = accept(guessed_M, guesses_MV, log_probs_TV.exp(), uniforms)
    else:
        accepted, last = accept_best(guessed_M, scores_TV)
    new_T = torch.cat([guessed_M[:accepted], last[None]])

    new, state_R = 0, texts.state_R
    while new <= accepted and not bool(ends.has_come(state_R).all()):
        state_R = ends.after(state_R, new_T[new, None])
        new += 1
    tokens_RN[0, length : length + count + 1] = generation.pad_token_id
    tokens_RN[0, length : length + new] = new_T[:new]
    if log_probs_TV is not None:
        texts.log_probs_RN[0, length : length + new] = log_probs_TV[: accepted + 1].gather(1, new_T[:, None])[:new, 0].float()
    return Texts(tokens_RN, texts.log_probs_RN, state_R), length + new


def accept_best(guessed_M: torch.Tensor, scores_TV: torch.Tensor) -> tuple[int, torch.Tensor]:
    """How many guesses are the best tokens, and the best token after them: what greedy search would choose one by one."""
    best_T = scores_TV.argmax(-1)
    accepted = kept(guessed_M == best_T[:-1])
    return accepted, best_T[accepted]


def accept(guessed_M: torch.Tensor, guesses_MV: torch.Tensor, chosen_TV: torch.Tensor, uniforms: torch.Tensor) -> tuple[int, torch.Tensor]:
    """How many guesses hold, and the token after them. Algorithm 1 of Leviathan et al. 2023: a guess is kept with probability
    min(1, p / q); what is drawn in the place of the first that is not comes from max(0, p - q). So all is distributed as p.

    guesses_MV: q. chosen_TV: p. uniforms: random numbers in [0, 1), M or more and one at the end.
    """
    count = len(guessed_M)
    mine_M, theirs_M = (values.gather(1, guessed_M[:, None])[:, 0] for values in (chosen_TV[:count], guesses_MV))
    accepted = kept(uniforms[:count] * theirs_M < mine_M)
    # Behind the last guess nothing was guessed.
    rest_TV = chosen_TV - F.pad(guesses_MV, (0, 0, 0, 1))
    return accepted, draw(rest_TV[accepted, None].clamp(min=0), uniforms[-1:])[0]


def kept(holds_M: torch.Tensor) -> int:
    """How many guesses there are before the first that does not hold."""
    return int(holds_M.long().cumprod(0).sum())
