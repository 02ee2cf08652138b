"""Speculative decoding (Leviathan et al. 2023): what is refused, and guesses from the text itself."""

from __future__ import annotations

from collections.abc import Sequence

from configs.errors import UserError
from configs.generation import GenerationConfig
from configs.model import ModelConfig
from configs.positions import DynamicScaling, RotaryPositions


def check_speculation(generation: GenerationConfig, model: ModelConfig, assistant: ModelConfig | None, batch: int, limit: int) -> None:
    """Refuse guesses where they are not built. limit: tokens of the longest text or source."""
    lookup = generation.prompt_lookup_num_tokens
    if lookup is None and assistant is None:
        return
    asked = "assistant_model" if assistant is not None else f"prompt_lookup_num_tokens={lookup}"
    if lookup is not None and assistant is not None:
        raise UserError(f"prompt_lookup_num_tokens={lookup} and assistant_model both guess tokens; choose one of them")
    for name, count in (("num_beams", generation.num_beams), ("num_return_sequences", generation.num_return_sequences)):
        if count > 1:
            raise UserError(f"{asked} guesses for one text, and {name}={count}; choose one of them")
    if batch > 1:
        raise UserError(f"{asked} guesses for one prompt, and there are {batch}; give them one by one, or leave it out")
    if assistant is not None and (assistant.vocab_size, assistant.architecture) != (model.vocab_size, model.architecture):
        raise UserError(
            f"assistant_model is a {assistant.architecture} with a vocabulary of {assistant.vocab_size}, and the model a "
            f"{model.architecture} with {model.vocab_size}; use one that reads the same ids"
        )
    if assistant is not None and assistant.inputs != model.inputs:
        raise UserError(f"assistant_model reads {assistant.inputs}, and the model {model.inputs}; use one that reads the same")
    if assistant is not None and assistant.longest is not None and limit > assistant.longest:
        raise UserError(f"texts of {limit} tokens exceed assistant_model's max_length of {assistant.longest}; shorten them")
    for config in (model, assistant or model):
        reach = longest_with_guesses(config)
        if reach != config.longest and reach is not None and limit > reach:
            raise UserError(
                f"{asked} guesses no tokens beyond the length that dynamic scaling starts from; shorten the text or leave it out"
            )


def longest_with_guesses(model: ModelConfig) -> int | None:
    """The most tokens that may be read, guesses included; None without a limit."""
    scaling = model.positions.scaling if isinstance(model.positions, RotaryPositions) else None
    if isinstance(scaling, DynamicScaling):
        # Its angles depend on the longest position that is read at once.
        return scaling.original_max_length or model.max_length
    return model.longest


def look_up(tokens: Sequence[int], longest: int, count: int) -> list[int]:
    """`count` tokens that followed the last n tokens of a text where these stood before, as late as possible ("Prompt Lookup Decoding",
    Saxena 2023). n is `longest`, or less where so many stood nowhere before; empty where not even the last one did."""
    for size in range(min(longest, len(tokens) - 1), 0, -1):
        last = tokens[-size:]
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start : start + size] == last:
                following = tokens[start + size :]
                # Where the text runs out, it is taken to go round in a circle.
                return [following[index % len(following)] for index in range(count)]
    return []
