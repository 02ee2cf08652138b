"""What a finished run leaves behind, and what is said about it at the end."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from torch import nn

from configs import RunConfig
from train.checkpoints import whole_weights
from train.evaluate import encode_sources, test
from train.figures import figures, goals_in_words
from train.objectives.corpus import Corpus
from train.plot import plot
from train.run_folder import SUMMARY, RunFolder, write_all_whole, write_whole
from train.tokenization import TextTokenizer
from transformer_torch import Transformer
from weight_mapping import write_json, write_run

SAMPLE_SEED = 0
SAMPLE_TOKENS = 100
SAMPLES = 3


def finish(config: RunConfig, accelerator: Accelerator, corpus: Corpus, run: RunFolder, model: nn.Module, seconds: float) -> None:
    """Make the run's folder complete: weights in canonical form, tokenizer, curves, and at last the summary. Every process calls this."""
    weights = whole_weights(model)
    if accelerator.is_main_process:
        write_all_whole(run.path, lambda folder: write_run(folder, config.model, lambda name: weights[name].numpy()))
        if corpus.tokenizer is not None:
            write_all_whole(run.path, corpus.tokenizer.save)
        tested = test(config, run.path, corpus) if corpus.test else {}
        write_whole(run.path, "loss.png", lambda path: plot([run.path], path))
        summary = summarize(config, accelerator, run.path, seconds) | tested
        write_whole(run.path, SUMMARY, lambda path: write_json(path, summary))
    accelerator.wait_for_everyone()


def summarize(config: RunConfig, accelerator: Accelerator, folder: Path, seconds: float) -> dict[str, Any]:
    """The figures of the run, for people and for programs."""
    precision = str(accelerator.mixed_precision)
    return figures(config, folder, seconds) | {
        "processes": accelerator.num_processes,
        "precision": {"no": "float32"}.get(precision, precision),
        "hardware": hardware(accelerator),
        "torch": torch.__version__,
    }


def hardware(accelerator: Accelerator) -> str:
    """The device in words: the GPU's name, or the processor's with the threads of each process."""
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {psutil.cpu_count(logical=False)} cores, {torch.get_num_threads()} threads a process"


def sample(model: Transformer, corpus: Corpus, prompt: str | None) -> str:
    """What the model can do: a decoder's continuation of the prompt, always drawn with the same random numbers, or an
    encoder-decoder's answers to the first test examples. Nothing of a model that gives classes."""
    tokenizer = corpus.tokenizer
    if tokenizer is None or model.config.head.kind != "language_model":
        return ""
    if model.config.architecture == "encoder_decoder":
        examples = corpus.test[:SAMPLES]
        return "\n".join(
            f"{source}  →  {answer}" for (source, _), answer in zip(examples, answer_each(model, tokenizer, examples), strict=True)
        )
    ids = tokenizer.encode_prompt(prompt or "")[: model.config.max_length - 1]
    new = min(SAMPLE_TOKENS, model.config.max_length - len(ids))
    tokens = model.generate(
        [ids], max_new_tokens=new, do_sample=True, top_k=min(50, model.config.vocab_size), temperature=0.8, seed=SAMPLE_SEED
    )[0]
    return tokenizer.decode([int(token) for token in tokens])


def answer_each(model: Transformer, tokenizer: TextTokenizer, examples: Sequence[tuple[str, str]]) -> list[str]:
    """What an encoder-decoder makes of each source, without any randomness."""
    answers = []
    for ids in encode_sources(tokenizer, [source for source, _ in examples], model.config)[0]:
        tokens = model.generate([ids], max_new_tokens=min(SAMPLE_TOKENS, model.config.max_length - 1))[0]
        answers.append(tokenizer.decode([int(token) for token in tokens], skip_special_tokens=True))
    return answers


def tell(summary: dict[str, Any], text: str, folder: Path) -> None:
    """Print the summary."""
    minutes, seconds = divmod(summary["seconds"], 60)
    print()
    if summary["objective"] in ("causal_lm", "masked_lm", "span_corruption"):
        print(f"validation loss  {summary['validation_loss']:.4f} nats per token, perplexity {summary['perplexity']:.2f}")
    else:
        print(f"validation loss  {summary['validation_loss']:.4f} nats, accuracy {summary['validation_accuracy']:.4f}")
    if "bleu" in summary:
        beams = f"{summary['num_beams']} beams, {summary['averaged_checkpoints']} checkpoints averaged"
        # Of answers of one word there are no four in a row to be counted.
        told = f"BLEU {summary['bleu']:.2f} ({summary['bleu_signature']}), " if summary["reference_tokens"] > summary["examples"] else ""
        print(f"test             {told}{beams}")
        if "bleu_detokenized" in summary:
            print(f"                 BLEU {summary['bleu_detokenized']:.2f} detokenized ({summary['bleu_detokenized_signature']})")
        print(f"                 {summary['exact_match']:.2%} of {summary['examples']:,} answers match exactly")
        if summary.get("sources_cut"):
            print(f"                 {summary['sources_cut']:,} sources are longer than the model's max_length and were cut")
    for name, value in (summary.get("expected") or {}).items():
        if name in summary:
            note = f" ({summary['expected']['note']})" if summary["expected"]["note"] else ""
            print(f"expected         {name} {value:.4f}, difference {summary[name] - value:+.4f}{note}")
    print("".join(f"goal             {line}\n" for line in goals_in_words(summary)), end="")
    print(f"parameters       {summary['parameters']:,}")
    speed = f"{summary['tokens_per_second']:,.0f} tokens/s"
    print(f"trained          {summary['tokens']:,} tokens in {minutes:.0f} min {seconds:.0f} s, {speed}")
    print(f"on               {summary['hardware']}; {summary['processes']} process(es), {summary['precision']}")
    if "mfu" in summary:
        print(f"utilisation      {summary['mfu']:.1%} of the device's peak in matrix products")
    print(f"run              {folder}")
    if text:
        print("sample")
        print("\n".join(f"  | {line}" for line in text.splitlines()))
