"""Writes docs/figures.md: what every run in configs/runs has reached, from the runs' own files.

`python docs/figures.py RUN [RUN ...]` keeps the summaries of these finished runs in docs/runs/ and writes the page anew.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

if __name__ == "__main__":
    # In the place of this folder, whose tabulate.py is not the library of that name.
    sys.path[0] = str(Path(__file__).parents[1])

from configs import load_run_config
from train.run_folder import SUMMARY
from train.table import table

PAGE = Path(__file__).parent / "figures.md"
RUNS = Path(__file__).parent / "runs"
CONFIGS = Path(__file__).parents[1] / "configs" / "runs"
HEAD = """# What the runs have reached

From the summaries that the runs wrote themselves, kept in `docs/runs/`; `python docs/figures.py RUN ...` adds some and writes this
page. Loss in nats per target, accuracy as the share of targets that the model takes for the most probable, both on a full pass over the
held-out data. A name that ends in `_tensorflow` is the same run by `python -m train.tensorflow`. Most times
are of a processor that had other work beside it. The goal is that of the run's config (`expected.goal`).

Multi30k's goal of 41.02 BLEU (Wu et al. 2021, text only) is not reached. `multi30k_gpu` has the published repository's batch (8,192
tokens), rate, start (Xavier) and biases, a cosine in the place of `inverse_sqrt`, and dropout of 0.1 on attention weights and hidden
layers of the feed-forward networks too; five other runs were on its GPU with it. At that rate and without clipping the seed decides: of
two more runs, stopped after 6,500 of the 7,000 steps, seed 2 had a validation loss of 1.630 and seed 3 one of 2.036. Without that dropout
the same steps on a CPU gave 40.51 (1.615), and the published recipe as it is, with the mean of ten checkpoints nearly an epoch apart,
40.24 (1.702 at its end, 1.674 at best). More steps are not what `multi30k` lacks: 10,000 at a rate of 2e-3 gave 40.26 (1.619), and
`inverse_sqrt` from 3.5e-3 40.10.

The model learns its pairs by heart: without dropout, the loss of pairs that it was trained on is 0.62, that of others 1.62. What was
tried against that:

- R-Drop with weight decay is the best so far: **40.86**, with the lowest validation loss of all, 1.588. It is `multi30k_gpu` with
  `objective.r_drop=3 optimizer.weight_decay=0.03 schedule.warmup_steps=1500 model.dropout.attention=0 model.dropout.feed_forward=0` and
  4,000 steps, and no row of the table: it began on an H200 with a schedule of 3,750 steps, and went on from step 2,736 with two processes
  on a CPU, first for 5,000 steps and from step 3,194 for 4,000. The loss still fell, by 0.01 in the last 250 steps.
- R-Drop of 5 with `multi30k`'s batches and rate, 4,500 steps: 39.78 (1.723).
- `multi30k_gpu` with weight decay of 0.03: 1.617 after 6,500 steps, where the run was stopped; with dropout of 0.2 for 0.1: 1.684 there.
- BPE-dropout of 0.1 (Provilkov et al. 2020) did not train at the published rate with Xavier (3.2 after 2,000 steps), and lay behind at
  `multi30k`'s (2.16 after 1,750).
- A length penalty of 1.4 was the best of eight on the validation set (42.34 BLEU, and 42.12 with 1), and the worse one on the test set
  (40.24, and 40.86 with 1), in the run with R-Drop: it stays at 1.

`gpt2_shakespeare_gpu` overfits after the best of its passes, as nanoGPT's own does, and would end with the best weights today
(`train.final_weights`); a second run and a benchmark were on its GPU with it, and seed 2 gave 1.4623 after 2,000 steps.
`docstrings_minilm_from_scratch` is `docstrings_minilm` with `initial=null` and the checkpoint's tokenizer: the same model without what
pretraining knows.

"""


def page() -> str:
    """The whole page."""
    return HEAD + table(sorted(RUNS.iterdir()), goals()) + "\n"


def goals() -> dict[str, dict[str, float]]:
    """What the runs are to be measured by today, which their summaries may be older than."""
    configs = {path.stem: load_run_config(path).expected for path in CONFIGS.rglob("*.yaml")}
    return {name: expected.goal.figures for name, expected in configs.items() if expected and expected.goal}


def main() -> None:
    RUNS.mkdir(exist_ok=True)
    for run in map(Path, sys.argv[1:]):
        (RUNS / run.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / SUMMARY, RUNS / run.name / SUMMARY)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
