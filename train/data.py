"""From the config to tokens: text, tokenizer, ids. Every process does it for itself and gets the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from configs import RunConfig
from train.batches import TrainingBatches, ValidationBatches
from train.text import read_text
from train.tokenization import TextTokenizer, build_tokenizer


@dataclass(frozen=True)
class Corpus:
    """A tokenizer and the batches that it makes of the text. fingerprint: differs where any token differs."""

    tokenizer: TextTokenizer
    train: TrainingBatches
    validation: ValidationBatches
    fingerprint: str


def prepare(config: RunConfig) -> Corpus:
    """Read, tokenize and pack the text. Raises UserError where the text is missing, too short, or does not fit the model."""
    text = read_text(config.data)
    tokenizer = build_tokenizer(config, text.train, text.validation)
    train_N, validation_N = tokenizer.encode(text.train), tokenizer.encode(text.validation)
    digest = hashlib.sha256(np.int64(len(train_N)).tobytes() + train_N.tobytes() + validation_N.tobytes())
    return Corpus(
        tokenizer,
        TrainingBatches(train_N, config.block_size, config.train.batch_size, config.seed),
        ValidationBatches(validation_N, config.block_size, config.train.evaluation_batch_size),
        digest.hexdigest()[:16],
    )
