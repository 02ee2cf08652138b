"""Test a run: `python -m train.evaluate RUN [RUN ...] [key=value ...]`.

Every run: loss and accuracy of its finished weights on all validation data. A sequence-to-sequence run: what it answers to the test
set's sources, counted by `train.answers`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs import RunConfig, UserError, load_run_config, run_command
from configs.run import Tokenizer
from train.answers import Generate, test
from train.figures import has_phrases
from train.objectives import prepare
from train.objectives.corpus import Corpus
from train.run_folder import CONFIG, EVALUATION, SUMMARY, is_finished, write_whole
from train.tokenization import FILE as TOKENIZER
from transformer_torch import Transformer, cross_entropy
from transformer_torch.loading import load_on_device
from weight_mapping import write_json
from weight_mapping.checkpoint import read_json

# The settings that a finished run does not have behind it.
MAY_CHANGE = ("evaluation.", "data.", "train.evaluation_batch_size=")


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


def generate_of(folder: Path) -> Generate:
    """`generate` of a folder's model, for `train.answers` and `train.sample`."""
    model = load_on_device(folder)
    return lambda *ids, **settings: model.generate(*ids, **settings).tolist()


def data_of(run: Path, overrides: Sequence[str] = ()) -> tuple[RunConfig, Corpus]:
    """The config of a run, and its data."""
    config = load_run_config(run / CONFIG, overrides)
    if (run / TOKENIZER).is_file():
        # Its own, whatever training another one on the same text would give.
        config = config.model_copy(update={"tokenizer": Tokenizer(kind="file", path=str(run))})
    return config, prepare(config)


def evaluate(run: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Both, for a finished run; on the run's own data, the figures are written to its evaluation.json."""
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} holds no {CONFIG}; name the folder of a run")
    if not is_finished(run):
        raise UserError(f"{run} is not finished; go on with it with train.existing=resume")
    for text in overrides:
        if not text.startswith(MAY_CHANGE):
            raise UserError(f"{text}: a finished run has its model; {', '.join(MAY_CHANGE)} may be changed")
    config, corpus = data_of(run, overrides)
    figures: dict[str, Any] = dict(validate(load_on_device(run), corpus))
    if corpus.test:
        figures |= test(config, run, corpus, generate_of)
    if all(text.startswith("evaluation.") for text in overrides):
        write_whole(run, EVALUATION, lambda path: write_json(path, figures))
    return figures


def tell(run: Path, figures: dict[str, Any]) -> None:
    """Print the figures, and beside them what the summary of the run says."""
    print(run)
    summary = read_json(run / SUMMARY)
    for name, value in figures.items():
        if name.startswith("bleu") and not has_phrases(figures):
            continue
        shown = f"{value:.4f}" if isinstance(value, float) else value
        note = f"   (its summary: {summary[name]:.4f})" if name in summary and isinstance(value, float) else ""
        print(f"  {name:28}{shown}{note}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluate", description="Loss and accuracy of finished runs, and their test sets."
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folder of a run; key=value changes how it is tested (evaluation.num_beams=5), or on what (data.path=other.txt)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_intermixed_args()
    overrides = [word for word in arguments.runs if "=" in word]
    runs = [Path(word) for word in arguments.runs if "=" not in word]
    if not runs:
        raise UserError("only settings were given; name the folder of a run as well, such as runs/dates")
    for run in runs:
        figures = evaluate(run, overrides)
        if arguments.json:
            print(json.dumps({"run": str(run), **figures}))
        else:
            tell(run, figures)
    return 0


if __name__ == "__main__":
    run_command(main)
