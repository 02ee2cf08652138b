"""Continue prompts: `python -m transformer_torch.generate RUN_OR_CHECKPOINT "prompt" key=value`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from configs import run_command
from transformer_torch.inference import for_inference
from transformer_torch.loading import load
from transformer_torch.model import Transformer
from weight_mapping.generate_command import generate_command


def load_on_device(source: Any, dtype: str) -> Transformer:
    """On a GPU if there is one."""
    return load(source, dtype).to("cuda" if torch.cuda.is_available() else "cpu")


def pack(model: Transformer, weights: str) -> Transformer:
    """Back on the CPU, for which weights are packed."""
    return for_inference(model.to("cpu"), weights)


def main(arguments: Sequence[str] | None = None) -> int:
    return generate_command("transformer_torch", load_on_device, arguments, pack)


if __name__ == "__main__":
    run_command(main)
