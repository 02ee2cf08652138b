"""Beam search (Sutskever et al. 2014, 3.2), with Hugging Face's rules for when it is over.

B batch, W beams, O candidates for the next beams, N longest length, V vocabulary, R rows (batch times beams), I axes joined into one
(beams and vocabulary; beams and candidates).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from configs import GenerationConfig
from transformer_torch.generation_ends import Ends
from transformer_torch.generation_processors import Processors

# The score of what is not there, as Hugging Face has it: -infinity would make NaN of a length.
NOTHING = -1.0e9


class Beams(NamedTuple):
    """Texts that go on, and texts that have ended.

    tokens_BWN: the texts that go on, the best first.
    log_probs_BWN: the log-probability of each of their new tokens.
    scores_BW: its sum.
    state_BW: their states in `Ends`.
    ended_tokens_BWN: the best texts that have ended.
    ended_log_probs_BWN: the log-probability of each of their new tokens.
    ended_scores_BW: its sum, divided by length ** length_penalty.
    ended_lengths_BW: how many new tokens they have.
    has_ended_BW: False where no text has ended yet, and the other values mean nothing.
    can_improve_B1: whether a text that goes on may still become better than one that has ended.
    is_over: whether the search has ended.
    """

    tokens_BWN: torch.Tensor
    log_probs_BWN: torch.Tensor
    scores_BW: torch.Tensor
    state_BW: torch.Tensor
    ended_tokens_BWN: torch.Tensor
    ended_log_probs_BWN: torch.Tensor
    ended_scores_BW: torch.Tensor
    ended_lengths_BW: torch.Tensor
    has_ended_BW: torch.Tensor
    can_improve_B1: torch.Tensor
    is_over: torch.Tensor


class BeamSearch:
    """The `num_beams` best texts of each prompt, all grown together.

    tokens_BN: the prompts, and room. start: tokens of a prompt.
    """

    def __init__(self, generation: GenerationConfig, processors: Processors, ends: Ends, tokens_BN: torch.Tensor, start: int) -> None:
        self.generation = generation
        self.processors = processors
        self.ends = ends
        self.tokens_BN = tokens_BN
        self.start = start
        self.stops_early = generation.early_stopping is True
        self.num_ends = len(generation.eos_token_id or ())

    def begin(self) -> Beams:
        batch, width, device = len(self.tokens_BN), self.generation.num_beams, self.tokens_BN.device
        tokens_BWN = self.tokens_BN[:, None].repeat(1, width, 1)
        log_probs_BWN = torch.zeros_like(tokens_BWN, dtype=torch.float32)
        # All beams are the same text still: one counts.
        scores_BW = torch.full((batch, width), NOTHING, device=device)
        scores_BW[:, 0] = 0.0
        state_BW = self.ends.state_R.reshape(batch, width)
        return Beams(
            tokens_BWN,
            log_probs_BWN,
            scores_BW,
            state_BW,
            ended_tokens_BWN=tokens_BWN,
            ended_log_probs_BWN=log_probs_BWN,
            ended_scores_BW=torch.full((batch, width), NOTHING, device=device),
            ended_lengths_BW=torch.zeros(batch, width, dtype=torch.long, device=device),
            has_ended_BW=torch.zeros(batch, width, dtype=torch.bool, device=device),
            can_improve_B1=torch.ones(batch, 1, dtype=torch.bool, device=device),
            is_over=torch.zeros((), dtype=torch.bool, device=device),
        )

    def advance(self, beams: Beams, logits_RV: torch.Tensor, length: int) -> tuple[Beams, tuple[torch.Tensor, torch.Tensor]]:
        """Score every token behind every beam, and take the best of all as candidates: those that do not end are the next beams, and those
        that end compete with the texts that have ended before. Of a candidate, `parent_BO` is the beam that it continues."""
        batch, width, room = beams.tokens_BWN.shape
        vocab_size = logits_RV.shape[1]
        log_probs_RV = logits_RV.float().log_softmax(-1)
        scores_RV = self.processors(log_probs_RV, beams.tokens_BWN.reshape(batch * width, room), length)
        scores_BI = scores_RV.reshape(batch, width * vocab_size)
        totals_BI = (scores_BI.unflatten(1, (width, vocab_size)) + beams.scores_BW[:, :, None]).flatten(1)
        # Enough for `width` that go on, even if every end of every beam is among the best; stop strings may have more ends.
        totals_BO, index_BO = totals_BI.topk(width * (1 + max(1, self.num_ends)))
        parent_BO, token_BO = index_BO // vocab_size, index_BO % vocab_size
        state_BO = self.ends.after(pick(beams.state_BW, parent_BO), token_BO)
        ends_BO = self.ends.has_come(state_BO) | (length + 1 == self.processors.limit)
        tokens_BON = pick(beams.tokens_BWN, parent_BO)
        tokens_BON[:, :, length] = token_BO
        chosen_BO = pick(scores_BI, index_BO)
        log_probs_BON = pick(beams.log_probs_BWN, parent_BO)
        log_probs_BON[:, :, length] = chosen_BO

        scores_BW, running_BW = (totals_BO + ends_BO * NOTHING).topk(width)
        tokens_BWN = pick(tokens_BON, running_BW)
        ended = self.end(beams, tokens_BON, log_probs_BON, totals_BO, ends_BO, length + 1 - self.start)
        beams = Beams(tokens_BWN, pick(log_probs_BON, running_BW), scores_BW, pick(state_BO, running_BW), **ended)
        beams = self.judge(beams, ends_BO, length + 1)
        first_B1 = torch.arange(batch, device=logits_RV.device)[:, None] * width
        order_R = (first_B1 + pick(parent_BO, running_BW)).reshape(-1)
        next_R = pick(token_BO, running_BW).reshape(-1)
        return beams, (next_R, order_R)

    def end(
        self,
        beams: Beams,
        tokens_BON: torch.Tensor,
        log_probs_BON: torch.Tensor,
        totals_BO: torch.Tensor,
        ends_BO: torch.Tensor,
        new: int,
    ) -> dict[str, Any]:
        """The best texts that have ended, before or now, with `new` tokens. Of the candidates, only the first W may end."""
        width = beams.scores_BW.shape[1]
        has_ended_BO = ends_BO & (torch.arange(ends_BO.shape[1], device=ends_BO.device) < width)
        is_full_B1 = beams.has_ended_BW.all(1, keepdim=True) & self.stops_early
        scores_BO = totals_BO / new**self.generation.length_penalty
        scores_BO = scores_BO + is_full_B1 * NOTHING + ~beams.can_improve_B1 * NOTHING + ~has_ended_BO * NOTHING
        scores_BI = torch.cat([beams.ended_scores_BW, scores_BO], 1)
        scores_BW, best_BW = scores_BI.topk(width)
        return {
            "ended_tokens_BWN": pick(torch.cat([beams.ended_tokens_BWN, tokens_BON], 1), best_BW),
            "ended_log_probs_BWN": pick(torch.cat([beams.ended_log_probs_BWN, log_probs_BON], 1), best_BW),
            "ended_scores_BW": scores_BW,
            "ended_lengths_BW": pick(torch.cat([beams.ended_lengths_BW, torch.full_like(ends_BO, new, dtype=torch.long)], 1), best_BW),
            "has_ended_BW": pick(torch.cat([beams.has_ended_BW, has_ended_BO], 1), best_BW),
            "can_improve_B1": beams.can_improve_B1,
            "is_over": beams.is_over,
        }

    def judge(self, beams: Beams, ends_BO: torch.Tensor, length: int) -> Beams:
        """Whether anything better may come, now that the texts are `length` long, and whether the search is over."""
        penalty = self.generation.length_penalty
        # With "never" a text may become as long as is best for its score; otherwise it is guessed to end here.
        longest = self.processors.limit if self.generation.early_stopping == "never" and penalty > 0.0 else length
        best_B1 = beams.scores_BW[:, :1] / (longest - self.start) ** penalty
        worst_BW = torch.where(beams.has_ended_BW, beams.ended_scores_BW.amin(1, keepdim=True), NOTHING)
        can_improve_B1 = beams.can_improve_B1 & (best_B1 > worst_BW).any(1, keepdim=True)
        is_full = beams.has_ended_BW.all() & self.stops_early
        return beams._replace(can_improve_B1=can_improve_B1, is_over=~can_improve_B1.any() | is_full | ends_BO.all())

    def goes_on(self, beams: Beams, length: int) -> bool:
        return not bool(beams.is_over)


def best(beams: Beams, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the texts that have ended, the `count` best of each prompt: their tokens and log-probabilities (R, N), their scores (R), and the
    new tokens of the longest of them all."""
    texts = (beams.ended_tokens_BWN, beams.ended_log_probs_BWN, beams.ended_scores_BW)
    tokens_RN, log_probs_RN, scores_R = (tensor[:, :count].flatten(0, 1) for tensor in texts)
    return tokens_RN, log_probs_RN, scores_R, beams.ended_lengths_BW[:, :count].max()


def pick(values_BI: torch.Tensor, index_BO: torch.Tensor) -> torch.Tensor:
    """The values of the second axis at the places `index_BO`; a third axis comes along."""
    index = index_BO if values_BI.ndim == 2 else index_BO[:, :, None].expand(-1, -1, values_BI.shape[2])
    return values_BI.gather(1, index)
