"""The run's folder: found or made at the start, locked while a process works in it, complete at the end."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from configs import RunConfig, UserError, dump, load_run_config
from configs.reading import RUN

CONFIG = RUN
SUMMARY = "summary.json"
EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
# What may change between a run and its continuation, because nothing that was computed depends on it.
FREE = {
    "evaluation",
    "expected",
    "train.cpu_threads",
    "train.cross_check",
    "train.existing",
    "train.evaluate_every",
    "train.keep_checkpoints",
    "train.log_every",
    "train.num_processes",
    "train.output",
    "train.sample_prompt",
    "train.save_every",
    "train.trackers",
}


@dataclass
class RunFolder:
    """An open run. resumed: it existed and goes on. lock: held by the main process for as long as it lives. notes: lines to be told."""

    path: Path
    resumed: bool
    lock: IO[str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS


@dataclass(frozen=True)
class Plan:
    """Where a run would work. resumed: what is there goes on. beside: the last folder of that name, which stays as it is."""

    path: Path
    resumed: bool = False
    beside: Path | None = None


def plan_run(config: RunConfig) -> Plan:
    """The folder to work in, by `train.existing`.

    Raises UserError where the folder exists and must not be used, where there is nothing to resume, or where what is there was
    started with another config.
    """
    first = Path(config.train.output) / config.name
    policy = config.train.existing
    numbered = [first]
    while numbered[-1].exists():
        numbered.append(first.with_name(f"{first.name}_{len(numbered) + 1}"))
    # Another run may have such a name by itself.
    own = [folder for folder in numbered[:-1] if folder == first or name_of(folder) in (config.name, None)]
    latest = own[-1] if own else None
    if policy == "refuse" and latest:
        state = "a finished run" if is_finished(latest) else "an unfinished run"
        advice = "train.existing=new" if is_finished(latest) else "train.existing=resume to go on with it, train.existing=new"
        raise UserError(f"{latest} exists and holds {state}; use {advice} for a folder of its own, or another name=")
    if policy == "resume":
        if not latest:
            raise UserError(f"{first} is not there, so nothing can be resumed; leave train.existing out to start")
        if is_finished(latest):
            raise UserError(f"{latest} is a finished run, so nothing is left to resume; use train.existing=new")
    if latest and (policy == "resume" or (policy == "auto" and not is_finished(latest))):
        check_same_config(latest, config)
        return Plan(latest, resumed=True)
    return Plan(numbered[-1], beside=latest)


def name_of(folder: Path) -> str | None:
    """The name of the run in a folder; None where it holds no config that can be read."""
    try:
        return load_run_config(folder / CONFIG).name
    except UserError:
        return None


def goes_on(config: RunConfig) -> bool:
    """Whether there is a checkpoint to go on from, as far as this machine can see."""
    return run_that_goes_on(config) is not None


def run_that_goes_on(config: RunConfig) -> Path | None:
    """The folder of the run that goes on from a checkpoint, if one does."""
    try:
        plan = plan_run(config)
    except UserError:
        return None
    return plan.path if plan.resumed and saved(plan.path / CHECKPOINTS) else None


def open_run(config: RunConfig) -> RunFolder:
    """Make the folder that `plan_run` names, or go on in it; only the main process calls this."""
    plan = plan_run(config)
    if plan.resumed:
        return resume(plan.path, config)
    try:
        make_folder(plan.path)
    except FileExistsError:
        # Another run of this name was quicker.
        return open_run(config)
    notes = (f"{plan.beside} stays as it is; this run is {plan.path}",) if plan.beside else ()
    run = RunFolder(plan.path, False, take_lock(plan.path), notes)
    write_whole(plan.path, CONFIG, lambda path: dump(config, path))
    return run


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True)
    except OSError as error:
        if path.is_dir():
            raise
        raise cannot_be_made(path, str(error)) from None


def cannot_be_made(path: Path, why: str) -> UserError:
    return UserError(f"{path} cannot be made: {why}; set train.output to a folder where you may write")


def check_same_config(folder: Path, config: RunConfig) -> None:
    """Refuse to go on with another config than the run was started with."""
    # Killed before it had written its config, it has nothing else either.
    if (folder / CONFIG).is_file() and (difference := first_difference(flat(load_run_config(folder / CONFIG)), flat(config))):
        key, old, new = difference
        raise UserError(f"{folder} was started with {key}={old}, and now {key}={new}; use the same, or train.existing=new")


def resume(folder: Path, config: RunConfig) -> RunFolder:
    """Go on in an unfinished run's folder."""
    lock = take_lock(folder)
    # It may have other settings of those that are free to change.
    write_whole(folder, CONFIG, lambda path: dump(config, path))
    for leftover in [*folder.glob(".*.part"), *(folder / CHECKPOINTS).glob(".*")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return RunFolder(folder, True, lock)


def is_finished(folder: Path) -> bool:
    """The summary is written last."""
    return (folder / SUMMARY).is_file()


def flat(config: RunConfig) -> dict[str, Any]:
    """The config's values by their dotted keys."""
    values: dict[str, Any] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                add(f"{prefix}.{key}" if prefix else key, below)
        else:
            values[prefix] = value

    add("", config.model_dump(mode="json"))
    return values


def first_difference(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The first key that differs and matters, with both values."""
    # Checkpoints that are to be averaged come at regular steps.
    free_keys = FREE - ({"train.save_every"} if (new.get("evaluation.average_checkpoints") or 1) > 1 else set())
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key) and not any(key == free or key.startswith(f"{free}.") for free in free_keys):
            return key, old.get(key), new.get(key)
    return None


def saved(folder: Path) -> list[Path]:
    """All whole checkpoints, the oldest first."""
    paths = [path for path in folder.glob("step_*") if path.name.removeprefix("step_").isdigit()]
    return sorted(paths, key=lambda path: int(path.name.removeprefix("step_")))


def take_lock(folder: Path) -> IO[str] | None:
    """Refuse a second process in the same folder. The lock vanishes with the process, however it ends."""
    try:
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{folder} is no folder to write in: {error}; set train.output to one, or use another name=") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder} is being trained by another process; wait for it, or use another name=") from None
    except OSError:
        return None  # a file system without locks
    return file


def write_whole(folder: Path, name: str, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name, and rename it when it is whole."""
    temporary = folder / f".{name}.part"
    write(temporary)
    os.replace(temporary, folder / name)


def write_all_whole(folder: Path, write: Callable[[Path], Any]) -> None:
    """The same for several files: `write` fills a folder, whose files then move into `folder`."""
    temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=folder))
    try:
        write(temporary)
        for path in sorted(temporary.iterdir()):
            path.chmod(0o644)  # safetensors writes for the owner only
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
