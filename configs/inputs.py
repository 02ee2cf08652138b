"""The inputs of a model, checked by name before anything is computed, for both frameworks."""

from __future__ import annotations

from typing import Any

from configs.errors import UserError
from configs.model import ModelConfig
from configs.parts import PatchInputs


def check_inputs(config: ModelConfig, **inputs: Any) -> None:
    """Refuse inputs that are missing, and those that this model has no use for. None stands for an input that is not given."""
    given = [name for name, value in inputs.items() if value is not None]
    source = "pixel_values" if isinstance(config.inputs, PatchInputs) else "input_ids"
    known = [source]
    if source == "input_ids":
        known += ["attention_mask", "position_ids", *(["token_type_ids"] if config.embedding.token_types else [])]
    if "decoder" in config.stacks:
        known += ["cache"]
    if config.architecture == "encoder_decoder":
        known += ["encoded", "decoder_input_ids", "decoder_attention_mask"]
        if "decoder_input_ids" not in given:
            raise UserError("an encoder-decoder needs decoder_input_ids: what the decoder has said so far, decoder_start first")
    for name in given:
        if isinstance(inputs[name], list | tuple):
            raise UserError(f"{name} is a {type(inputs[name]).__name__}; give a tensor")
        if name not in known:
            raise UserError(f"this {config.architecture} has no use for {name}; it takes: {', '.join(known)}")
    if source not in given and "encoded" not in given:
        raise UserError(f"{source} is missing; this {config.architecture} takes: {', '.join(known)}")
