"""The class of a text (BERT, Devlin et al. 2019, 4.1). B texts, T tokens of the longest."""

from __future__ import annotations

import numpy as np

from configs import RunConfig, UserError
from configs.objectives import SequenceClassification
from train.batches import Batch, BudgetBatches, Collate, ExampleBatches, ExampleValidation, pad
from train.objectives.corpus import Corpus, fingerprint
from train.sources.labelled import Labelled, read_labelled
from train.tokenization import TextTokenizer, build_tokenizer


def prepare(config: RunConfig) -> Corpus:
    """Read and tokenize the texts, each between the tokenizer's cls_token and sep_token if it has them."""
    objective, model, settings = config.objective, config.model, config.train
    assert isinstance(objective, SequenceClassification)
    data = read_labelled(config.data)
    check_labels(data, config)
    tokenizer = build_tokenizer(config, [text for text, _ in data.train], [text for text, _ in data.validation])
    if model.pooler and model.pooler.kind == "first" and not tokenizer.around()[0]:
        raise UserError(
            "model.pooler.kind 'first' reads the class token, and the tokenizer names none; set cls_token, or pooler.kind: mean"
        )
    if model.pooler and model.pooler.kind == "end" and not set(tokenizer.around()[1]) & set(model.special_tokens.eos):
        raise UserError(
            f"model.pooler.kind 'end' looks for special_tokens.eos {list(model.special_tokens.eos)}, and the tokenizer puts "
            f"{tokenizer.around()[1]} behind a text; set sep_token, or pooler.kind: mean"
        )
    limit = min(objective.max_length or model.max_length, model.max_length)
    notes = list(data.notes)
    train_ids, validation_ids = (
        encode(tokenizer, [text for text, _ in split], limit, name, notes)
        for name, split in (("train", data.train), ("validation", data.validation))
    )
    classes = {name: number for number, name in enumerate(data.names)}
    train_N, validation_N = (np.array([classes[label] for _, label in split]) for split in (data.train, data.validation))
    padding = model.special_tokens.pad or 0
    lengths_N1 = np.array([[len(ids)] for ids in train_ids])
    collate = collator(train_ids, train_N, padding)
    batches: BudgetBatches | ExampleBatches
    if settings.batch_tokens:
        batches = BudgetBatches(lengths_N1, settings.batch_tokens, config.seed, collate)
        notes.append(f"{batches.steps:,} batches an epoch, {batches.padding:.1%} of their positions are padding")
    else:
        batches = ExampleBatches(len(train_ids), settings.batch_size or 0, config.seed, collate, fixed=False)
    largest = np.bincount(validation_N).max() / len(validation_N)
    notes.append(f"{len(train_N):,} texts of {len(classes)} classes, and {len(validation_N):,} held out, {largest:.1%} of one class")
    held_out = ExampleValidation(
        np.array([len(ids) for ids in validation_ids]),
        settings.evaluation_batch_size,
        len(validation_N),
        collator(validation_ids, validation_N, padding),
    )
    digest = fingerprint(*(np.concatenate(ids) for ids in (train_ids, validation_ids)), train_N, validation_N, lengths_N1)
    return Corpus(tokenizer, batches, held_out, digest, tuple(notes), labels=data.names)


def check_labels(data: Labelled, config: RunConfig) -> None:
    """Raises UserError where the model has not an output for each label, or calls them otherwise."""
    head = config.model.head
    if head.num_labels != len(data.names):
        shown = ", ".join(data.names[:12]) + (", ..." if len(data.names) > 12 else "")
        raise UserError(
            f"the texts have {len(data.names)} labels ({shown}), and model.head.num_labels is {head.num_labels}; make them equal"
        )
    if head.labels and tuple(head.labels) != data.names:
        raise UserError(f"model.head.labels is {list(head.labels)}, and the labels are {list(data.names)}, in this order; make them equal")


def encode(tokenizer: TextTokenizer, texts: list[str], limit: int, split: str, notes: list[str]) -> list[np.ndarray]:
    """The ids of each text between the special tokens, int32, `limit` at most with them."""
    first, last = tokenizer.around()
    room = limit - len(first) - len(last)
    if room < 1:
        raise UserError(f"texts of {limit} tokens have no room for one; make objective.max_length larger")
    found = tokenizer.encode_each(texts)
    if long := sum(len(ids) > room for ids in found):
        notes.append(f"{split}: {long:,} of {len(found):,} texts are longer than {limit} tokens and are cut")
    return [np.array([*first, *ids[:room], *last], np.int32) for ids in found]


def collator(texts: list[np.ndarray], classes_N: np.ndarray, padding: int) -> Collate:
    """A function that makes a batch of the texts with some numbers."""

    def collate(numbers_B: np.ndarray, step: int) -> Batch:
        rows = [texts[number] for number in numbers_B]
        inputs = {"input_ids": pad(rows, padding), "attention_mask": pad([np.ones_like(row) for row in rows], 0)}
        return Batch(inputs, classes_N[numbers_B].astype(np.int64), sum(map(len, rows)))

    return collate
