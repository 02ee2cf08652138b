"""What an objective makes of the data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from configs import RunConfig
from train.batches import TrainingBatches, ValidationBatches
from train.tokenization import TextTokenizer


@dataclass(frozen=True)
class Corpus:
    """A tokenizer (None for images) and the batches.

    fingerprint: differs where any example to train or validate on differs. notes: what is to be told before the run, a line each.
    test: examples for `train.evaluate`, pairs of what goes in and what should come out. labels: what the classes are called.
    """

    tokenizer: TextTokenizer | None
    train: TrainingBatches
    validation: ValidationBatches
    fingerprint: str
    notes: tuple[str, ...] = ()
    test: list[tuple] = field(default_factory=list)
    labels: tuple[str, ...] = ()


def with_labels(config: RunConfig, corpus: Corpus) -> RunConfig:
    """The config of a model that knows what its classes are called, as the data has it."""
    if not corpus.labels:
        return config
    head = config.model.head.model_copy(update={"labels": corpus.labels})
    return config.model_copy(update={"model": config.model.model_copy(update={"head": head})})


def fingerprint(*arrays: np.ndarray) -> str:
    """16 hexadecimal digits that differ where any array does."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        # Without a copy: it may be a mapped file that is larger than memory.
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
