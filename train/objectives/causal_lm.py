"""The next token: all documents in one row, cut into blocks, so that no position is padding (GPT, Radford et al. 2018)."""

from __future__ import annotations

from configs import RunConfig
from train.batches import BlockBatches, BlockValidation, blocks_in_a_step
from train.objectives.corpus import Corpus, fingerprint
from train.sources.text import read_text
from train.tokenization import build_tokenizer


def prepare(config: RunConfig) -> Corpus:
    """Read, tokenize and pack the text."""
    text = read_text(config.data)
    tokenizer = build_tokenizer(config, text.train, text.validation)
    train_N, validation_N = tokenizer.encode(text.train), tokenizer.encode(text.validation)
    return Corpus(
        tokenizer,
        BlockBatches(train_N, config.block_size, blocks_in_a_step(config), config.seed),
        BlockValidation(validation_N, config.block_size, config.train.evaluation_batch_size),
        fingerprint(train_N, validation_N),
    )
