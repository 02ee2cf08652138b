"""From a Hugging Face folder to a model ready to infer: `load` against `from_pretrained`. `python -m benchmarks.loading`

Each load runs in a process of its own, in turns. What is mapped is read when it is first looked at, so the time until a first output is
measured too. Memory is what the process holds at most while loading, beyond what it held before and counting the pages of the file
that it has read, as a multiple of the weights' size: 1 is the model alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import is_whole, keep, processor, versions
from configs import load_model_config
from weight_mapping import canonical_tensors, initial_tensors, save

PRESETS = ("gpt2", "t5-small", "bert-base")


def hugging_face() -> Callable[[str], Any]:
    import transformers

    def load(folder: str) -> Any:
        name = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        return getattr(transformers, name).from_pretrained(folder)

    # What transformers imports when a model is first asked for is not loading.
    for name in ("GPT2LMHeadModel", "T5ForConditionalGeneration", "BertForMaskedLM"):
        getattr(transformers, name)
    return load


def pytorch() -> Callable[[str], Any]:
    import transformer_torch

    return transformer_torch.load


def tensorflow() -> Callable[[str], Any]:
    import tensorflow as tf

    import transformer_tf

    # TensorFlow makes its devices when the first tensor is made.
    tf.constant(0.0)
    return transformer_tf.load


LOADERS = {"Hugging Face": hugging_face, "PyTorch": pytorch, "TensorFlow": tensorflow}


def memory(key: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since it was last reset."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"{key} is not known on this system; this benchmark needs Linux")


def measure(name: str, folder: str) -> None:
    """One load, in the worker's process."""
    load = LOADERS[name]()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before, began = memory("VmRSS"), time.perf_counter()
    model = load(folder)
    seconds = time.perf_counter() - began
    peak = memory("VmHWM") - before
    forward(name, model)
    print("RESULT " + json.dumps({"seconds": seconds, "first_output": time.perf_counter() - began, "bytes": peak}), flush=True)


def forward(name: str, model: Any) -> None:
    """Eight tokens through the model."""
    inputs = {"input_ids": np.arange(8)[None]}
    if hasattr(model, "encoder") and getattr(model, "decoder", None) is not None and model.encoder is not None:
        inputs["decoder_input_ids"] = np.arange(8)[None]
    if name == "TensorFlow":
        model(**inputs)
        return
    import torch

    with torch.no_grad():
        model(**{key: torch.from_numpy(ids) for key, ids in inputs.items()})


def ask(name: str, folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.loading", "--measure", name, "--folder", folder]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{name}: failed\n{done.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("RESULT "))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns that each implementation takes")
    parser.add_argument("--measure", choices=list(LOADERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        return measure(options.measure, options.folder)
    where = f"{processor()}, {os.cpu_count()} cores"
    print(f"Loading a checkpoint\n{where}\n")
    print("| checkpoint | implementation | load | times as fast | first output | times as fast | memory, in checkpoints |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for preset in PRESETS:
        config = load_model_config(preset)
        size = 4 * sum(prod(tensor.shape) for tensor in canonical_tensors(config))
        with tempfile.TemporaryDirectory() as folder:
            save(f"{folder}/model", config, dict(initial_tensors(config, 0)).__getitem__, "hf")
            found: dict[str, list[dict[str, float]]] = {name: [] for name in LOADERS}
            for _ in range(options.rounds):
                for name in LOADERS:
                    found[name].append(ask(name, f"{folder}/model"))
        medians = {name: statistics.median(one["seconds"] for one in runs) for name, runs in found.items()}
        firsts = {name: statistics.median(one["first_output"] for one in runs) for name, runs in found.items()}
        for name, runs in found.items():
            row = {
                "checkpoint": preset,
                "megabytes": size / 1e6,
                "implementation": name,
                "seconds": medians[name],
                "times_as_fast": medians["Hugging Face"] / medians[name],
                "first_output_seconds": firsts[name],
                "first_output_times_as_fast": firsts["Hugging Face"] / firsts[name],
                "memory_in_checkpoints": statistics.median(one["bytes"] for one in runs) / size,
            }
            rows.append(row)
            print(
                f"| {preset}, {size / 1e6:,.0f} MB | {name} | {medians[name]:.2f} s | {row['times_as_fast']:.2f} | "
                f"{firsts[name]:.2f} s | {row['first_output_times_as_fast']:.2f} | {row['memory_in_checkpoints']:.2f} |",
                flush=True,
            )
    content = {"title": "Loading a checkpoint", "hardware": where, "command": "python -m benchmarks.loading", "versions": versions()}
    if is_whole(parser, options):
        keep("loading", {**content, "rows": rows})


if __name__ == "__main__":
    main()
