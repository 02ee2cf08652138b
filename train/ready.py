"""What a run has before its framework does anything: its data, its config with what the data adds, and what is to be told."""

from __future__ import annotations

from configs import RunConfig
from train.initial import told
from train.objectives import prepare
from train.objectives.corpus import Corpus, with_labels
from train.run_folder import goes_on


def ready(config: RunConfig) -> tuple[RunConfig, Corpus, tuple[str, ...]]:
    """The whole config, the data, and a line for each thing to be told of the weights that the run starts from.

    Raises UserError where the data or the checkpoint is missing, or does not fit the model.
    """
    corpus = prepare(config)
    config = with_labels(config, corpus)
    if corpus.tokenizer is not None and config.train.sample_prompt:
        corpus.tokenizer.encode_prompt(config.train.sample_prompt)
    # A run that goes on starts from nothing but its own checkpoints.
    return config, corpus, () if goes_on(config) else told(config)
