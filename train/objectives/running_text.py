"""Running text as tokens in a row, for every objective that cuts it into blocks. N tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs import RunConfig, UserError
from configs.data import HubData, TextData
from train.sources.stream import sample, stream
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
        tokenizer = build_tokenizer(config, sample(data, "train"), sample(data, "validation"))
        folder = Path(config.train.output)
        parts = [tokens_on_disk(folder, (split, data), stream(data, split), tokenizer, words) for split in ("train", "validation")]
    else:
        text = read_text(data)
        tokenizer = build_tokenizer(config, text.train, text.validation)
        encode = tokenizer.encode_words if words else lambda documents: everywhere(tokenizer.encode(documents))
        parts = [encode(documents) for documents in (text.train, text.validation)]
    if words and parts[0][1].all():
        raise UserError("the tokenizer makes a word of every token, so that whole words mean nothing; set objective.whole_words=false")
    return RunningText(tokenizer, *parts[0], *parts[1])


def everywhere(tokens_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every token is a word."""
    return tokens_N, np.ones(len(tokens_N), np.bool_)
