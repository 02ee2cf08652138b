"""What a run is measured by is told at its end."""

from __future__ import annotations

import json

import pytest

from configs import UserError, load_run_config
from tests.train.runs import CONFIG, run_config, train, write_text
from train.figures import goals_in_words
from train.run_folder import flat


@pytest.mark.parametrize(
    ("goal", "found", "told"),
    [
        ({"bleu": 41.02}, {"bleu": 41.02}, "bleu 41.02: reached"),
        ({"bleu": 41.02}, {"bleu": 40.42}, "bleu 41.02: not reached, 0.60 below"),
        ({"validation_loss": 1.9}, {"validation_loss": 1.8948}, "validation_loss 1.9000: reached"),
        ({"validation_loss": 1.9}, {"validation_loss": 1.9125}, "validation_loss 1.9000: not reached, 0.0125 above"),
        ({"exact_match": 0.995}, {"validation_loss": 1.0}, "exact_match 0.9950: not measured"),
    ],
)
def test_a_goal_is_reached_or_missed_by_so_much(goal, found, told):
    """A loss is better the lower it is, all else the higher."""
    assert goals_in_words({"goal": goal, **found}) == [told]


def test_the_command_tells_it_and_the_summary_keeps_it(tmp_path):
    write_text(tmp_path)
    goal = "{note: '', goal: {validation_loss: 0.01, validation_accuracy: 0.0001}}"
    done = train(tmp_path, expected=goal)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs" / "tiny" / "summary.json").read_text())
    assert summary["goal"] == {"validation_loss": 0.01, "validation_accuracy": 0.0001}
    above = summary["validation_loss"] - 0.01
    assert f"goal             validation_loss 0.0100: not reached, {above:.4f} above\n" in done.stdout
    assert "goal             validation_accuracy 0.0001: reached\n" in done.stdout


def test_a_goal_is_no_figure_that_was_reached(tmp_path):
    config = run_config(tmp_path, expected="{validation_loss: 2.0, goal: {validation_loss: 1.5}}")
    assert config.expected.figures == {"validation_loss": 2.0}
    assert config.expected.goal.figures == {"validation_loss": 1.5}
    assert flat(config)["expected.goal.validation_loss"] == 1.5


def test_an_unknown_figure_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"validation_los\b.*validation_loss"):
        load_run_config(CONFIG, ["expected={goal: {validation_los: 1.5}}"])
