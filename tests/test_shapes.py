"""Names end in their axes: the models are run with sizes that are all different, and every suffix must bind to one size."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from configs import ModelConfig
from parity.inputs import example_inputs, padded
from weight_mapping import families

ROOT = Path(__file__).parent.parent
SUFFIX = re.compile(r"_([A-Z1]+)$")
# In these functions a letter stands for whatever comes in: any heads, any inputs, any keys.
GENERIC = {
    "rotate": "H",
    "split_heads": "HI",
    "merge_heads": "H",
    "forward": "S",
    "call": "S",
    "key_value": "S",
    "plain_attention": "S",
    "fused_attention": "S",
}
# Windows are held whole: S is the same in all layers.
LONG = 1000
# A check of this many names at least, or the test has lost sight of the models.
ENOUGH = 35


class Checker:
    """Watches every line of a package and binds each letter to the first size that it sees."""

    def __init__(self, package: str) -> None:
        self.folder = str(ROOT / package)
        self.sizes: dict[str, int] = {}
        self.checked: set[tuple[str, str, str]] = set()
        self.wrong: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable | None:
        if not frame.f_code.co_filename.startswith(self.folder):
            return None
        if event in ("line", "return"):
            self.check(frame)
        return self

    def check(self, frame: FrameType) -> None:
        place = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
        local: dict[str, int] = {}
        for name, value in frame.f_locals.items():
            match = SUFFIX.search(name)
            shape = getattr(value, "shape", None)
            if not match or shape is None:
                continue
            letters, shape = match.group(1), tuple(shape)
            if len(letters) != len(shape):
                self.wrong.append(f"{place}: {name} has shape {shape}")
                continue
            self.checked.add((place, name, letters))
            for letter, size in zip(letters, shape, strict=True):
                sizes = local if letter in GENERIC.get(frame.f_code.co_name, "") else self.sizes
                expected = 1 if letter == "1" else sizes.setdefault(letter, size) if size != 1 else 1
                if size not in (1, expected):
                    self.wrong.append(f"{place}: {name} has shape {shape}, and {letter} is {expected}")


def questions(config: ModelConfig) -> list[dict[str, np.ndarray]]:
    """Inputs of one step each: a whole batch, and one with padding; of a decoder alone then two that share a cache."""
    whole = example_inputs(config, 7, 11, decoder_length=11)
    if config.inputs.kind == "patches":
        return [whole]
    if config.architecture != "decoder":
        return [whole, padded(whole, config, "right")]
    ids = whole["input_ids"]
    return [whole, {"input_ids": ids[:, :2]}, {"input_ids": ids[:, 2:], "attention_mask": np.ones_like(ids)}]


def torch_steps(config: ModelConfig, attention: str) -> list[Callable[[], Any]]:
    """The questions, put to a model in PyTorch; the first with its loss."""
    import torch

    from transformer_torch import Transformer, cross_entropy
    from transformer_torch.cache import Cache

    model, (first, *others) = Transformer(config, attention=attention), questions(config)
    cache = Cache(config, 7, config.max_length, torch.float32, torch.device("cpu"), LONG) if config.architecture == "decoder" else None

    def ask(inputs: dict[str, np.ndarray], cache: Any = None) -> torch.Tensor:
        return model(**{name: torch.from_numpy(array) for name, array in inputs.items()}, cache=cache)

    def lose() -> torch.Tensor:
        scores = ask(first)
        return cross_entropy(scores, torch.zeros(scores.shape[:-1], dtype=torch.long)) if scores.ndim == 3 else scores

    return [lose, *(partial(ask, inputs, cache) for inputs in others)]


def tensorflow_steps(config: ModelConfig, attention: str) -> list[Callable[[], Any]]:
    """The same in TensorFlow, where the cache is read whole."""
    import tensorflow as tf

    from transformer_tf import Transformer, cross_entropy
    from transformer_tf.cache import Cache

    model, (first, *others) = Transformer(config, attention=attention), questions(config)
    cache = Cache(config, 7, config.max_length, tf.float32, LONG) if config.architecture == "decoder" else None

    def ask(inputs: dict[str, np.ndarray], cache: Any = None) -> tf.Tensor:
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        if cache is not None and "attention_mask" in inputs:
            tensors["attention_mask"] = tf.ones((7, config.max_length))
        return model(**tensors, cache=cache)

    def lose() -> tf.Tensor:
        scores = ask(first)
        return cross_entropy(scores, tf.zeros(scores.shape[:-1], tf.int64)) if len(scores.shape) == 3 else scores

    return [lose, *(partial(ask, inputs, cache) for inputs in others)]


@pytest.mark.parametrize("family", sorted(families()))
@pytest.mark.parametrize(
    ("package", "attention"), [("transformer_torch", "plain"), ("transformer_torch", "fused"), ("transformer_tf", "plain")]
)
def test_every_suffix_binds_to_one_size(family: str, package: str, attention: str) -> None:
    described = families()[family]
    config = described.read_config({"architectures": [next(iter(described.architectures))], **described.revealing}, family)
    steps = (torch_steps if package == "transformer_torch" else tensorflow_steps)(config, attention)
    checked: set[tuple[str, str, str]] = set()
    for step in steps:
        checker = Checker(package)
        before = sys.gettrace()
        sys.settrace(checker)
        try:
            step()
        finally:
            sys.settrace(before)
        assert not checker.wrong, "\n".join(sorted(set(checker.wrong)))
        checked |= checker.checked
    assert len(checked) >= ENOUGH, sorted(checked)


def test_a_wrong_suffix_is_seen() -> None:
    checker = Checker("tests")

    def wrong() -> None:
        first_BT = np.zeros((3, 5))
        second_TB = np.ones_like(first_BT)
        del second_TB

    sys.settrace(checker)
    try:
        wrong()
    finally:
        sys.settrace(None)
    assert any("second_TB" in line for line in checker.wrong)
