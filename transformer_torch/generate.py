"""Continue prompts: `python -m transformer_torch.generate RUN_OR_CHECKPOINT "prompt" key=value`."""

from __future__ import annotations

from collections.abc import Sequence

from configs import run_command
from transformer_torch.inference import for_inference
from transformer_torch.loading import load
from weight_mapping.generate_command import generate_command


def main(arguments: Sequence[str] | None = None) -> int:
    return generate_command("transformer_torch", load, arguments, for_inference)


if __name__ == "__main__":
    run_command(main)
