"""What a run has before its framework does anything: its data, its config with what the data adds, and what is to be told."""

from __future__ import annotations

from configs import RunConfig, UserError
from train.initial import told
from train.objectives import prepare
from train.objectives.corpus import Corpus, with_labels
from train.run_folder import goes_on
from train.tokenization import TextTokenizer, file_in, read_tokenizer
from weight_mapping.hub import local_folder


def ready(config: RunConfig) -> tuple[RunConfig, Corpus, tuple[str, ...]]:
    """The whole config, the data, and a line for each thing to be told of the weights that the run starts from.

    Raises UserError where the data or the checkpoint is missing, or does not fit the model.
    """
    corpus = prepare(config)
    config = with_labels(config, corpus)
    if corpus.tokenizer is not None and config.train.sample_prompt:
        corpus.tokenizer.encode_prompt(config.train.sample_prompt)
    # A run that goes on starts from nothing but its own checkpoints.
    if goes_on(config):
        return config, corpus, ()
    lines = told(config)
    check_vocabulary(config, corpus.tokenizer)
    return config, corpus, lines


def check_vocabulary(config: RunConfig, tokenizer: TextTokenizer | None) -> None:
    """Refuse a tokenizer to which the vectors of `initial` belong to other tokens."""
    if config.initial is None or tokenizer is None or not (folder := local_folder(config.initial)).is_dir():
        return
    if file_in(folder).is_file() and read_tokenizer(folder).tokenizer.get_vocab() != tokenizer.tokenizer.get_vocab():
        raise UserError(
            f"initial={config.initial} has a vector for each token of its own tokenizer, and the run's tokenizer has other tokens; "
            f"set tokenizer={{kind: initial}}"
        )
