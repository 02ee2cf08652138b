"""Several implementations measured in one run: each in a process of its own, in turns, after their outputs are found equal.

A benchmark is a module with BUILDERS: a name for each implementation, and a function that gives ``(step, check)``. `step()` is what
is timed; `check()` gives numbers that all implementations must share. The first name is what the others are compared with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Built = tuple[Callable[[], Any], Callable[[], list[float]]]
Builder = Callable[[], Built]


@dataclass
class Worker:
    """One implementation in a process of its own, which waits to be told what to do."""

    name: str
    process: subprocess.Popen[str]
    seconds: list[float]
    peak: float = 0.0

    def ask(self, command: str) -> Any:
        self.tell(command)
        return self.answer()

    def tell(self, command: str) -> None:
        """Ask without waiting."""
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
        raise SystemExit(f"{self.name}: failed (exit code {self.process.wait()})")


def serve(module: str, name: str) -> None:
    """The worker's side."""
    step, check = importlib.import_module(module).BUILDERS[name]()
    for line in sys.stdin:
        command, _, count = line.strip().partition(" ")
        if command == "check":
            answer: Any = check()
        elif command == "run":
            answer = []
            for _ in range(int(count)):
                began = time.perf_counter()
                step()
                answer.append(time.perf_counter() - began)
        else:
            answer = peak_megabytes()
        print("RESULT " + json.dumps(answer), flush=True)


def main(
    module: str,
    title: str,
    unit_per_step: float,
    unit: str,
    tolerance: float,
    arguments: Sequence[str] | None = None,
    hardware: str | None = None,
    extend: Callable[[list[dict[str, Any]]], None] | None = None,
) -> None:
    """Measure all implementations of a module, print the table, and write it to benchmarks/results unless less is asked for.

    hardware: default the processor. extend: adds to the rows what else is to be known of them.
    """
    builders = importlib.import_module(module).BUILDERS
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=title)
    parser.add_argument("--only", nargs="*", choices=list(builders), help="implementations; the first one is always measured")
    parser.add_argument("--rounds", type=int, default=8, help="turns that each implementation takes")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        return serve(module, options.serve)
    names = [name for index, name in enumerate(builders) if index == 0 or not options.only or name in options.only]
    workers = [start(module, name) for name in names]
    reference: list[float] | None = None
    # All at once: to compile takes the longest.
    for worker in workers:
        worker.tell("check")
    for worker in workers:
        checked = worker.answer()
        reference = checked if reference is None else reference
        # bf16 has 8 bits: it is checked to be the same computation, not the same digits.
        allowed = 0.05 if "bf16" in worker.name else tolerance
        difference = max(abs(a - b) for a, b in zip(checked, reference, strict=True)) / max(map(abs, reference))
        if not difference <= allowed:
            raise SystemExit(f"{worker.name}: differs from {names[0]} by {difference:.1e} (allowed {allowed:.0e}); nothing was measured")
        worker.ask("run 2")
        print(f"  {worker.name}: equal within {difference:.1e}", file=sys.stderr, flush=True)
    for turn in range(options.rounds):
        for worker in workers:
            worker.seconds += worker.ask(f"run {options.steps}")
        print(f"  round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
    for worker in workers:
        worker.peak = worker.ask("peak")
        worker.process.terminate()
    content = report(module, title, unit_per_step, unit, workers, hardware or f"{processor()}, {os.cpu_count()} cores")
    if extend is not None:
        extend(content["rows"])
    if is_whole(parser, options):
        keep(module.rpartition(".")[2], content)


def is_whole(parser: argparse.ArgumentParser, options: argparse.Namespace) -> bool:
    """Whether nothing less is measured than by default: a part, or a shorter measurement, is for the eyes alone."""
    if any(getattr(options, name, None) for name in ("only", "new", "layers")):
        return False
    return all(getattr(options, name) >= parser.get_default(name) for name in ("rounds", "steps") if hasattr(options, name))


def keep(name: str, content: dict[str, Any]) -> None:
    """Write benchmarks/results/NAME.json."""
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def start(module: str, name: str, *more: str) -> Worker:
    command = [sys.executable, "-m", module, "--serve", name, *more]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    return Worker(name, process, [])


def report(module: str, title: str, unit_per_step: float, unit: str, workers: list[Worker], where: str) -> dict[str, Any]:
    """Print the table. The same as data."""
    first = statistics.median(workers[0].seconds)
    header = f"| implementation | median step | {unit} | times as fast | peak memory | share |"
    lines = [header, "|---|---|---|---|---|---|"]
    rows = []
    for worker in workers:
        median = statistics.median(worker.seconds)
        row = {
            "implementation": worker.name,
            "seconds": median,
            "spread": [min(worker.seconds), max(worker.seconds)],
            "per_second": unit_per_step / median,
            "times_as_fast": first / median,
            "peak_megabytes": worker.peak,
            "share_of_memory": worker.peak / workers[0].peak,
        }
        rows.append(row)
        lines.append(
            f"| {worker.name} | {median * 1000:.1f} ms | {unit_per_step / median:,.0f} | {first / median:.2f} | "
            f"{worker.peak:,.0f} MB | {worker.peak / workers[0].peak:.2f} |"
        )
    print(f"{title}\n{where}\n\n" + "\n".join(lines))
    return {"title": title, "hardware": where, "command": f"python -m {module}", "versions": versions(), "rows": rows}


def gpu() -> str | None:
    """The name of this machine's GPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def peak_megabytes() -> float:
    """The most memory that this process has held: of a GPU if it has used one."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        return float(sys.modules["torch"].cuda.max_memory_allocated() / 1e6)
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # There ru_maxrss counts what the parent held when it made this process, too.
    return next(int(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if line.startswith("VmHWM:"))


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.is_file()
        else []
    )
    return names[0] if names else platform.processor()


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("torch", "tensorflow", "keras", "keras-hub", "transformers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
