"""What is said of a finished run at its end, whichever framework trained it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train.figures import goals_in_words, has_phrases


def tell(summary: dict[str, Any], text: str, folder: Path) -> None:
    """Print the summary."""
    minutes, seconds = divmod(round(summary["seconds"]), 60)
    print()
    if summary["objective"] in ("causal_lm", "masked_lm", "span_corruption"):
        print(f"validation loss  {summary['validation_loss']:.4f} nats per token, perplexity {summary['perplexity']:.2f}")
    else:
        print(f"validation loss  {summary['validation_loss']:.4f} nats, accuracy {summary['validation_accuracy']:.4f}")
    if "bleu" in summary:
        beams = f"{summary['num_beams']} beams, {summary['averaged_checkpoints']} checkpoints averaged"
        told = f"BLEU {summary['bleu']:.2f} ({summary['bleu_signature']}), " if has_phrases(summary) else ""
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
    print(f"trained          {summary['tokens']:,} tokens in {minutes} min {seconds} s, {speed}")
    sharing = "device(s)" if "tensorflow" in summary else "process(es)"
    print(f"on               {summary['hardware']}; {summary['processes']} {sharing}, {summary['precision']}")
    if "mfu" in summary:
        print(f"utilisation      {summary['mfu']:.1%} of the device's peak in matrix products")
    print(f"run              {folder}")
    if text:
        print("sample")
        print("\n".join(f"  | {line}" for line in text.splitlines()))
