"""A sequence-to-sequence run from its config to its figures, and the same figures again from its folder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from configs import UserError, load_run_config
from tests.train.runs import DATES, environment
from train.answers import count, encode_sources
from train.evaluate import evaluate, main
from train.saved import average
from train.table import main as table_command
from train.table import table
from weight_mapping import Checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("evaluate")
    command = [sys.executable, "-m", "train", "configs/runs/dates.yaml", *DATES, f"train.output={folder}"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "600 pairs in" in done.stdout
    assert "answers match exactly" in done.stdout
    return folder / "dates"


def test_the_folder_gives_the_figures_of_the_summary(run):
    summary, figures = json.loads((run / "summary.json").read_text()), evaluate(run)
    for name in ("validation_loss", "validation_accuracy", "bleu", "exact_match"):
        assert figures[name] == pytest.approx(summary[name], rel=1e-5, abs=1e-9), name
    assert (figures["examples"], figures["num_beams"], figures["averaged_checkpoints"]) == (30, 2, 3)
    assert len((run / "answers.txt").read_text().splitlines()) == 30
    assert json.loads((run / "evaluation.json").read_text()) == figures


def test_the_average_is_the_mean_of_the_checkpoints(run):
    from safetensors.numpy import load_file

    folder = average(load_run_config(run / "run.yaml"), run)
    name = "encoder.layers.0.feed_forward.up.weight"
    files = [load_file(run / "checkpoints" / f"step_{step}" / "model.safetensors") for step in (4, 8, 12)]
    with Checkpoint(folder) as checkpoint:
        tensors = dict(checkpoint.tensors())
    np.testing.assert_allclose(tensors[name], np.mean([file[name] for file in files], axis=0), rtol=1e-5, atol=1e-8)
    with pytest.raises(UserError, match=r"has 3 checkpoints, and evaluation.average_checkpoints=5"):
        average(
            load_run_config(run / "run.yaml", ["evaluation.average_checkpoints=5", "train.keep_checkpoints=5", "train.save_every=2"]), run
        )


def test_exact_matches_and_bleu_are_counted_on_the_tokens_as_they_are():
    config = load_run_config("configs/runs/dates.yaml", DATES)
    figures = count(["a b c d e", "x"], ["a b c d e", "a longer one ."], config)
    assert figures["exact_match"] == 0.5
    assert figures["reference_tokens"] == 9
    assert 0 < figures["bleu"] < 100
    assert count(["a b c d"], ["a b c d"], config)["bleu"] == pytest.approx(100)
    assert "tok:none" in figures["bleu_signature"]
    assert count(["ja ja", "nein"], ["ja  ja ", "n ein"], config)["exact_match"] == 0.5, "white space is in no token of words"


def test_a_source_that_is_too_long_is_cut_before_its_end_token_and_counted(run):
    from train.objectives import prepare

    config = load_run_config(run / "run.yaml")
    tokenizer, model = prepare(config).tokenizer, config.model.model_copy(update={"max_length": 6})
    (short, long), cut = encode_sources(tokenizer, ["1", "1 2 3 4 5 6 7 8 9"], model)
    assert cut == 1
    assert len(long) == 6 > len(short)
    assert short[-1] == long[-1] == model.special_tokens.eos[0]


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no run.yaml; name the folder of a run"):
        evaluate(tmp_path)


def test_the_table_says_where_the_loss_was_lower(run, tmp_path):
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    steps = summary["steps"]
    for best, told in (({"best_validation_loss": 0.25, "best_step": 1}, " (0.2500 after 1)"), ({"best_step": steps}, "")):
        (tmp_path / "summary.json").write_text(json.dumps(summary | best), encoding="utf-8")
        assert f"| {summary['validation_loss']:.4f}{told} |" in table([tmp_path])
    older = {key: value for key, value in summary.items() if not key.startswith("best")}
    (tmp_path / "summary.json").write_text(json.dumps(older), encoding="utf-8")
    assert f"| {summary['validation_loss']:.4f} |" in table([tmp_path])


def test_the_table_leaves_out_what_is_not_finished(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "run.yaml").write_text("{}")
    monkeypatch.setattr("sys.argv", ["table", str(run), str(tmp_path)])
    assert table_command() == 0
    shown = capsys.readouterr()
    assert shown.out == table([run]) + "\n"
    assert shown.err == f"{tmp_path} is not finished\n"
    monkeypatch.setattr("sys.argv", ["table", str(tmp_path)])
    with pytest.raises(UserError, match="is not finished; name the folder of a finished run"):
        table_command()


def test_the_table_is_made_from_the_runs_own_files(run, tmp_path):
    summary = json.loads((run / "summary.json").read_text())
    head, _, line = table([run]).splitlines()
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["loss"] == f"{summary['validation_loss']:.4f}"
    assert cells["test"] == f"exact match {summary['exact_match']:.2%}"
    assert summary["hardware"] in line
    with pytest.raises(UserError, match=r"holds no summary.json; name the folder of a finished run"):
        table([tmp_path])


def test_more_checkpoints_than_there_will_be_are_refused_before_the_run():
    with pytest.raises(UserError, match=r"average_checkpoints=4, and train.max_steps=12 with train.save_every=4 make 3; save more often"):
        load_run_config("configs/runs/dates.yaml", [*DATES, "evaluation.average_checkpoints=4", "train.keep_checkpoints=4"])


def test_a_checkpoint_is_a_folder_that_can_be_loaded(run):
    """To start another run from it, or to look at it."""
    with Checkpoint(run / "checkpoints" / "step_12") as checkpoint, Checkpoint(run) as finished:
        checkpoint.check()
        assert checkpoint.config == finished.config
        last = dict(finished.tensors())
        assert all((array == last[name]).all() for name, array in checkpoint.tensors())


def test_what_a_finished_run_has_behind_it_is_not_changed(run):
    for text in ("model.num_layers=3", "seed=9", "optimizer.learning_rate=5", "tokenizer.kind=bpe"):
        with pytest.raises(UserError, match=rf"{text}: a finished run has its model; evaluation\., data\."):
            evaluate(run, [text])


def test_other_data_leaves_the_runs_own_figures(run):
    own = evaluate(run)
    written = (run / "evaluation.json").read_text(encoding="utf-8")
    assert evaluate(run, ["data.seed=5"]) != own
    assert (run / "evaluation.json").read_text(encoding="utf-8") == written


def test_pictures_beside_runs_are_no_runs(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "both.png").touch()
    monkeypatch.setattr("sys.argv", ["table", str(run), str(tmp_path / "both.png")])
    assert table_command() == 0
    assert capsys.readouterr().out == table([run]) + "\n"


def test_settings_without_a_run_are_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.evaluate", "evaluation.num_beams=4"])
    with pytest.raises(UserError, match="only settings were given; name the folder of a run"):
        main()
