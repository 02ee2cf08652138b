"""What was asked for and what runs: every silent change that accelerate makes is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from accelerate import Accelerator

from configs import UserError
from tests.train.runs import ROOT, run_config, train, write_text
from train.launch import Launcher, check_accelerator, check_environment, precision_to_run, processes_asked_for, threads_per_process

ALONE = Launcher(None, (), None)
ON_CPU = {"ACCELERATE_USE_CPU": "true"}


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("--num_processes 2 -m train x.yaml", 2),
        ("--num-processes=3 -m train x.yaml", 3),
        ("--config_file one.yaml -m train x.yaml", 4),
        ("--config_file one.yaml --num_processes 2 -m train x.yaml", 2),
        ("--config_file gone.yaml -m train x.yaml", None),
        ("--cpu -m train x.yaml", None),
    ],
)
def test_the_launchers_command_line_is_read(tmp_path, words, number):
    (tmp_path / "one.yaml").write_text("num_processes: 4\n")
    command = ("python", "/bin/accelerate", "launch", *words.split())
    assert processes_asked_for(command, tmp_path) == number


@pytest.mark.parametrize(
    ("environment", "asked", "has_gpu", "message"),
    [
        ({"ACCELERATE_USE_CPU": "True"}, 2, False, "asked for 2 processes, and started 1; on CPU it is: ACCELERATE_USE_CPU=true"),
        ({}, 8, True, "asked for 8 processes, and started 1; add --multi_gpu"),
        ({"WORLD_SIZE": "2"}, 2, False, "2 unconnected copies; on CPU it is: ACCELERATE_USE_CPU=true"),
        ({"ACCELERATE_USE_FSDP": "true", **ON_CPU}, None, True, "FSDP was asked for, and on a CPU"),
        ({"ACCELERATE_USE_FSDP": "true"}, None, False, "FSDP was asked for, and on a CPU"),
        ({"ACCELERATE_USE_FSDP": "true"}, None, True, "FSDP of version 1 was asked for"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", **ON_CPU}, None, True, "DeepSpeed was asked for, and on a CPU"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, None, False, "DeepSpeed was asked for, and on a CPU"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, None, True, "it is not installed; pip install deepspeed"),
    ],
)
def test_what_would_silently_run_otherwise_is_refused(tmp_path, monkeypatch, environment, asked, has_gpu, message):
    monkeypatch.setattr("train.launch.find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        check_environment(run_config(tmp_path), environment, Launcher(1, (), asked), has_gpu)


@pytest.mark.parametrize(
    ("environment", "launcher", "has_gpu"),
    [
        ({}, ALONE, False),
        ({}, ALONE, True),
        ({"WORLD_SIZE": "2", **ON_CPU}, Launcher(1, (), 2), False),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, ALONE, True),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, ALONE, True),
    ],
)
def test_what_runs_as_asked_is_accepted(tmp_path, monkeypatch, environment, launcher, has_gpu):
    monkeypatch.setattr("train.launch.find_spec", lambda name: name)
    check_environment(run_config(tmp_path), environment, launcher, has_gpu)


def test_what_deepspeed_shares_layer_by_layer_is_not_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr("train.launch.find_spec", lambda name: name)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    environment, config = {"ACCELERATE_USE_DEEPSPEED": "true"}, run_config(tmp_path, train__compile="true")
    with pytest.raises(UserError, match=r"train.compile=true, and .* compile in stage 1 or 2"):
        check_environment(config, environment, ALONE, True)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    check_environment(config, environment, ALONE, True)


def test_accumulation_is_the_configs(monkeypatch):
    """accelerate takes another number from the environment, and divides gradients by it."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(UserError, match=r"told of 4 accumulation steps.*set train.accumulation_steps"):
        check_accelerator(Accelerator(cpu=True), "no")


def test_the_configs_number_of_processes_counts(tmp_path):
    config = run_config(tmp_path, train__num_processes=2)
    check_environment(config, {"WORLD_SIZE": "2", **ON_CPU}, ALONE, False)
    with pytest.raises(UserError, match=r"train.num_processes=2, and 1 is running"):
        check_environment(config, {}, ALONE, False)


@pytest.mark.parametrize(
    ("asked", "launched", "runs"),
    [("auto", "no", "no"), ("auto", "bf16", "bf16"), ("bf16", "no", "bf16"), ("bf16", "bf16", "bf16"), ("float32", "no", "no")],
)
def test_precision_is_the_configs_or_the_launchers(asked, launched, runs):
    assert precision_to_run(asked, {"ACCELERATE_MIXED_PRECISION": launched}, False) == runs


def test_precisions_that_contradict_each_other_are_refused():
    with pytest.raises(UserError, match=r"train.precision=float32, and the launcher asks for --mixed_precision bf16"):
        precision_to_run("float32", {"ACCELERATE_MIXED_PRECISION": "bf16"}, True)
    with pytest.raises(UserError, match="fp16, which a CPU silently computes in float32"):
        precision_to_run("auto", {"ACCELERATE_MIXED_PRECISION": "fp16"}, False)


def test_cores_are_shared_by_the_processes_and_the_users_choice_counts(monkeypatch):
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda self: list(range(8)), raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 8)
    assert threads_per_process({}) == 8
    assert threads_per_process({"OMP_NUM_THREADS": "1"}) == 8
    assert [threads_per_process({"LOCAL_WORLD_SIZE": processes}) for processes in ("2", "8", "16")] == [4, 1, 1]
    assert [threads_per_process({"OMP_NUM_THREADS": asked}) for asked in ("7", "4,2", "", "many")] == [7, 4, 8, 8]
    # Two threads of a core share what it multiplies with.
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 8 if logical else 4)
    assert threads_per_process({}) == 4


def test_a_real_launch_that_would_run_one_process_is_refused_before_anything_is_written(tmp_path):
    write_text(tmp_path)
    done = train(tmp_path, "--cpu", "--num_processes", "2")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "asked for 2 processes, and started 1" in lines[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_accepts_our_launcher_files(path: Path):
    from accelerate.commands.config.config_args import load_config_from_file

    assert path.read_text().startswith("# ")
    read = load_config_from_file(str(path))
    assert read.num_processes == yaml.safe_load(path.read_text())["num_processes"]
