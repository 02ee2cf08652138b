"""Greedy generation with GPT-2 124M and random weights, 32 + 128 tokens, one prompt and eight. `python -m benchmarks.generation`

In float32 all must give the same tokens. First token: the same with one new token. With `--run RUN`, a trained run of this project on a
text: what fewer bits cost, in nats and perplexity on its validation data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, Worker, processor, start, versions
from configs import ModelConfig, load_model_config
from weight_mapping import get_family, initial_tensors
from weight_mapping.mapping import from_canonical

MODULE = "benchmarks.generation"
PROMPT, BATCHES = 32, (1, 8)
LAYERS = "BENCHMARK_LAYERS"
Generate = Callable[[np.ndarray, int], np.ndarray]


def model_config() -> ModelConfig:
    return load_model_config("gpt2", [f"num_layers={os.environ[LAYERS]}"] if LAYERS in os.environ else [])


def prompts(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50257, (batch, PROMPT))


def hugging_face() -> Generate:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = model_config()
    arrays = dict(initial_tensors(config, 0))
    model = GPT2LMHeadModel(GPT2Config(**get_family("gpt2").write_config(config))).eval()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in from_canonical(config, arrays.__getitem__)}
    model.load_state_dict(tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0

    @torch.inference_mode()
    def generate(ids: np.ndarray, new: int) -> np.ndarray:
        tensor = torch.from_numpy(ids)
        return model.generate(tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=new, do_sample=False).numpy()

    return generate


def pytorch(weights: str | None = None) -> Callable[[], Generate]:
    def build() -> Generate:
        from transformer_torch import Transformer, for_inference

        model = Transformer(model_config()).eval()
        if weights is not None:
            for_inference(model, weights)
        return lambda ids, new: model.generate(ids, max_new_tokens=new, eos_token_id=()).numpy()

    return build


def tensorflow() -> Generate:
    from transformer_tf import Transformer

    model = Transformer(model_config())
    return lambda ids, new: model.generate(ids, max_new_tokens=new, eos_token_id=()).numpy()


BUILDERS: dict[str, Callable[[], Generate]] = {
    "Hugging Face, dynamic cache": hugging_face,
    "PyTorch": pytorch(),
    "PyTorch, float32 packed": pytorch("float32"),
    "PyTorch, bf16 packed": pytorch("bf16"),
    "PyTorch, int8": pytorch("int8"),
    "TensorFlow XLA": tensorflow,
}
ROUNDED = ("bf16", "int8")


def serve(name: str) -> None:
    """The worker's side: `tokens BATCH NEW` gives tokens, `time BATCH NEW` seconds, anything else the peak of memory in megabytes."""
    generate = BUILDERS[name]()
    for line in sys.stdin:
        command, *numbers = line.split()
        if command in ("tokens", "time"):
            ids, new = prompts(int(numbers[0])), int(numbers[1])
            began = time.perf_counter()
            tokens = generate(ids, new)
            answer: Any = tokens[:, PROMPT:].tolist() if command == "tokens" else time.perf_counter() - began
        else:
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print("RESULT " + json.dumps(answer), flush=True)


def measure(workers: list[Worker], new: int, rounds: int) -> list[dict[str, Any]]:
    """For each batch and implementation: the same tokens first, which compiles too, then turns."""
    rows: list[dict[str, Any]] = []
    for batch in BATCHES:
        expected = np.array(workers[0].ask(f"tokens {batch} {new}"))
        alike: dict[str, float] = {}
        for worker in workers:
            alike[worker.name] = float((np.array(worker.ask(f"tokens {batch} {new}")) == expected).mean())
            worker.ask(f"tokens {batch} 1")
            if alike[worker.name] < 1.0 and not any(word in worker.name for word in ROUNDED):
                raise SystemExit(
                    f"{worker.name}: {alike[worker.name]:.1%} of the tokens are those of {workers[0].name}; nothing was measured"
                )
        seconds: dict[tuple[str, int], list[float]] = {(worker.name, length): [] for worker in workers for length in (1, new)}
        for turn in range(rounds):
            for worker in workers:
                for length in (1, new):
                    seconds[worker.name, length].append(worker.ask(f"time {batch} {length}"))
            print(f"  batch {batch}: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
        reference = statistics.median(seconds[workers[0].name, new])
        for worker in workers:
            whole, first = (statistics.median(seconds[worker.name, length]) for length in (new, 1))
            row = {"implementation": worker.name, "batch": batch, "seconds": whole, "times_as_fast": reference / whole}
            row |= {"first_token_seconds": first, "step_milliseconds": (whole - first) / max(new - 1, 1) * 1e3}
            rows.append(row | {"same_tokens": alike[worker.name]})
    return rows


def perplexities(run: Path) -> list[dict[str, Any]]:
    """Validation loss of a run on its own text, with its weights as they are and with fewer bits."""
    from configs import load_run_config
    from configs.run import Tokenizer
    from train.evaluate import validate
    from train.objectives import prepare
    from train.run_folder import CONFIG
    from transformer_torch import for_inference, load

    config = load_run_config(run / CONFIG)
    corpus = prepare(config.model_copy(update={"tokenizer": Tokenizer(kind="file", path=str(run))}))
    losses = {"as trained": validate(load(run), corpus)["validation_loss"]}
    losses |= {weights: validate(for_inference(load(run), weights), corpus)["validation_loss"] for weights in ("float32", "bf16", "int8")}
    return [{"weights": weights, "loss": loss, "perplexity": float(np.exp(loss))} for weights, loss in losses.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Greedy generation, GPT-2 124M, 32 + 128 tokens.")
    parser.add_argument("--only", nargs="*", choices=list(BUILDERS), help="implementations; the first one is always measured")
    parser.add_argument("--new", type=int, default=128, help="new tokens")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each implementation takes")
    parser.add_argument("--layers", type=int, help="fewer than GPT-2's 12, to try it out")
    parser.add_argument("--run", type=Path, help="a trained run: what fewer bits cost on its validation data")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.layers:
        os.environ[LAYERS] = str(options.layers)
    if options.serve:
        return serve(options.serve)
    names = [name for index, name in enumerate(BUILDERS) if index == 0 or not options.only or name in options.only]
    workers = [start(MODULE, name) for name in names]
    rows = measure(workers, options.new, options.rounds)
    peaks = {worker.name: worker.ask("peak") for worker in workers}
    for worker in workers:
        worker.process.terminate()
    title = f"Greedy generation, GPT-2 with {model_config().num_layers} layers and random weights, {PROMPT} + {options.new} tokens"
    where = f"{processor()}, {os.cpu_count()} cores"
    print(f"{title}\n{where}\n\n| implementation | batch | all | first token | each after it | times as fast | same tokens | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        row["peak_megabytes"] = peaks[row["implementation"]]
        print(
            f"| {row['implementation']} | {row['batch']} | {row['seconds']:.2f} s | {row['first_token_seconds'] * 1e3:.0f} ms | "
            f"{row['step_milliseconds']:.1f} ms | {row['times_as_fast']:.2f} | {row['same_tokens']:.0%} | {row['peak_megabytes']:,.0f} MB |"
        )
    costs = perplexities(options.run) if options.run else []
    if costs:
        print(f"\n{options.run}, validation data\n\n| weights | loss | perplexity |\n|---|---|---|")
        print("\n".join(f"| {cost['weights']} | {cost['loss']:.4f} | {cost['perplexity']:.2f} |" for cost in costs))
    if not options.layers:
        RESULTS.mkdir(exist_ok=True)
        content = {
            "title": title,
            "hardware": where,
            "command": f"python -m {MODULE}",
            "versions": versions(),
            "rows": rows,
            "costs": costs,
        }
        (RESULTS / "generation.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
