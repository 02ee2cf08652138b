"""Spans that are left out (T5, Raffel et al. 2020, 3.1.4 and figure 2).

B blocks, L tokens of a block, S tokens of an input, T tokens of a target.
"""

from __future__ import annotations

import numpy as np

from configs import RunConfig, UserError
from configs.objectives import SpanCorruption
from train.batches import Batch
from train.objectives.corpus import Corpus
from train.objectives.running_text import block_corpus, running_text
from train.tokenization import SENTINEL


def prepare(config: RunConfig) -> Corpus:
    """Read and tokenize the text, and cut it into blocks of such a length that what is left of them fills train.block_size.

    Training leaves out other spans in every step. Validation always leaves out the same; the end of its text that fills no block does
    not count.
    """
    objective, model = config.objective, config.model
    assert isinstance(objective, SpanCorruption)
    if not model.special_tokens.eos or model.special_tokens.decoder_start is None:
        raise UserError("objective 'span_corruption' needs model.special_tokens.eos and .decoder_start; set them")
    length = block_length(config.block_size, objective)
    tokens, spans = noise(length, objective)
    if tokens + spans + 1 > model.max_length:
        raise UserError(
            f"blocks of {length} tokens have targets of {tokens + spans + 1}, and model.max_length is {model.max_length}; "
            f"lower objective.share or train.block_size"
        )
    text = running_text(config)
    named = [text.tokenizer.tokenizer.token_to_id(SENTINEL.format(number)) for number in range(spans)]
    if None in named:
        raise UserError(
            f"blocks of {length} tokens have {spans} spans, and the tokenizer has {named.index(None)} sentinels; "
            f"set tokenizer.sentinels={spans}, or a smaller train.block_size"
        )
    sentinels, start, end = np.array(named), model.special_tokens.decoder_start, model.special_tokens.eos[0]

    def corrupt(tokens_BL: np.ndarray, _: np.ndarray, randoms: list[np.random.Generator]) -> Batch:
        masks = [random_spans(length, objective, random) for random in randoms]
        pairs = [leave_out(tokens_L, mask_L, sentinels) for tokens_L, mask_L in zip(tokens_BL, masks, strict=True)]
        sources_BS, targets_BT = (np.array([[*row, end] for row in side], np.int64) for side in zip(*pairs, strict=True))
        shifted_BT = np.concatenate([np.full((len(targets_BT), 1), start), targets_BT[:, :-1]], axis=1)
        return Batch({"input_ids": sources_BS, "decoder_input_ids": shifted_BT}, targets_BT, sources_BS.size + targets_BT.size)

    return block_corpus(config, text, length, corrupt, (f"blocks of {length} tokens, of which {spans} spans are left out",))


def noise(length: int, objective: SpanCorruption) -> tuple[int, int]:
    """Of a block of `length` tokens: how many are left out, and in how many spans."""
    tokens = min(max(round(length * objective.share), 1), length - 1)
    return tokens, min(max(round(tokens / objective.mean_span), 1), tokens, length - tokens)


def block_length(inputs: int, objective: SpanCorruption) -> int:
    """The longest block of which, with a sentinel for each span and an end, at most `inputs` tokens go in."""

    def left(length: int) -> int:
        tokens, spans = noise(length, objective)
        return length - tokens + spans + 1

    length = 2
    if left(length) > inputs:
        raise UserError(f"train.block_size={inputs} leaves no room for a span, a token and an end; make it at least {left(length)}")
    while left(length + 1) <= inputs:
        length += 1
    return length


def random_spans(length: int, objective: SpanCorruption, random: np.random.Generator) -> np.ndarray:
    """True for the tokens that are left out (length,): spans of random lengths, a token or more before each, none behind the last."""
    tokens, spans = noise(length, objective)
    left_out, kept = (random_parts(count, spans, random) for count in (tokens, length - tokens))
    return np.repeat(np.arange(2 * spans) % 2 == 1, np.stack([kept, left_out], axis=1).ravel())


def random_parts(total: int, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` lengths of at least 1 that add up to `total`, all such lengths with the same probability."""
    borders = np.sort(random.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.r_[0, borders, total])


def leave_out(tokens_L: np.ndarray, mask_L: np.ndarray, sentinels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is left, a sentinel in the place of each span; and the spans, each behind its sentinel."""
    starts = mask_L & ~np.r_[False, mask_L[:-1]]
    number_L = np.cumsum(starts) - 1
    marked_L = np.where(starts, sentinels[np.maximum(number_L, 0)], tokens_L)
    source = marked_L[~mask_L | starts]
    target = np.insert(tokens_L[mask_L], np.flatnonzero(starts[mask_L]), sentinels[: starts.sum()])
    return source, target
