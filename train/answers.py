"""What a sequence-to-sequence model answers to a test set, counted as exact matches and as BLEU (Papineni et al. 2002) by `sacrebleu`.

Of no framework: a model is a function `generate` that gives lists of ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from configs import ModelConfig, RunConfig
from configs.objectives import Seq2Seq
from train.batches import pad
from train.objectives.corpus import Corpus
from train.run_folder import write_whole
from train.saved import average
from train.tokenization import TextTokenizer

ANSWERS = "answers.txt"
# As `Transformer.generate`, but the result is a list of ids for each row.
Generate = Callable[..., list[list[int]]]


def test(config: RunConfig, run: Path, corpus: Corpus, load: Callable[[Path], Generate]) -> dict[str, Any]:
    """The answers to the test set: written to answers.txt, and counted. Averages checkpoints first if the config asks for it.

    load: `generate` of the model in a folder.
    """
    assert corpus.tokenizer is not None
    settings = config.evaluation
    generate = load(average(config, run) if settings.average_checkpoints > 1 else run)
    ids, cut = encode_sources(corpus.tokenizer, [source for source, _ in corpus.test], config.model)
    answers = translate(generate, corpus.tokenizer, ids, config)
    write_whole(run, ANSWERS, lambda path: path.write_text("".join(f"{one_line(answer)}\n" for answer in answers), encoding="utf-8"))
    return count(answers, [target for _, target in corpus.test], config) | {
        "examples": len(answers),
        "sources_cut": cut,
        "num_beams": settings.num_beams,
        "length_penalty": settings.length_penalty,
        "averaged_checkpoints": settings.average_checkpoints,
    }


def one_line(text: str) -> str:
    """With spaces for the ends of lines."""
    return re.sub(r"\r\n|\r|\n", " ", text)


def encode_sources(tokenizer: TextTokenizer, sources: Sequence[str], model: ModelConfig) -> tuple[list[list[int]], int]:
    """The tokens of each source with the end token behind them, and how many sources are cut because the model reads no more."""
    end, room = list(model.special_tokens.eos[:1]), model.max_length - len(model.special_tokens.eos[:1])
    found = [[int(token) for token in ids] for ids in tokenizer.encode_each(sources)]
    return [[*ids[:room], *end] for ids in found], sum(len(ids) > room for ids in found)


def translate(generate: Generate, tokenizer: TextTokenizer, ids: Sequence[list[int]], config: RunConfig) -> list[str]:
    """What the model answers to the tokens of each source, in batches of like lengths."""
    settings, special, longest = config.evaluation, config.model.special_tokens, config.model.max_length
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    answers = [""] * len(ids)
    groups = [order[first : first + settings.batch_size] for first in range(0, len(order), settings.batch_size)]
    beams: dict[str, Any] = {} if settings.num_beams == 1 else {"num_beams": settings.num_beams, "length_penalty": settings.length_penalty}
    for group in track(groups, description="answering", transient=True):
        rows = [np.array(ids[number]) for number in group]
        new = min(max(map(len, rows)) + settings.extra_tokens, longest - 1)
        mask = pad([np.ones_like(row) for row in rows], 0)
        found = generate(pad(rows, special.pad or 0), attention_mask=mask, max_new_tokens=new, **beams)
        for number, row in zip(group, found, strict=True):
            answers[number] = tokenizer.decode(row, skip_special_tokens=True)
    return answers


def count(answers: Sequence[str], targets: Sequence[str], config: RunConfig) -> dict[str, Any]:
    """Exact matches, and BLEU on the tokens as they are; of text that was taken apart, also of the text as people write it."""
    from sacrebleu.metrics import BLEU

    tokens = BLEU(tokenize="none", force=True)
    figures: dict[str, Any] = {
        # Tokens of words do not know how much white space is between them.
        "exact_match": sum(answer.split() == target.split() for answer, target in zip(answers, targets, strict=True)) / len(answers),
        "bleu": tokens.corpus_score(list(answers), [list(targets)]).score,
        "bleu_signature": str(tokens.get_signature()),
        "reference_tokens": sum(len(target.split()) for target in targets),
    }
    objective = config.objective
    if isinstance(objective, Seq2Seq) and objective.preprocessing == "moses" and objective.languages:
        from train.sources.moses import detokenize
        from train.sources.pairs import read_pairs

        written = [target for _, target in read_pairs(config.data).test]
        detokenized = BLEU(lowercase=True)
        words = [detokenize(answer, objective.languages[1]) for answer in answers]
        figures["bleu_detokenized"] = detokenized.corpus_score(words, [written]).score
        figures["bleu_detokenized_signature"] = str(detokenized.get_signature())
    return figures
