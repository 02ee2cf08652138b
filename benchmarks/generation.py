"""Generation against Hugging Face's `generate`: the cases of `benchmarks.generation_cases`. `python -m benchmarks.generation`

In float32 all must give the same tokens. First token: the same with one new token. With `--run RUN`, a trained run of this project on a
text: prompts are looked up in what it says, and what fewer bits cost is measured, in nats and perplexity on its validation data.
On a GPU the least time of a token is that of reading all weights once, at the speed that its vendor names.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.generation_cases import CASES, IMPLEMENTATIONS, ON_GPU, PROMPTS, ROUNDED, WEIGHTS, Case, prepare, prepare_run
from benchmarks.harness import RESULTS, Worker, gpu, is_whole, peak_megabytes, processor, start, versions
from configs import UserError, run_command

MODULE = "benchmarks.generation"
COLUMNS = ("implementation", "batch", "all", "first token", "each after it", "times as fast", "same tokens", "peak memory")
LOOKED_UP = ("against without", "tokens a reading")
SHARE = ("share of the memory's speed",)
# Bytes a second, from NVIDIA's data sheets. The first whose words are all in a device's name.
SPEEDS = {"H200": 4.8e12, "H100 NVL": 3.9e12, "H100 PCIe": 2.0e12, "H100": 3.35e12}


def serve(row: str, case: str, folder: Path) -> None:
    """The worker's side: `tokens BATCH NEW` gives tokens, `time BATCH NEW` seconds, `readings BATCH NEW` how often the model reads,
    anything else the peak of memory in megabytes."""
    name, settings = CASES[case].asked(row)
    model, prompts_BT = IMPLEMENTATIONS[name](folder / WEIGHTS), np.load(folder / PROMPTS)
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "peak":
            answer: Any = peak_megabytes()
        else:
            batch, new = map(int, numbers)
            prompts, asked = prompts_BT[:batch], {"max_new_tokens": new, **settings}
            began = time.perf_counter()
            answer = model.readings(prompts, **asked) if command == "readings" else model.generate(prompts, **asked)[:, -new:].tolist()
            if command == "time":
                answer = time.perf_counter() - began
        print("RESULT " + json.dumps(answer), flush=True)


def measure(case: Case, workers: Sequence[Worker], new: int, rounds: int, weights: int) -> list[dict[str, Any]]:
    """For each batch and row: the same tokens first, which compiles too, then turns. weights: their bytes."""
    from train.utilization import of_device

    speed = of_device(SPEEDS, gpu() or "")
    rows: list[dict[str, Any]] = []
    for batch in case.batches:
        # All at once: to compile takes the longest.
        for worker in workers:
            worker.tell(f"tokens {batch} {new}")
        answers = [np.array(worker.answer()) for worker in workers]
        alike: dict[str, float] = {}
        for worker, answer in zip(workers, answers, strict=True):
            alike[worker.name] = same = float((answer == answers[0]).mean())
            worker.ask(f"tokens {batch} 1")
            if same < 1.0 and not any(word in worker.name for word in ROUNDED):
                raise SystemExit(f"{worker.name}: {same:.1%} of the tokens are those of {workers[0].name}; nothing was measured")
        seconds: dict[tuple[str, int], list[float]] = {(worker.name, length): [] for worker in workers for length in (1, new)}
        for turn in range(rounds):
            for worker in workers:
                for length in (1, new):
                    seconds[worker.name, length].append(worker.ask(f"time {batch} {length}"))
            print(f"  batch {batch}: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        for worker in workers:
            whole, first = medians[worker.name, new], medians[worker.name, 1]
            row = {"implementation": worker.name, "batch": batch, "seconds": whole, "times_as_fast": medians[workers[0].name, new] / whole}
            row |= {"first_token_seconds": first, "step_milliseconds": (whole - first) / max(new - 1, 1) * 1e3}
            row |= {"same_tokens": alike[worker.name], "peak_megabytes": worker.ask("peak")}
            if worker.name in ON_GPU and speed is not None:
                row["share_of_bandwidth"] = weights / (row["step_milliseconds"] / 1e3) / speed
            name, _ = case.asked(worker.name)
            if name != worker.name:
                row["times_as_fast_as_without"] = medians[name, new] / whole
                row["tokens_a_reading"] = new / worker.ask(f"readings {batch} {new}")
            rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]], has_variants: bool) -> str:
    has_shares = any("share_of_bandwidth" in row for row in rows)
    columns = COLUMNS + (LOOKED_UP if has_variants else ()) + (SHARE if has_shares else ())
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [row["implementation"], f"{row['batch']}", f"{row['seconds']:.2f} s", f"{row['first_token_seconds'] * 1e3:.0f} ms"]
        cells += [f"{row['step_milliseconds']:.1f} ms", f"{row['times_as_fast']:.2f}", f"{row['same_tokens']:.0%}"]
        cells.append(f"{row['peak_megabytes']:,.0f} MB")
        if has_variants:
            is_one = "tokens_a_reading" in row
            cells += [f"{row['times_as_fast_as_without']:.2f}", f"{row['tokens_a_reading']:.1f}"] if is_one else ["", ""]
        if has_shares:
            cells.append(f"{row['share_of_bandwidth']:.0%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def perplexities(run: Path) -> list[dict[str, Any]]:
    """Validation loss of a run on its own text, with its weights as they are and with fewer bits."""
    from train.evaluate import data_of, validate
    from transformer_torch import for_inference, load

    _, corpus = data_of(run)
    losses = {"as trained": validate(load(run), corpus)["validation_loss"]}
    losses |= {weights: validate(for_inference(load(run), weights), corpus)["validation_loss"] for weights in ("float32", "bf16", "int8")}
    return [{"weights": weights, "loss": loss, "perplexity": float(np.exp(loss))} for weights, loss in losses.items()]


def keep(path: Path | None, name: str, entry: dict[str, Any]) -> None:
    """Write an entry into a file of results, if there is one, and leave the others there as they are."""
    if path is not None:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept | {name: entry}, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Generation against Hugging Face's, case by case.")
    parser.add_argument("--case", nargs="+", choices=list(CASES), help="default: all, on a GPU those for it")
    parser.add_argument("--only", nargs="+", choices=list(IMPLEMENTATIONS), default=[], help="the first one is always measured")
    parser.add_argument("--new", type=int, help="new tokens, in place of a case's own number")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each implementation takes")
    parser.add_argument("--layers", type=int, help="fewer than the models have, to try it out")
    parser.add_argument("--run", type=Path, help="a trained run: it takes the place of the model in `lookup`, and what fewer bits cost")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        row, case, folder = options.serve
        return serve(row, case, Path(folder))
    for_gpu = [name for name, case in CASES.items() if case.implementations == ON_GPU]
    cases = options.case or [name for name in CASES if (name in for_gpu) == (gpu() is not None)]
    if gpu() is None and (wrong := [name for name in cases if name in for_gpu]):
        raise UserError(f"--case {wrong[0]} is for a GPU, and there is none here; choose from {', '.join(set(CASES) - set(for_gpu))}")
    path = RESULTS / "generation.json" if is_whole(parser, options) else None
    cpu, found = f"{processor()}, {os.cpu_count()} cores", versions()
    for name in cases:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            if options.run and case.variants:
                case = prepare_run(case, Path(folder), options.run)
            else:
                prepare(case, Path(folder), [f"num_layers={options.layers}"] if options.layers else [])
            new = options.new or case.new
            workers = [start(MODULE, row, name, folder) for row in case.rows(options.only)]
            weights = sum(path.stat().st_size for path in (Path(folder) / WEIGHTS).glob("*.safetensors"))
            rows = measure(case, workers, new, options.rounds, weights)
            for worker in workers:
                worker.process.terminate()
                worker.process.wait()
        where: dict[str, Any] = {"hardware": gpu() if name in for_gpu else cpu, "versions": found}
        title = f"{case.title}, {case.prompt} + {new} tokens"
        print(f"\n{title}\n{where['hardware']}\n\n{table(rows, bool(case.variants))}", flush=True)
        command = f"python -m {MODULE} --case {name}"
        if options.run and case.variants:
            name, command = f"{name} {options.run.name}", f"{command} --run {options.run}"
        keep(path, name, {"title": title, "command": command, **where, "rows": rows})
    if options.run:
        costs, where = perplexities(options.run), {"hardware": cpu, "versions": found}
        print(f"\n{options.run}, validation data\n\n| weights | loss | perplexity |\n|---|---|---|")
        print("\n".join(f"| {cost['weights']} | {cost['loss']:.4f} | {cost['perplexity']:.2f} |" for cost in costs))
        keep(path, f"bits {options.run.name}", {"title": f"What fewer bits cost {options.run.name}", **where, "rows": costs})


if __name__ == "__main__":
    run_command(main)
