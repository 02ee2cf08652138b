"""One file for each objective: from the config to batches of what goes in and what should come out."""

from __future__ import annotations

from collections.abc import Callable

from configs import RunConfig
from train.objectives import causal_lm, image_classification, masked_lm, seq2seq, sequence_classification, span_corruption
from train.objectives.corpus import Corpus

PREPARE: dict[str, Callable[[RunConfig], Corpus]] = {
    "causal_lm": causal_lm.prepare,
    "masked_lm": masked_lm.prepare,
    "span_corruption": span_corruption.prepare,
    "seq2seq": seq2seq.prepare,
    "sequence_classification": sequence_classification.prepare,
    "image_classification": image_classification.prepare,
}


def prepare(config: RunConfig) -> Corpus:
    """Read and tokenize the data. Every process does it for itself and gets the same.

    Raises UserError where the data is missing, too small, or does not fit the model.
    """
    return PREPARE[config.objective.kind](config)
