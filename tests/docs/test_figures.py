"""docs/figures.md is written from the summaries beside it, and every run that needs no hub has one."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest

from configs import load_run_config
from tests.docs.test_mechanisms import load
from train.figures import goals_in_words
from weight_mapping import canonical_tensors

ROOT = Path(__file__).parents[2]
# Runs whose goal stands above what they have reached.
MISSED = {"multi30k"}
CONFIGS = [path for folder in (".", "gpu") for path in (ROOT / "configs" / "runs" / folder).glob("*.yaml")]
# A run of days, of which the speed was measured.
NAMES = sorted({path.stem for path in CONFIGS} - {"gpt2_124m"})


def test_the_page_is_what_the_script_writes() -> None:
    assert (ROOT / "docs" / "figures.md").read_text(encoding="utf-8") == load("figures").page(), "run python docs/figures.py"


@pytest.mark.parametrize("name", NAMES)
def test_every_run_has_been_run_and_reached_what_its_config_says(name: str) -> None:
    """To a hundredth of a nat, a point of BLEU and a percent, which other processors may change."""
    summary = json.loads((ROOT / "docs" / "runs" / name / "summary.json").read_text(encoding="utf-8"))
    config = load_run_config(next(path for path in CONFIGS if path.stem == name))
    assert (summary["seed"], summary["steps"], summary["objective"]) == (config.seed, config.train.max_steps, config.objective.kind)
    # The rows of a classifier's head and of characters come from the data.
    if config.objective.kind not in ("sequence_classification", "image_classification"):
        assert summary["parameters"] == sum(prod(tensor.shape) for tensor in canonical_tensors(config.model))
    assert config.expected, "every run says what it should reach"
    for figure, expected in config.expected.figures.items():
        allowed = {"bleu": 1.0}.get(figure, 0.01)
        assert summary[figure] == pytest.approx(expected, abs=allowed), figure
    if config.expected.goal:
        lines = goals_in_words({**summary, "goal": config.expected.goal.figures})
        assert all(line.endswith(": reached") for line in lines) == (name not in MISSED), lines
