"""Running text as tokens in a row, for every objective that cuts it into blocks. N tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs import RunConfig, UserError
from configs.data import HubData, TextData
from train.batches import Batch, BlockBatches, ExampleValidation, blocks_in_a_step, held_out_blocks
from train.draws import of_example, of_step
from train.objectives.corpus import Corpus, fingerprint
from train.sources.stream import identity, sample, stream
from train.sources.text import read_text
from train.token_file import tokens_on_disk
from train.tokenization import TextTokenizer, build_tokenizer


@dataclass(frozen=True)
class RunningText:
    """Tokens to train and to validate on, int32 (N,), and where words begin, bool (N,)."""

    tokenizer: TextTokenizer
    train_N: np.ndarray
    train_starts_N: np.ndarray
    validation_N: np.ndarray
    validation_starts_N: np.ndarray


def running_text(config: RunConfig, words: bool = False) -> RunningText:
    """Read and tokenize the text of the config; with `data.streaming` through files. words: False if every token counts as a word.

    Raises UserError where there is no text, or where words are asked for and the tokenizer makes a word of every token.
    """
    data = config.data
    if isinstance(data, TextData | HubData) and data.streaming:
        is_trained = config.tokenizer is not None and config.tokenizer.vocab_size is not None
        tokenizer = build_tokenizer(config, sample(data) if is_trained else [], [])
        folder = Path(config.train.output)
        parts = [tokens_on_disk(folder, identity(data, split), stream(data, split), tokenizer, words) for split in ("train", "validation")]
    else:
        text = read_text(data)
        tokenizer = build_tokenizer(config, text.train, text.validation)
        encode = tokenizer.encode_words if words else lambda documents: everywhere(tokenizer.encode(documents))
        parts = [encode(documents) for documents in (text.train, text.validation)]
    if words and parts[0][1].all():
        raise UserError("the tokenizer makes a word of every token, so that whole words mean nothing; set objective.whole_words=false")
    return RunningText(tokenizer, *parts[0], *parts[1])


# Makes a batch of blocks of tokens (B, T), of where words begin in them, and of a source of random numbers for each.
Make = Callable[[np.ndarray, np.ndarray, list[np.random.Generator]], Batch]


def block_corpus(config: RunConfig, text: RunningText, length: int, make: Make, notes: tuple[str, ...] = ()) -> Corpus:
    """Blocks of `length` tokens: to train on, anew in each step; to validate on, one behind the other and always the same.

    Raises UserError where there is not enough text.
    """
    count, size = held_out_blocks(text.validation_N, length), config.train.evaluation_batch_size

    def training(places_BT: np.ndarray, step: int) -> Batch:
        places_BT = places_BT[:, :-1]
        return make(text.train_N[places_BT], text.train_starts_N[places_BT], [of_step(config.seed, step)] * len(places_BT))

    def validating(numbers_B: np.ndarray, _: int) -> Batch:
        places_BT = numbers_B[:, None] * length + np.arange(length)
        randoms = [of_example(config.seed, int(number)) for number in numbers_B]
        return make(text.validation_N[places_BT], text.validation_starts_N[places_BT], randoms)

    targets = sum(validating(np.arange(first, min(first + size, count)), 0).targets for first in range(0, count, size))
    return Corpus(
        text.tokenizer,
        BlockBatches(text.train_N, length, blocks_in_a_step(config), config.seed, training),
        ExampleValidation(np.zeros(count), size, targets, validating),
        fingerprint(text.train_N, text.validation_N),
        notes,
    )


def everywhere(tokens_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every token is a word."""
    return tokens_N, np.ones(len(tokens_N), np.bool_)
