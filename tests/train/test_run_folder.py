"""What happens where the run's folder exists."""

from __future__ import annotations

import pytest

from configs import UserError, load_run_config
from tests.train.runs import ROOT, run_config
from train import run_folder
from train.run_folder import CONFIG, first_difference, flat, open_run, write_whole
from train.saved import check_conditions, drop_old


def start(tmp_path, finished=False, **changes):
    run = open_run(run_config(tmp_path, **changes))
    if finished:
        (run.path / "summary.json").write_text("{}")
    run.lock.close()
    return run


def test_a_new_folder_holds_the_whole_config(tmp_path):
    run = start(tmp_path)
    assert run.path == tmp_path / "runs" / "tiny"
    assert not run.resumed
    assert load_run_config(run.path / "run.yaml") == run_config(tmp_path)


@pytest.mark.parametrize(
    ("finished", "message"), [(False, "unfinished run; use train.existing=resume"), (True, "a finished run; use train.existing=new")]
)
def test_refuse_is_the_default(tmp_path, finished, message):
    start(tmp_path, finished)
    with pytest.raises(UserError, match=message):
        start(tmp_path)


def test_the_last_of_several_is_told_of(tmp_path):
    """What train.existing=resume would take."""
    start(tmp_path)
    start(tmp_path, finished=True, train__existing="new")
    with pytest.raises(UserError, match=r"tiny_2 exists and holds a finished run; use train.existing=new for"):
        start(tmp_path)


def test_what_is_no_folder_to_write_in(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").write_text("")
    with pytest.raises(UserError, match=r"tiny is no folder to write in: .*Not a directory"):
        start(tmp_path, train__existing="auto")


def test_who_comes_second_takes_the_next_number(tmp_path, monkeypatch):
    """Both saw the same number free."""
    make = run_folder.make_folder
    monkeypatch.setattr(run_folder, "make_folder", lambda path: (path.mkdir(parents=True), monkeypatch.undo(), make(path)))
    assert start(tmp_path, train__existing="new").path.name == "tiny_2"


def test_another_run_of_such_a_name_is_left_alone(tmp_path):
    started = start(tmp_path)
    start(tmp_path, finished=True, name="tiny_2")
    assert start(tmp_path, train__existing="resume").path == start(tmp_path, train__existing="auto").path == started.path
    assert start(tmp_path, train__existing="new").path.name == "tiny_3"
    assert start(tmp_path, train__existing="resume").path.name == "tiny_3"
    (tmp_path / "runs" / "tiny_2" / "run.yaml").write_text("of: another time")
    assert start(tmp_path, train__existing="new").path.name == "tiny_4"


def test_what_goes_on_has_a_checkpoint(tmp_path):
    config = run_config(tmp_path, train__existing="resume")
    assert not run_folder.goes_on(config)
    folder = start(tmp_path)
    assert not run_folder.goes_on(config)
    (folder.checkpoints / "step_3").mkdir(parents=True)
    assert run_folder.goes_on(config)
    assert not run_folder.goes_on(run_config(tmp_path))


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ((100, 200, 300, 400), (200, 300, 400)),
        ((100, 200, 250), (100, 200, 250)),
        ((100, 200, 250, 300), (100, 200, 300)),
        ((200, 250, 300, 400), (200, 300, 400)),
        ((300, 400, 450), (300, 400, 450)),
    ],
)
def test_what_a_signal_left_between_two_checkpoints_goes(tmp_path, steps, kept):
    """Or the mean of the last checkpoints would be another than of a run that nobody interrupted."""
    config, folder = run_config(tmp_path, train__save_every=100, train__keep_checkpoints=3), start(tmp_path)
    for step in steps:
        (folder.checkpoints / f"step_{step}").mkdir(parents=True)
    drop_old(config, folder.path)
    assert [path.name for path in run_folder.saved(folder.checkpoints)] == [f"step_{step}" for step in kept]


def test_new_takes_the_next_number(tmp_path):
    names = [start(tmp_path, train__existing="new").path.name for _ in range(3)]
    assert names == ["tiny", "tiny_2", "tiny_3"]


def test_resume_goes_on_only_with_what_is_unfinished(tmp_path):
    with pytest.raises(UserError, match="nothing can be resumed"):
        start(tmp_path, train__existing="resume")
    start(tmp_path)
    again = start(tmp_path, train__existing="resume", finished=True)
    assert (again.path.name, again.resumed) == ("tiny", True)
    with pytest.raises(UserError, match="nothing is left to resume"):
        start(tmp_path, train__existing="resume")


def test_auto_resumes_or_starts_anew(tmp_path):
    def auto(finished):
        run = start(tmp_path, finished, train__existing="auto")
        return run.path.name, run.resumed

    assert [auto(False), auto(True), auto(False), auto(True)] == [("tiny", False), ("tiny", True), ("tiny_2", False), ("tiny_2", True)]


def test_a_run_beside_a_finished_one_says_so(tmp_path):
    assert start(tmp_path, finished=True, train__existing="auto").notes == ()
    runs = tmp_path / "runs"
    assert start(tmp_path, train__existing="auto").notes == (f"{runs / 'tiny'} stays as it is; this run is {runs / 'tiny_2'}",)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"optimizer__learning_rate": 0.5}, r"optimizer.learning_rate=0.001, and now optimizer.learning_rate=0.5"),
        ({"train__max_steps": 7}, r"train.max_steps=6, and now train.max_steps=7"),
        ({"model__dropout": 0.5}, r"model.dropout.embedding=0.0, and now model.dropout.embedding=0.5"),
    ],
)
def test_resume_with_another_config_names_the_first_difference(tmp_path, changes, key):
    start(tmp_path)
    with pytest.raises(UserError, match=key):
        start(tmp_path, train__existing="resume", **changes)


def test_resume_may_change_what_nothing_depends_on(tmp_path):
    start(tmp_path)
    run = start(tmp_path, train__existing="resume", train__save_every=5, train__sample_prompt="the")
    assert run.resumed
    # What it goes on with is what `train.evaluate` finds.
    assert load_run_config(run.path / CONFIG).train.save_every == 5


def test_checkpoints_that_are_averaged_stay_regular():
    """Others would count as left by a signal, and go."""
    every = {
        (mean, steps): flat(
            load_run_config(ROOT / "configs/runs/dates.yaml", [f"evaluation.average_checkpoints={mean}", f"train.save_every={steps}"])
        )
        for mean in (1, 2)
        for steps in (2, 3)
    }
    assert first_difference(every[2, 2], every[2, 3]) == ("train.save_every", 2, 3)
    assert first_difference(every[1, 2], every[1, 3]) is None


def test_resume_removes_what_was_half_written(tmp_path):
    run = start(tmp_path)
    (run.path / "checkpoints" / ".step_4.abc").mkdir(parents=True)
    (run.path / ".loss.png.part").write_text("half")
    start(tmp_path, train__existing="resume")
    assert [*run.path.glob(".*.part"), *(run.path / "checkpoints").iterdir()] == []


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    run = open_run(run_config(tmp_path))
    with pytest.raises(UserError, match="being trained by another process"):
        open_run(run_config(tmp_path, train__existing="resume"))
    run.lock.close()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail(path):
        path.write_text("ne")
        raise OSError

    with pytest.raises(OSError):
        write_whole(tmp_path, "a", fail)
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("text", ["{}", "{", None])
def test_a_checkpoint_that_is_not_whole_says_what_to_do(tmp_path, text):
    if text is not None:
        (tmp_path / "state.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"damaged \(.*\); remove it to go on from the checkpoint before"):
        check_conditions(tmp_path, {})
