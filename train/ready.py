"""What a run has before its framework does anything: its data, its config with what the data adds, and what is to be told."""

from __future__ import annotations

from configs import RunConfig
from train.initial import told
from train.objectives import prepare
from train.objectives.corpus import Corpus, with_labels


def ready(config: RunConfig) -> tuple[RunConfig, Corpus, tuple[str, ...]]:
    """The whole config, the data, and a line for each thing to be told of the weights that the run starts from.

    Raises UserError where the data or the checkpoint is missing, or does not fit the model.
    """
    corpus = prepare(config)
    config = with_labels(config, corpus)
    return config, corpus, told(config)
