"""The inputs of a model, checked by name before anything is computed, for both frameworks."""

from __future__ import annotations

from typing import Any

from configs.errors import UserError
from configs.model import ModelConfig

# Inputs that are integers, and those that are real numbers.
IDS = ("input_ids", "position_ids", "token_type_ids", "decoder_input_ids")
NUMBERS = ("pixel_values", "input_features")
# Inputs of shape (batch, length).
MATRICES = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "decoder_input_ids", "decoder_attention_mask")


def check_inputs(config: ModelConfig, **inputs: Any) -> None:
    """Refuse inputs that are missing, and those that this model has no use for. None stands for an input that is not given."""
    given = [name for name, value in inputs.items() if value is not None]
    source = config.inputs.name
    known = [source]
    if config.inputs.kind == "tokens":
        known += ["attention_mask", "position_ids", *(["token_type_ids"] if config.embedding.token_types else [])]
    # A pooler sees the tokens of one call alone.
    if "decoder" in config.stacks and config.pooler is None:
        known += ["cache"]
    if config.architecture == "encoder_decoder":
        known += ["encoded", "decoder_input_ids", "decoder_attention_mask"]
        if "decoder_input_ids" not in given:
            raise UserError("an encoder-decoder needs decoder_input_ids: what the decoder has said so far, decoder_start first")
    for name in given:
        if isinstance(inputs[name], list | tuple):
            raise UserError(f"{name} is a {type(inputs[name]).__name__}; give a tensor")
        if name not in known:
            raise UserError(f"this {config.architecture} has no use for {name}; it takes, by name: {', '.join(known)}")
        if name in MATRICES and rank_of(inputs[name]) not in (2, None):
            raise UserError(f"{name} has shape {tuple(inputs[name].shape)}; expected (batch, length)")
        dtype = str(getattr(inputs[name], "dtype", ""))
        if name in IDS and "float" in dtype:
            raise UserError(f"{name} are of type {dtype}; expected integers")
        if name in NUMBERS and "int" in dtype:
            raise UserError(f"{name} are of type {dtype}; expected normalized floats")
    if source not in given and "encoded" not in given:
        raise UserError(f"{source} is missing; this {config.architecture} takes: {', '.join(known)}")


def check_labels(logits: Any, labels: Any) -> None:
    """Refuse labels that are no integers, or do not stand one to each row of logits. A size that a graph does not know yet fits."""
    if "float" in (dtype := str(getattr(labels, "dtype", ""))):
        raise UserError(f"labels are of type {dtype}; expected integers")
    if None in (rank_of(logits), rank_of(labels)):
        return
    rows, found = tuple(logits.shape)[:-1], tuple(labels.shape)
    if len(rows) != len(found) or any(None not in pair and pair[0] != pair[1] for pair in zip(rows, found, strict=True)):
        raise UserError(f"labels have shape {found}, and the logits are for {rows}; give one label for each")


def rank_of(tensor: Any) -> int | None:
    """How many axes it has; None where that is not known, as in a graph that is being made."""
    shape: Any = getattr(tensor, "shape", None)
    if shape is None or hasattr(shape, "rank"):
        return getattr(shape, "rank", None)
    return len(shape)
