"""One text for each row: greedy search, and sampling.

R rows, N longest length, M new tokens, V vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from configs import GenerationConfig
from transformer_torch.generation_ends import Ends
from transformer_torch.generation_processors import Processors


class Texts(NamedTuple):
    """The texts so far.

    tokens_RN: their tokens. log_probs_RN: the log-probability of each new token, among those that could be chosen; zeros of a greedy
    search where nobody asks for it. state_R: as in `Ends`.
    """

    tokens_RN: torch.Tensor
    log_probs_RN: torch.Tensor
    state_R: torch.Tensor


class Search:
    """Greedy search: the best token each time; or with `do_sample`, a token that is drawn.

    tokens_RN: the prompts, and room. start: tokens of a prompt. uniforms_MR: for `do_sample` a random number in [0, 1) for each new token.
    return_scores: whether log-probabilities are asked for.
    """

    def __init__(
        self,
        generation: GenerationConfig,
        processors: Processors,
        ends: Ends,
        tokens_RN: torch.Tensor,
        start: int,
        uniforms_MR: torch.Tensor | None,
        return_scores: bool,
    ) -> None:
        self.generation = generation
        self.processors = processors
        self.ends = ends
        self.tokens_RN = tokens_RN
        self.start = start
        self.uniforms_MR = uniforms_MR
        self.return_scores = return_scores

    def begin(self) -> Texts:
        return Texts(self.tokens_RN, torch.zeros_like(self.tokens_RN, dtype=torch.float32), self.ends.state_R)

    def advance(self, texts: Texts, logits_RV: torch.Tensor, length: int) -> tuple[Texts, tuple[torch.Tensor]]:
        scores_RV = self.processors(logits_RV, texts.tokens_RN, length)
        log_probs_R = None
        if self.uniforms_MR is not None:
            next_R, log_probs_R = sample(scores_RV, self.generation, self.uniforms_MR[length - self.start])
        else:
            next_R = scores_RV.argmax(-1)
            if self.return_scores:
                log_probs_R = scores_RV.gather(-1, next_R[:, None])[:, 0] - scores_RV.logsumexp(-1)
        has_ended_R = self.ends.has_come(texts.state_R)
        next_R = torch.where(has_ended_R, self.generation.pad_token_id, next_R)
        texts.tokens_RN[:, length] = next_R
        if log_probs_R is not None:
            texts.log_probs_RN[:, length] = torch.where(has_ended_R, 0.0, log_probs_R.float())
        return Texts(texts.tokens_RN, texts.log_probs_RN, self.ends.after(texts.state_R, next_R)), (next_R,)

    def goes_on(self, texts: Texts, length: int) -> bool:
        return length + 1 < self.processors.limit and not bool(self.ends.has_come(texts.state_R).all())


def sample(scores_RV: torch.Tensor, generation: GenerationConfig, uniforms_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a token: that at which the sum of probabilities, from the most probable down, first reaches a uniform random number; and its
    log-probability (R each)."""
    sorted_RV, order_RV = candidates(scores_RV, generation)
    index_R1 = draw(sorted_RV.softmax(-1), uniforms_R)[:, None]
    next_R = order_RV.gather(-1, index_R1)[:, 0]
    return next_R, sorted_RV.log_softmax(-1).gather(-1, index_R1)[:, 0]


def log_probabilities(scores_RV: torch.Tensor, generation: GenerationConfig) -> torch.Tensor:
    """The log-probability (R, V) of each token, in float64; of a sampling that with which it is drawn."""
    if not generation.do_sample:
        return scores_RV.double().log_softmax(-1)
    sorted_RV, order_RV = candidates(scores_RV, generation)
    return torch.zeros_like(sorted_RV).scatter(-1, order_RV, sorted_RV.log_softmax(-1))


def candidates(scores_RV: torch.Tensor, generation: GenerationConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in float64, sorted from best to worst, with minus infinity for tokens that may not be drawn; and the token of each."""
    sorted_RV, order_RV = torch.sort(scores_RV.double(), dim=-1, descending=True, stable=True)
    return truncate(sorted_RV / generation.temperature, generation), order_RV


def draw(weights_RV: torch.Tensor, uniforms_R: torch.Tensor) -> torch.Tensor:
    """Draw a place (R) in proportion to its weight: the first at which the sum of weights reaches uniforms_R times the sum of all."""
    cumulative_RV = weights_RV.cumsum(-1)
    # Above zero, so that what has been left out at the front is never reached.
    reached_R1 = uniforms_R.clamp(min=1e-300)[:, None] * cumulative_RV[:, -1:]
    return (cumulative_RV < reached_R1).sum(-1)


def truncate(sorted_RV: torch.Tensor, generation: GenerationConfig) -> torch.Tensor:
    """Minus infinity for tokens that are not to be drawn: top-k (Fan et al. 2018, 5.4), nucleus (Holtzman et al. 2020, 3.1), min-p (Nguyen
    et al. 2024, 3), typical (Meister et al. 2023). Logits are sorted from best to worst, before and after."""
    if generation.top_k is not None:
        sorted_RV = sorted_RV.masked_fill(sorted_RV < sorted_RV[:, generation.top_k - 1, None], -math.inf)
    if generation.top_p < 1.0:
        probabilities_RV = sorted_RV.softmax(-1)
        before_RV = probabilities_RV.cumsum(-1) - probabilities_RV
        sorted_RV = sorted_RV.masked_fill(before_RV >= generation.top_p, -math.inf)
    if generation.min_p > 0.0:
        probabilities_RV = sorted_RV.softmax(-1)
        sorted_RV = sorted_RV.masked_fill(probabilities_RV < generation.min_p * probabilities_RV[:, :1], -math.inf)
    if generation.typical_p < 1.0:
        sorted_RV = keep_typical(sorted_RV, generation.typical_p)
    return sorted_RV


def keep_typical(logits_RV: torch.Tensor, share: float) -> torch.Tensor:
    """Keep the tokens whose information (-log p) is nearest to the entropy, until their probabilities add up to `share` (Meister et al.
    2023, equation 10)."""
    log_probs_RV = logits_RV.log_softmax(-1)
    probabilities_RV = log_probs_RV.exp()
    entropy_R1 = -torch.where(probabilities_RV > 0, probabilities_RV * log_probs_RV, 0.0).sum(-1, keepdim=True)
    distance_RV = (-log_probs_RV - entropy_R1).abs()
    order_RV = distance_RV.argsort(dim=-1, stable=True)
    cumulative_RV = probabilities_RV.gather(-1, order_RV).cumsum(-1)
    last_R1 = (cumulative_RV < share).sum(-1, keepdim=True).clamp(max=logits_RV.shape[1] - 1)
    furthest_R1 = distance_RV.gather(-1, order_RV.gather(-1, last_R1))
    return logits_RV.masked_fill(distance_RV > furthest_R1, -math.inf)
