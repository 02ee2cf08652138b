"""Continue prompts: `python -m transformer_torch.generate RUN_OR_CHECKPOINT "prompt" key=value`."""

from __future__ import annotations

from collections.abc import Sequence

from configs import run_command
from transformer_torch.inference import for_inference
from transformer_torch.loading import load_on_device as load
from transformer_torch.model import Transformer
from weight_mapping.generate_command import generate_command


def pack(model: Transformer, weights: str) -> Transformer:
    """Back on the CPU, for which weights are packed."""
    return for_inference(model.to("cpu"), weights)


def main(arguments: Sequence[str] | None = None) -> int:
    return generate_command("transformer_torch", load, arguments, pack)


if __name__ == "__main__":
    run_command(main)
