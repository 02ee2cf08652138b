"""Sliding windows in config.json: which layers have one, as `layer_types` or as the older keys tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from configs import ModelConfig, UserError
from weight_mapping.table import Part

# Hugging Face's names of a layer's kind, and our letters.
LETTERS = {"sliding_attention": "w", "full_attention": "f"}
WINDOW = 4096


def windows(
    default: Callable[[Mapping[str, Any]], str], has_switch: bool = False, key: str = "sliding_window", size: int = WINDOW
) -> tuple[Part, Part]:
    """The window and the layers that have it. default: letters of the layers where `layer_types` is left out, to be repeated.

    has_switch: whether `use_sliding_window` turns them on, and is off where it is left out (Qwen). key: where the
    window stands, `size` if it is left out.
    """

    def letters(source: Mapping[str, Any]) -> str:
        types = source.get("layer_types")
        if types and len(types) != (layers := source.get("num_hidden_layers", len(types))):
            raise UserError(f"config.json: layer_types names {len(types)} layers, and num_hidden_layers is {layers}; make them equal")
        if has_switch and not source.get("use_sliding_window"):
            return "f"
        return shortest(types) if types else default(source)

    def read_window(source: Mapping[str, Any]) -> int | None:
        return source.get(key, size) if "w" in letters(source) else None

    def read_letters(source: Mapping[str, Any]) -> str:
        return letters(source) if "w" in letters(source) else "w"

    def write_window(config: ModelConfig) -> dict[str, Any]:
        window = config.attention.window
        # Without a switch, Hugging Face wants a number even where no layer has a window.
        return {"use_sliding_window": window is not None, key: window} if has_switch else {key: window or size}

    return Part("attention.window", read_window, write_window), Part("attention.window_layers", read_letters, write_types)


def write_types(config: ModelConfig) -> dict[str, Any]:
    types = [("full_attention" if config.window_of(layer) is None else "sliding_attention") for layer in range(config.num_layers)]
    return {"layer_types": types}


def shortest(types: list[str]) -> str:
    """The shortest letters that give these types when they are repeated."""
    if unknown := [kind for kind in types if kind not in LETTERS]:
        raise UserError(f"config.json: layer_types has {unknown[0]!r}, which is not built; built: {', '.join(LETTERS)}")
    letters = "".join(LETTERS[kind] for kind in types)
    return next(
        letters[:size]
        for size in range(1, len(letters) + 1)
        if all(letter == letters[index % size] for index, letter in enumerate(letters))
    )
