"""Several processes: on two machines, killed one by one or together, and resumed by another number of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.train.runs import command, environment, metrics, train, write_text
from tests.train.test_training import LONG, has_reached, kill_after, same_bits, wait_for

TWO = ("--multi_gpu", "--num_processes", "2", "--main_process_port", "0")
ON_CPU = {"ACCELERATE_USE_CPU": "true"}
CURVE = {**LONG, "train__max_steps": 120, "train__log_every": 1, "train__evaluate_every": 60, "model__dropout": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_text(folder)
    return folder


def finished(folder: Path, *launcher: str, **changes: Any) -> Path:
    """The folder of a run that was not interrupted."""
    done = train(folder, *launcher, env=ON_CPU, **changes)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / changes["name"]


@pytest.fixture(scope="module")
def curve(folder):
    """One process, without dropout."""
    return finished(folder, name="curve", **CURVE)


@pytest.fixture(scope="module")
def two(folder):
    """Two processes, with dropout."""
    return finished(folder, *TWO, name="two", **LONG)


def same_curve(first: Path, second: Path) -> None:
    """Every figure of every step within 1e-6, whoever computed it."""
    one, other = metrics(first), metrics(second)
    assert [row["step"] for row in one] == [row["step"] for row in other]
    for expected, found in zip(one, other, strict=True):
        assert found == pytest.approx(expected, abs=1e-6)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_two_machines_give_the_curve_of_one_process(folder, curve):
    """Two launchers, as on two machines, that meet on this one's loopback."""
    port = str(free_port())
    machines = []
    for rank in ("0", "1"):
        launcher = ("--multi_gpu", "--num_machines", "2", "--num_processes", "2", "--machine_rank", rank)
        meet = ("--main_process_ip", "127.0.0.1", "--main_process_port", port)
        line = command(folder, *launcher, *meet, name="machines", **CURVE)
        machines.append(
            subprocess.Popen(line, env=environment(**ON_CPU), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    outputs = [machine.communicate(timeout=120) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    same_curve(curve, folder / "runs" / "machines")
    assert json.loads((folder / "runs" / "machines" / "summary.json").read_text())["processes"] == 2
    assert "validation loss" not in outputs[1][0]


def killed(folder: Path, step: int, *ranks: int, number: int = signal.SIGKILL, **changes: Any) -> tuple[int, str, str]:
    """Start two processes, kill those of `ranks` once the checkpoint of `step` is there; the launch's exit code, output and errors.

    No rank means the launcher.
    """
    launch = subprocess.Popen(
        command(folder, *TWO, **changes),
        env=environment(**ON_CPU),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = folder / "runs" / changes["name"]
    try:
        wait_for(lambda: has_reached(run, step) or launch.poll() is not None)
        workers = {child.environ().get("RANK"): child.pid for child in psutil.Process(launch.pid).children()}
        for pid in [workers[str(rank)] for rank in ranks] or [launch.pid]:
            os.kill(pid, number)
        output, errors = launch.communicate(timeout=60)
    finally:
        launch.kill()
    assert not (run / "summary.json").exists(), "it ended before the signal came"
    return launch.returncode, output, errors


@pytest.mark.slow
def test_killed_one_by_one_and_both_it_resumes_and_ends_with_the_same_bits(folder, two):
    """The launch fails, says in one line what happened and where to go on, and goes on from there, dropout and all."""
    run, changes = folder / "runs" / "killed", {"name": "killed", **LONG}
    for step, rank in ((30, 1), (80, 0)):
        code, output, errors = killed(folder, step, rank, **changes)
        assert code != 0
        (line,) = [line for line in errors.splitlines() if line.startswith("error:")]
        last = max(int(path.name.removeprefix("step_")) for path in (run / "checkpoints").glob("step_*"))
        assert "one of the 2 processes is gone" in line
        assert f"the last checkpoint is {run / 'checkpoints' / f'step_{last}'}: launch again with train.existing=resume" in line
        changes["train__existing"] = "resume"
    code, output, _ = killed(folder, 130, 0, 1, **changes)
    assert code != 0
    assert f"resuming after step {last}" in output
    done = train(folder, *TWO, env=ON_CPU, **changes)
    assert done.returncode == 0, done.stderr
    assert "resuming after step" in done.stdout
    same_bits(two, run)


def test_two_processes_stop_together_when_their_launcher_is_told_to(folder, two):
    """And resumed, they end with the same bits as two that were never stopped."""
    code, output, _ = killed(folder, 30, number=signal.SIGTERM, name="stopped", **LONG)
    assert code != 0
    assert output.count("stopped by a signal after step") == 1
    done = train(folder, *TWO, env=ON_CPU, name="stopped", **LONG, train__existing="resume")
    assert done.returncode == 0, done.stderr
    same_bits(two, folder / "runs" / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on_with_the_same_curve(folder, curve, before, now):
    """And says what it means."""
    changes = {"name": f"{before}_then_{now}", **CURVE}
    if before == 1:
        kill_after(folder, 20, signal.SIGKILL, **changes)
    else:
        killed(folder, 20, 0, 1, **changes)
    done = train(folder, *(TWO if now == 2 else ()), env=ON_CPU if now == 2 else {}, **changes, train__existing="resume")
    assert done.returncode == 0, done.stderr
    (note,) = [line for line in done.stdout.splitlines() if line.startswith("the checkpoint was saved by")]
    assert note.startswith(f"the checkpoint was saved by {before} process")
    assert "none twice and none missed" in note
    same_curve(curve, folder / "runs" / changes["name"])
