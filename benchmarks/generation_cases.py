"""What `benchmarks.generation` measures: cases as data, and the implementations that run them, all from one Hugging Face folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import UserError, load_model_config, load_run_config
from configs.quiet import quiet
from weight_mapping import convert, initial_tensors, save

WEIGHTS, PROMPTS = "weights", "prompts.npy"


class Model(NamedTuple):
    """generate: prompts (B, T) and settings to tokens (B, new) at the end. readings: how often the model reads on the way."""

    generate: Callable[..., np.ndarray]
    readings: Callable[..., int]


Builder = Callable[[Path], Model]


def hugging_face(dtype: str = "float32", device: str = "cpu") -> Builder:
    def build(folder: Path) -> Model:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        model = getattr(transformers, name).from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()
        start = getattr(model.config, "decoder_start_token_id", None)
        # No end: every text has all its tokens.
        model.generation_config = transformers.GenerationConfig(eos_token_id=None, pad_token_id=0, decoder_start_token_id=start)

        @torch.inference_mode()
        def generate(ids: np.ndarray, **settings: Any) -> np.ndarray:
            tensor = torch.from_numpy(ids).to(device)
            tokens = model.generate(tensor, attention_mask=torch.ones_like(tensor), do_sample=False, **settings)
            found: np.ndarray = tokens.cpu().numpy()
            return found

        def readings(ids: np.ndarray, **settings: Any) -> int:
            calls: list[None] = []
            hook = model.register_forward_pre_hook(lambda *_: calls.append(None))
            generate(ids, **settings)
            hook.remove()
            return len(calls)

        return Model(generate, readings)

    return build


def pytorch(weights: str | None = None, compiled: bool = False) -> Builder:
    def build(folder: Path) -> Model:
        from transformer_torch import for_inference, load

        model = load(folder)
        if weights is not None:
            for_inference(model, weights)
        if compiled:
            model.compile()
        return ours(model)

    return build


# Products with one row become kernels of the compiler's own, which fit what is around them; sums in one kernel; and what does not depend on
# each other in one kernel too.
OPTIONS = {"coordinate_descent_tuning": True, "split_reductions": False, "combo_kernels": True}


def on_gpu(compiled: bool = False) -> Builder:
    def build(folder: Path) -> Model:
        from transformer_torch import load

        model = load(folder, dtype="bfloat16").to("cuda")
        if compiled:
            model.compile(dynamic=False, options=OPTIONS)
        return ours(model, lambda tokens: tokens.cpu().numpy())

    return build


def tensorflow(dtype: str = "float32") -> Builder:
    def build(folder: Path) -> Model:
        with quiet():
            from transformer_tf import load

        return ours(load(folder, dtype=dtype))

    return build


def exported(weights: str = "float32") -> Builder:
    """A LiteRT file for each number of prompts, which another process makes: this one needs no TensorFlow where LiteRT is installed."""

    def build(folder: Path) -> Model:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError:
            import tensorflow as tf

            Interpreter = tf.lite.Interpreter
        opened: dict[int, Any] = {}

        def generate(ids: np.ndarray, max_new_tokens: int, **settings: Any) -> np.ndarray:
            batch, length = ids.shape
            if batch not in opened:
                file = folder / f"{weights}_{batch}.tflite"
                asked = {"max_length": length + max_new_tokens, "eos_token_id": [], **settings}
                command = [sys.executable, "-m", "transformer_tf.export", str(folder), str(file), "--to", "litert", "--weights", weights]
                command += ["--batch-size", str(batch), *(f"{key}={value}" for key, value in asked.items())]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                opened[batch] = Interpreter(str(file), num_threads=os.cpu_count())
            run = opened[batch].get_signature_runner("generate")
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "seed": np.int32(0)}
            found: np.ndarray = run(**given, limit=np.int32(length + max_new_tokens))["tokens"]
            return found[:, : length + max_new_tokens]

        return Model(generate, lambda ids, max_new_tokens, **settings: max_new_tokens)

    return build


def ours(model: Any, read: Callable[[Any], np.ndarray] = lambda tokens: tokens.numpy()) -> Model:
    def generate(ids: np.ndarray, **settings: Any) -> np.ndarray:
        return read(model.generate(ids, eos_token_id=(), **settings))

    return Model(generate, lambda ids, **settings: len(list(model.stream(ids, eos_token_id=(), **settings))))


IMPLEMENTATIONS: dict[str, Builder] = {
    "Hugging Face": hugging_face(),
    "Hugging Face, bf16": hugging_face("bfloat16"),
    "PyTorch": pytorch(),
    "PyTorch compiled": pytorch(compiled=True),
    "PyTorch, float32 packed": pytorch("float32"),
    "PyTorch, bf16 packed": pytorch("bf16"),
    "PyTorch, int8": pytorch("int8"),
    "PyTorch, float32 packed and compiled": pytorch("float32", compiled=True),
    "PyTorch, bf16 packed and compiled": pytorch("bf16", compiled=True),
    "PyTorch, int8 compiled": pytorch("int8", compiled=True),
    "TensorFlow XLA": tensorflow(),
    "TensorFlow XLA, bf16": tensorflow("bfloat16"),
    "LiteRT": exported(),
    "LiteRT, int8": exported("int8"),
    "Hugging Face, bf16 on a GPU": hugging_face("bfloat16", "cuda"),
    "PyTorch, bf16 on a GPU": on_gpu(),
    "PyTorch compiled, bf16 on a GPU": on_gpu(compiled=True),
}
ON_GPU = tuple(name for name in IMPLEMENTATIONS if name.endswith("on a GPU"))
EXPORTED = tuple(name for name in IMPLEMENTATIONS if name.startswith("LiteRT"))
ON_CPU = tuple(name for name in IMPLEMENTATIONS if name not in ON_GPU + EXPORTED)
# The tokens of these may differ: their arithmetic has 8 bits.
ROUNDED = ("bf16", "int8")
FLOAT32 = tuple(name for name in ON_CPU if not any(word in name for word in ROUNDED))


@dataclass(frozen=True)
class Case:
    """A model with random weights, prompts of random tokens, and what is asked for.

    model, changes: a preset and what is other than there. settings: those of `generate`, ours and Hugging Face's. variants: more of them,
    by the names of rows of their own, below the row without. dtype: of the weights in the file.
    """

    title: str
    model: str
    changes: Sequence[str] = ()
    batches: Sequence[int] = (1, 8)
    prompt: int = 32
    new: int = 128
    settings: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    implementations: Sequence[str] = ON_CPU
    dtype: str = "float32"

    def rows(self, only: Sequence[str]) -> list[str]:
        """The implementations to be measured, as "NAME" or "NAME, VARIANT". The first one always is."""
        names = [name for index, name in enumerate(self.implementations) if index == 0 or not only or name in only]
        return [row for name in names for row in (name, *(f"{name}, {variant}" for variant in self.variants))]

    def asked(self, row: str) -> tuple[str, dict[str, Any]]:
        """The implementation of a row, and the settings."""
        name, _, variant = row.rpartition(", ")
        return (name, {**self.settings, **self.variants[variant]}) if variant in self.variants else (row, dict(self.settings))


# Guessed at once where prompts are looked up.
GUESSES = 8
LLAMA = (
    *("num_layers=8", "width=512", "attention.num_heads=8", "attention.num_key_value_heads=2", "feed_forward.width=1408"),
    *("vocab_size=32000", "max_length=1024", "head.tied=false"),
)
MARIAN = (
    *("positions.layout=halves", "attention.bias=[query,key,value,output]", "head.bias=true"),
    # Random vectors as long as the scale makes them are all that is seen: all beams would say one token again and again.
    "embedding.scale=false",
)
CASES = {
    "gpt2": Case("Greedy, GPT-2 124M", "gpt2"),
    "llama": Case("Greedy, Llama 8 x 512, 8 query heads for 2 of keys and values", "llama-character", LLAMA),
    "beam": Case("Beam 4, the base Transformer as Marian", "transformer-base", MARIAN, new=64, settings={"num_beams": 4}),
    "exported": Case("Exported, greedy, GPT-2 124M", "gpt2", implementations=("Hugging Face", "TensorFlow XLA", *EXPORTED)),
    # With so small weights a token depends on the last few, and the text goes round in circles.
    "lookup": Case(
        "Prompt lookup, the same Llama with weights of deviation 0.01, by which its text repeats",
        "llama-character",
        (*LLAMA, "initialization.std=0.01"),
        batches=(1,),
        variants={"lookup": {"prompt_lookup_num_tokens": GUESSES}},
        implementations=FLOAT32,
    ),
    "gpt2_gpu": Case("Greedy, GPT-2 124M in bfloat16 on a GPU", "gpt2", batches=(1,), implementations=ON_GPU, dtype="bfloat16"),
    "llama_gpu": Case("Greedy, Llama 3.2 1B in bfloat16 on a GPU", "llama-3.2-1b", batches=(1,), implementations=ON_GPU, dtype="bfloat16"),
}


def prepare(case: Case, folder: Path, changes: Sequence[str] = ()) -> None:
    """Weights and prompts of a case, for all its implementations. changes: of the model, such as fewer layers."""
    config = load_model_config(case.model, [*case.changes, *changes])
    arrays = {name: array.astype(case.dtype) for name, array in initial_tensors(config, 0)}
    save(folder / WEIGHTS, config, arrays.__getitem__, "hf", dtype=case.dtype)
    np.save(folder / PROMPTS, np.random.default_rng(0).integers(0, config.vocab_size, (max(case.batches), case.prompt)))


def prepare_run(case: Case, folder: Path, run: Path) -> Case:
    """The case with a trained run in the place of its model, and a prompt of the run's validation data: as much as there is room for."""
    from train.evaluate import data_of
    from train.run_folder import CONFIG

    longest = load_run_config(run / CONFIG).model.longest
    # Hugging Face reads its guesses beyond the longest text, too.
    room = case.new if longest is None else longest - case.prompt - GUESSES
    if room < 1:
        raise UserError(f"{run} has room for {longest} tokens, and looking up takes more than {case.prompt + GUESSES}; give another run")
    case = replace(case, title=f"Prompt lookup, {run.name}", new=min(case.new, room))
    convert(run, folder / WEIGHTS, "hf")
    batch = next(iter(data_of(run)[1].validation.batches()))
    np.save(folder / PROMPTS, batch.inputs["input_ids"][: max(case.batches), : case.prompt].astype(np.int64))
    return case
