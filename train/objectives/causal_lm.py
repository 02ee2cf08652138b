"""The next token: all documents in one row, cut into blocks, so that no position is padding (GPT, Radford et al. 2018)."""

from __future__ import annotations

from configs import RunConfig
from train.batches import BlockBatches, BlockValidation, blocks_in_a_step
from train.objectives.corpus import Corpus, fingerprint
from train.objectives.running_text import running_text


def prepare(config: RunConfig) -> Corpus:
    """Read, tokenize and pack the text."""
    text = running_text(config)
    return Corpus(
        text.tokenizer,
        BlockBatches(text.train_N, config.block_size, blocks_in_a_step(config), config.seed),
        BlockValidation(text.validation_N, config.block_size, config.train.evaluation_batch_size),
        fingerprint(text.train_N, text.validation_N),
    )
