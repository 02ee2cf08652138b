"""What was asked for and what really runs: processes, precision, sharding. A mismatch is refused before work starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch
import yaml
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.commands.config.config_args import default_config_file
from accelerate.utils import gather_object
from torch import nn
from torch.distributed import DistError
from torch.nn.parallel import DistributedDataParallel

from configs import RunConfig, UserError
from train.batches import check_divides
from train.run_folder import saved
from train.zero import check_settings

LAUNCHERS = ("accelerate", "accelerate-launch", "torchrun", "torch.distributed.run", "accelerate.commands.launch")
PROCESS_FLAGS = ("--num_processes", "--num-processes")
CONFIG_FLAGS = ("--config_file", "--config-file")
PRECISIONS = {"float32": "no", "bf16": "bf16"}
TWO_ON_CPU = "on CPU it is: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m train ..."


@dataclass(frozen=True)
class Launcher:
    """The process that started this one. command: its command line where it is a launcher, else empty."""

    pid: int | None
    command: tuple[str, ...]
    processes: int | None


def find_launcher() -> Launcher:
    """Whether a launcher is our parent, and how many processes it was asked for (over all machines)."""
    try:
        parent = psutil.Process().parent()
        command = tuple(parent.cmdline()) if parent else ()
        folder = Path(parent.cwd()) if parent else Path()
    except psutil.Error:
        return Launcher(None, (), None)
    if parent is None or not any(Path(word).name in LAUNCHERS for word in command[:4]):
        return Launcher(None, (), None)
    return Launcher(parent.pid, command, processes_asked_for(command, folder))


def processes_asked_for(command: Sequence[str], folder: Path = Path()) -> int | None:
    """`--num_processes` of the launcher's command line, else of its config file; None where neither says."""
    number = _flag(command, PROCESS_FLAGS)
    if number is not None:
        return int(number) if number.isdigit() else None
    named = _flag(command, CONFIG_FLAGS)
    if named is None and "--cpu" in command:
        return None
    if named is None and not any(Path(word).name.startswith("accelerate") for word in command[:4]):
        return None
    path = folder / named if named else Path(default_config_file)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    found = values.get("num_processes") if isinstance(values, dict) else None
    return found if isinstance(found, int) and found > 0 else None


def _flag(command: Sequence[str], names: Sequence[str]) -> str | None:
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else following
    return None


def precision_to_run(asked: str, environment: Mapping[str, str], has_gpu: bool) -> str:
    """accelerate's `mixed_precision`: the config's, unless it says ``auto``; refused where config and launcher contradict each other."""
    launched = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if launched not in ("no", "bf16"):
        where = "" if has_gpu else ", which a CPU silently computes in float32"
        raise UserError(f"the launcher asks for --mixed_precision {launched}{where}; use bf16 or no")
    if asked == "auto":
        return launched
    if asked == "float32" and launched != "no":
        raise UserError(
            f"train.precision=float32, and the launcher asks for --mixed_precision {launched}; drop one of them or set train.precision=auto"
        )
    return PRECISIONS[asked]


def uses_cpu(environment: Mapping[str, str]) -> bool:
    """Whether the launcher was told to leave a GPU alone."""
    return environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")


def uses_fsdp(environment: Mapping[str, str]) -> bool:
    """Whether the launcher was told to shard."""
    return environment.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def uses_deepspeed(environment: Mapping[str, str]) -> bool:
    """Whether the launcher was told to share by DeepSpeed's ZeRO."""
    return environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true"


def check_environment(config: RunConfig, environment: Mapping[str, str], launcher: Launcher, has_gpu: bool) -> None:
    """Refuse what accelerate would turn into something else without a word."""
    world = int(environment.get("WORLD_SIZE", "1"))
    on_cpu = not has_gpu or uses_cpu(environment)
    if uses_fsdp(environment) and on_cpu:
        raise UserError("FSDP was asked for, and on a CPU accelerate silently replicates instead of sharding; launch without FSDP")
    if uses_fsdp(environment) and environment.get("FSDP_VERSION", "1") != "2":
        raise UserError(
            "FSDP of version 1 was asked for, and this trainer has been built for version 2; "
            "launch with configs/accelerate/fsdp2.yaml, or --fsdp_version 2"
        )
    if uses_deepspeed(environment):
        if on_cpu:
            raise UserError("DeepSpeed was asked for, and on a CPU accelerate silently leaves it out; launch without DeepSpeed")
        if find_spec("deepspeed") is None:
            raise UserError("DeepSpeed was asked for, and it is not installed; pip install deepspeed")
        if check_settings() == 3 and config.train.compile:
            raise UserError("train.compile=true, and the compiler cannot follow what DeepSpeed's stage 3 gathers; compile in stage 1 or 2")
    if launcher.processes is not None and launcher.processes != world:
        found = f"the launcher was asked for {launcher.processes} processes, and started {world}"
        raise UserError(f"{found}; {TWO_ON_CPU}" if on_cpu else f"{found}; add --multi_gpu, or ask for {world}")
    if world > 1 and on_cpu and not uses_cpu(environment):
        raise UserError(f"{world} processes were started without a GPU, and accelerate would run {world} unconnected copies; {TWO_ON_CPU}")
    if config.train.num_processes is not None and config.train.num_processes != world:
        raise UserError(
            f"train.num_processes={config.train.num_processes}, and {world} {'is' if world == 1 else 'are'} running; "
            f"change it or the launch: {TWO_ON_CPU}"
        )


def check_accelerator(accelerator: Accelerator, mixed_precision: str) -> None:
    """The accelerator is what was asked for."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != world:
        raise UserError(f"{world} processes were started, and each believes to be one of {accelerator.num_processes}; {TWO_ON_CPU}")
    if accelerator.gradient_accumulation_steps != 1:
        raise UserError(
            f"accelerate was told of {accelerator.gradient_accumulation_steps} accumulation steps, and would divide all gradients by them; "
            f"unset ACCELERATE_GRADIENT_ACCUMULATION_STEPS and set train.accumulation_steps"
        )
    if str(accelerator.mixed_precision) != mixed_precision:
        raise UserError(f"precision {mixed_precision!r} was asked for, and {str(accelerator.mixed_precision)!r} runs")


def check_wrapped(accelerator: Accelerator, model: nn.Module) -> None:
    """The model is replicated or sharded as was asked for."""
    found = type(model).__name__
    if uses_fsdp(os.environ):
        if not found.startswith(("FSDP", "FullyShardedDataParallel")):
            raise UserError(f"FSDP was asked for, and the model runs as {found}")
    elif uses_deepspeed(os.environ):
        if found != "DeepSpeedEngine":
            raise UserError(f"DeepSpeed was asked for, and the model runs as {found}")
    elif accelerator.num_processes > 1 and not isinstance(model, DistributedDataParallel):
        raise UserError(f"{accelerator.num_processes} processes were asked for, and the model runs as {found}, not replicated")


def check_same_text(accelerator: Accelerator, fingerprint: str) -> None:
    """Every process has read the same text."""
    if accelerator.num_processes > 1 and len(found := set(gather_object([fingerprint]))) > 1:
        raise UserError(f"the processes have read {len(found)} different texts; give every machine the same files and Python version")


@contextmanager
def told_if_left_alone(accelerator: Accelerator, checkpoints: Path) -> Iterator[None]:
    """Where another process has died, the processes that are left say so, and how to go on, in place of what a socket reports."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, DistError) and "gloo" not in str(error).lower():
            raise
        good = saved(checkpoints)
        advice = f"the last checkpoint is {good[-1]}: launch again with train.existing=resume" if good else "there is no checkpoint yet"
        lost = UserError(
            f"one of the {accelerator.num_processes} processes is gone: it was killed, or has failed with a message of its own; {advice}"
        )
        # A machine's first process tells all mistakes; this one tells what the first, if it is the one that died, cannot.
        if accelerator.local_process_index == 1:
            print(f"error: {lost}", file=sys.stderr, flush=True)
        raise lost from None


def check_launch(config: RunConfig) -> tuple[Launcher, str]:
    """What can be checked before accelerate is started. The launcher, and accelerate's `mixed_precision`."""
    launcher, has_gpu = find_launcher(), torch.cuda.is_available()
    check_environment(config, os.environ, launcher, has_gpu)
    mixed_precision = precision_to_run(config.train.precision, os.environ, has_gpu)
    if config.train.batch_size:
        check_divides(config.train.batch_size, int(os.environ.get("WORLD_SIZE", "1")), config.train.accumulation_steps)
    return launcher, mixed_precision


def start(config: RunConfig) -> tuple[Accelerator, Launcher]:
    """Check, start accelerate, check again."""
    launcher, mixed_precision = check_launch(config)
    replicated = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    accelerator = Accelerator(mixed_precision=mixed_precision, kwargs_handlers=[replicated])
    check_accelerator(accelerator, mixed_precision)
    if accelerator.device.type == "cpu":
        torch.set_num_threads(config.train.cpu_threads or threads_per_process(os.environ))
    return accelerator, launcher


def threads_per_process(environment: Mapping[str, str]) -> int:
    """The machine's cores, shared by the processes on it: launchers silently leave one thread to each."""
    # One number for each level of nesting; the first counts here.
    first = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    asked = int(first) if first.isdigit() else 1
    cores = len(psutil.Process().cpu_affinity() or []) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count() or 1
    cores = min(cores, psutil.cpu_count(logical=False) or cores)
    return asked if asked > 1 else max(1, cores // int(environment.get("LOCAL_WORLD_SIZE", "1")))
