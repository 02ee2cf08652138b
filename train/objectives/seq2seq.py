"""A source and its target: the decoder is given the right tokens before each ("Attention Is All You Need", 3.1 and 5.1).

B pairs, S tokens of a source, T tokens of a target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from configs import ModelConfig, RunConfig, UserError
from configs.objectives import Seq2Seq
from train.batches import IGNORED, Batch, BudgetBatches, ExampleBatches, ExampleValidation, pad
from train.objectives.corpus import Corpus, fingerprint
from train.sources.moses import Moses
from train.sources.pairs import Pair, read_pairs
from train.tokenization import TextTokenizer, build_tokenizer

Ids = tuple[np.ndarray, np.ndarray]


def prepare(config: RunConfig) -> Corpus:
    """Read and tokenize the pairs. Both sides end in the model's end token."""
    model, objective = config.model, config.objective
    assert isinstance(objective, Seq2Seq)
    if not model.special_tokens.eos or model.special_tokens.pad is None or model.special_tokens.decoder_start is None:
        raise UserError("objective 'seq2seq' needs model.special_tokens.eos, .pad and .decoder_start; set them")
    moses = Moses(*objective.languages) if objective.preprocessing == "moses" and objective.languages else None
    pairs = read_pairs(config.data, moses)
    held_out = [*pairs.validation, *pairs.test]
    tokenizer = build_tokenizer(config, [side for pair in pairs.train for side in pair], [side for pair in held_out for side in pair])
    # What cannot be read is told now, and not when the run is over.
    tokenizer.encode_each([source for source, _ in pairs.test])
    limit = min(objective.max_length or model.max_length, model.max_length)
    notes = list(pairs.notes)
    train = encode(tokenizer, pairs.train, model)
    if long := sum(max(map(len, ids)) > limit for ids in train):
        notes.append(f"train: {long:,} of {len(train):,} pairs are longer than {limit} tokens and are left out")
        train = [ids for ids in train if max(map(len, ids)) <= limit]
    validation = encode(tokenizer, pairs.validation, model)
    if long := sum(max(map(len, ids)) > model.max_length for ids in validation):
        raise UserError(f"{long:,} validation pairs are longer than model.max_length={model.max_length} tokens; make it larger")
    if not train:
        raise UserError(f"no training pair has at most {limit} tokens on each side; set objective.max_length or model.max_length")

    lengths_N2 = np.array([[len(source), len(target)] for source, target in train])
    collate = collator(train, model)
    batches: BudgetBatches | ExampleBatches
    if config.train.batch_tokens:
        batches = BudgetBatches(lengths_N2, config.train.batch_tokens, config.seed, collate)
        notes.append(f"{len(train):,} pairs in {batches.steps:,} batches an epoch, {batches.padding:.1%} of their positions are padding")
    else:
        batches = ExampleBatches(len(train), config.train.batch_size or 0, config.seed, collate, fixed=False)
        notes.append(f"{len(train):,} pairs")
    passes = ExampleValidation(
        np.array([len(source) for source, _ in validation]),
        config.train.evaluation_batch_size,
        sum(len(target) for _, target in validation),
        collator(validation, model),
    )
    digest = fingerprint(*(np.concatenate([side for ids in split for side in ids]) for split in (train, validation)), lengths_N2)
    return Corpus(tokenizer, batches, passes, digest, tuple(notes), list(pairs.test))


def encode(tokenizer: TextTokenizer, pairs: Sequence[Pair], model: ModelConfig) -> list[Ids]:
    """The ids of both sides, each with the end token."""
    end = np.array(model.special_tokens.eos[:1], np.int32)
    sides = tokenizer.encode_each([side for pair in pairs for side in pair])
    ended = [np.concatenate([ids, end]) for ids in sides]
    return list(zip(ended[::2], ended[1::2], strict=True))


def collator(examples: Sequence[Ids], model: ModelConfig) -> Callable[[np.ndarray, int], Batch]:
    """A function that makes a batch of the examples with some numbers."""
    padding, start = model.special_tokens.pad or 0, model.special_tokens.decoder_start

    def collate(numbers_B: np.ndarray, step: int) -> Batch:
        sources, targets = zip(*(examples[number] for number in numbers_B), strict=True)
        labels_BT = pad(targets, IGNORED)
        shifted_BT = np.concatenate([np.full((len(labels_BT), 1), start), labels_BT[:, :-1]], axis=1)
        inputs = {
            "input_ids": pad(sources, padding),
            "attention_mask": pad([np.ones_like(source) for source in sources], 0),
            "decoder_input_ids": np.where(shifted_BT == IGNORED, padding, shifted_BT),
        }
        return Batch(inputs, labels_BT, sum(map(len, sources)) + sum(map(len, targets)))

    return collate
