"""Tokens that are hidden (BERT, Devlin et al. 2019, 3.1, task 1).

B blocks, T tokens of a block, N tokens of the text.
"""

from __future__ import annotations

import numpy as np

from configs import RunConfig, UserError
from configs.objectives import MaskedLM
from train.batches import IGNORED, Batch
from train.objectives.corpus import Corpus
from train.objectives.running_text import block_corpus, running_text
from train.tokenization import TextTokenizer


def prepare(config: RunConfig) -> Corpus:
    """Read and tokenize the text, and cut it into blocks, each between the tokenizer's cls_token and sep_token if it has them.

    Training hides other tokens in every step. Validation always hides the same; the end of its text that fills no block is left out.
    """
    objective = config.objective
    assert isinstance(objective, MaskedLM)
    text = running_text(config, objective.whole_words)
    hide = Hiding(objective, text.tokenizer, config.model.vocab_size)
    length = config.block_size - hide.around
    if length < 1:
        raise UserError(f"train.block_size={config.block_size} leaves no room for a token between the special tokens; make it larger")
    return block_corpus(config, text, length, hide)


class Hiding:
    """Makes a batch of blocks: of `share` of the tokens, most become the mask token, some another token, and some stay as they are; the
    model is asked for all of them. Special tokens stay, and are not asked for.

    around: how many tokens stand around each block. Raises UserError for a tokenizer without a mask token.
    """

    def __init__(self, objective: MaskedLM, tokenizer: TextTokenizer, vocab_size: int) -> None:
        self.objective = objective
        self.mask = tokenizer.special_id("mask_token")
        if self.mask is None:
            raise UserError("objective 'masked_lm' needs a tokenizer with a mask token; set tokenizer.special_tokens.mask_token")
        self.first, self.last = tokenizer.around()
        self.around = len(self.first) + len(self.last)
        self.is_ordinary_V = np.ones(max(tokenizer.vocab_size, vocab_size), np.bool_)
        self.is_ordinary_V[tokenizer.special_ids()] = False
        self.ordinary = np.flatnonzero(self.is_ordinary_V[: tokenizer.vocab_size])

    def __call__(self, tokens_BT: np.ndarray, starts_BT: np.ndarray, randoms: list[np.random.Generator]) -> Batch:
        inputs_BT, labels_BT = tokens_BT.astype(np.int64), np.full(tokens_BT.shape, IGNORED, np.int64)
        for inputs_T, labels_T, starts_T, random in zip(inputs_BT, labels_BT, starts_BT, randoms, strict=True):
            chosen = choose(starts_T, self.is_ordinary_V[inputs_T], self.objective.share, random)
            labels_T[chosen] = inputs_T[chosen]
            lots = random.random(len(chosen))
            is_masked = lots < self.objective.masked
            is_other = ~is_masked & (lots < self.objective.masked + self.objective.replaced)
            inputs_T[chosen[is_masked]] = self.mask
            inputs_T[chosen[is_other]] = random.choice(self.ordinary, int(is_other.sum()))
        inputs_BT, labels_BT = surround(inputs_BT, self.first, self.last), surround(labels_BT, self.first, self.last, IGNORED)
        return Batch({"input_ids": inputs_BT}, labels_BT, inputs_BT.size)


def choose(starts_T: np.ndarray, is_ordinary_T: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Places of `share` of the tokens, of ordinary ones alone, all of a word or none. starts_T: True where a word begins.

    A word that would make them too many is passed over, as in BERT's own code; where no word fits, one token is chosen.
    """
    count = max(1, round(share * len(starts_T)))
    if starts_T[1:].all():
        return random.permutation(np.flatnonzero(is_ordinary_T))[:count]
    starts = np.flatnonzero(np.r_[True, starts_T[1:]])
    lengths = np.diff(np.r_[starts, len(starts_T)])
    words = random.permutation(np.flatnonzero(is_ordinary_T[starts]))
    chosen: list[int] = []
    for word in words:
        if len(chosen) + lengths[word] <= count:
            chosen += range(starts[word], starts[word] + lengths[word])
        if len(chosen) == count:
            break
    return np.array(chosen or starts[words[:1]], np.int64)


def surround(rows_BT: np.ndarray, first: list[int], last: list[int], value: int | None = None) -> np.ndarray:
    """The rows with the same tokens, or with `value`, before and behind each."""
    before, behind = (np.full((len(rows_BT), len(ids)), ids if value is None else value) for ids in (first, last))
    return np.concatenate([before, rows_BT, behind], axis=1)
