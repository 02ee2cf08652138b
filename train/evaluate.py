"""Test a run: `python -m train.evaluate RUN [RUN ...] [key=value ...]`.

Every run: loss and accuracy of its finished weights on all validation data. A sequence-to-sequence run: what it answers to the test
set's sources, counted as exact matches and as BLEU (Papineni et al. 2002) by `sacrebleu`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from configs import ModelConfig, RunConfig, UserError, load_run_config, run_command
from configs.objectives import Seq2Seq
from configs.run import Tokenizer
from train import checkpoints
from train.batches import pad
from train.objectives import prepare
from train.objectives.corpus import Corpus
from train.run_folder import CHECKPOINTS, CONFIG, SUMMARY, is_finished, saved, write_all_whole, write_whole
from train.tokenization import FILE as TOKENIZER
from train.tokenization import TextTokenizer
from transformer_torch import Transformer, cross_entropy, load
from weight_mapping import write_json, write_run
from weight_mapping.checkpoint import read_json

FILE = "evaluation.json"
ANSWERS = "answers.txt"
AVERAGED = "averaged"


def validate(model: Transformer, corpus: Corpus) -> dict[str, float]:
    """Mean loss of all validation targets in nats, and the share of them that the model takes for the most probable."""
    total, right, device = 0.0, 0, next(model.parameters()).device
    with torch.inference_mode():
        for batch in corpus.validation.batches():
            labels_BT = torch.from_numpy(batch.labels).to(device)
            logits_BTV = model(**{name: torch.from_numpy(values).to(device) for name, values in batch.inputs.items()})
            total += float(cross_entropy(logits_BTV, labels_BT))
            right += int((logits_BTV.argmax(-1) == labels_BT).sum())
    return {"validation_loss": total / corpus.validation.targets, "validation_accuracy": right / corpus.validation.targets}


def test(config: RunConfig, run: Path, corpus: Corpus) -> dict[str, Any]:
    """The answers to the test set: written to answers.txt, and counted. Averages checkpoints first if the config asks for it."""
    assert corpus.tokenizer is not None
    settings = config.evaluation
    model = load(average(config, run) if settings.average_checkpoints > 1 else run)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    ids, cut = encode_sources(corpus.tokenizer, [source for source, _ in corpus.test], model.config)
    answers = translate(model, corpus.tokenizer, ids, config)
    write_whole(run, ANSWERS, lambda path: path.write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8"))
    return count(answers, [target for _, target in corpus.test], config) | {
        "examples": len(answers),
        "sources_cut": cut,
        "num_beams": settings.num_beams,
        "length_penalty": settings.length_penalty,
        "averaged_checkpoints": settings.average_checkpoints,
    }


def average(config: RunConfig, run: Path) -> Path:
    """The mean of a run's last checkpoints, as a folder that `load` reads ("Attention Is All You Need", 6.1)."""
    number = config.evaluation.average_checkpoints
    paths = saved(run / CHECKPOINTS)[-number:]
    if len(paths) < number:
        raise UserError(f"{run} has {len(paths)} checkpoints, and evaluation.average_checkpoints={number}; set it to what is there")
    from safetensors.numpy import load_file

    files = [load_file(path / checkpoints.MODEL) for path in paths]
    folder = run / AVERAGED
    folder.mkdir(exist_ok=True)
    means = {name: np.asarray(np.mean([file[name] for file in files], axis=0, dtype=np.float64), np.float32) for name in files[0]}
    write_all_whole(folder, lambda path: write_run(path, config.model, means.__getitem__))
    return folder


def encode_sources(tokenizer: TextTokenizer, sources: Sequence[str], model: ModelConfig) -> tuple[list[list[int]], int]:
    """The tokens of each source with the end token behind them, and how many sources are cut because the model reads no more."""
    end, room = list(model.special_tokens.eos[:1]), model.max_length - len(model.special_tokens.eos[:1])
    found = [[int(token) for token in ids] for ids in tokenizer.encode_each(sources)]
    return [[*ids[:room], *end] for ids in found], sum(len(ids) > room for ids in found)


def translate(model: Transformer, tokenizer: TextTokenizer, ids: Sequence[list[int]], config: RunConfig) -> list[str]:
    """What the model answers to the tokens of each source, in batches of like lengths."""
    settings, special, longest = config.evaluation, model.config.special_tokens, model.config.max_length
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    answers = [""] * len(ids)
    groups = [order[first : first + settings.batch_size] for first in range(0, len(order), settings.batch_size)]
    beams: dict[str, Any] = {} if settings.num_beams == 1 else {"num_beams": settings.num_beams, "length_penalty": settings.length_penalty}
    for group in track(groups, description="answering", transient=True):
        rows = [np.array(ids[number]) for number in group]
        new = min(max(map(len, rows)) + settings.extra_tokens, longest - 1)
        mask = pad([np.ones_like(row) for row in rows], 0)
        tokens = model.generate(pad(rows, special.pad or 0), attention_mask=mask, max_new_tokens=new, **beams)
        for number, row in zip(group, tokens.tolist(), strict=True):
            answers[number] = tokenizer.decode(row, skip_special_tokens=True)
    return answers


def count(answers: Sequence[str], targets: Sequence[str], config: RunConfig) -> dict[str, Any]:
    """Exact matches, and BLEU on the tokens as they are; of text that was taken apart, also of the text as people write it."""
    from sacrebleu.metrics import BLEU

    tokens = BLEU(tokenize="none", force=True)
    figures: dict[str, Any] = {
        "exact_match": sum(answer == target for answer, target in zip(answers, targets, strict=True)) / len(answers),
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


def evaluate(run: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Both, for a finished run; the figures are written to its evaluation.json."""
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} holds no {CONFIG}; name the folder of a run")
    if not is_finished(run):
        raise UserError(f"{run} is not finished; go on with it with train.existing=resume")
    config = load_run_config(run / CONFIG, overrides)
    if (run / TOKENIZER).is_file():
        # Its own, whatever training another one on the same text would give.
        config = config.model_copy(update={"tokenizer": Tokenizer(kind="file", path=str(run))})
    corpus = prepare(config)
    figures: dict[str, Any] = dict(validate(load(run), corpus))
    if corpus.test:
        figures |= test(config, run, corpus)
    write_whole(run, FILE, lambda path: write_json(path, figures))
    return figures


def tell(run: Path, figures: dict[str, Any]) -> None:
    """Print the figures, and beside them what the summary of the run says."""
    print(run)
    summary = read_json(run / SUMMARY)
    for name, value in figures.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        note = f"   (its summary: {summary[name]:.4f})" if name in summary and isinstance(value, float) else ""
        print(f"  {name:28}{shown}{note}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluate", description="Loss and accuracy of finished runs, and their test sets."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run; key=value changes its config: evaluation.num_beams=5")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_intermixed_args()
    overrides = [word for word in arguments.runs if "=" in word]
    for run in [Path(word) for word in arguments.runs if "=" not in word]:
        figures = evaluate(run, overrides)
        if arguments.json:
            print(json.dumps({"run": str(run), **figures}))
        else:
            tell(run, figures)
    return 0


if __name__ == "__main__":
    run_command(main)
