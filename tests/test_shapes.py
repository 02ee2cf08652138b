"""Names end in their axes: the models run with sizes that are all different, and every suffix must bind to one size.

A letter stands for what the legend at the head of its file says, the same in all files: what stands in brackets says more of it, and
no more than that. docs/reading.md has them all.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from configs import ModelConfig, build
from parity.inputs import example_inputs, padded
from tests.transformer_torch.test_cuda_graphs import record_on_cpu
from weight_mapping import families

ROOT = Path(__file__).parent.parent
PACKAGES = ("transformer_torch", "transformer_tf")
NAME = re.compile(r"^[a-z]\w*_([A-Z1]+)$")
MEANING = re.compile(r"^([A-Z])(?: and ([A-Z]))? (.+?)(?: \([^()]*\))?$")
ROW = re.compile(r"^\| `([A-Z])` \| ([^|(]+?) (?:\([^|]*\) )?\|", re.MULTILINE)
# In these files a letter stands for whatever comes in (any heads, any inputs, any keys): it has one size at a time.
FREE = {
    "attention.py": "HIS",
    "cache.py": "NS",
    "embeddings.py": "S",
    "generation_beams.py": "I",
    "generation_processors.py": "NZ",
    "layers.py": "S",
    "linear.py": "T",
    "masks.py": "BHTS",
    "positions.py": "HS",
}
# As many as are guessed, or fewer; and keys, of which the values come a line later.
AT_MOST = {"generation_speculative.py": "MT", "cache.py": "S"}
# What `pick` picks from may be anything along any axis, `forbid` may forbid the same in all rows, and places are those that are filled.
ANYTHING = {"values_BI", "index_BO", "forbidden_RV", "place_N"}
# Names of something else than what the legend says of their letter: the keys of an encoder's, and places for keys that may still come.
OTHERS = {
    "encoded_BSD": "encoder length",
    "encoder_mask_BS": "encoder length",
    "encoder_mask_B11S": "encoder length",
    "encoder_mask_RS": "encoder length",
    "attention_mask_BS": "room",
}
# Names whose axes may have one entry that stands for all.
BROADCAST = {
    "position_ids_BT": "B",
    "positions_BT": "B",
    "ids_BT": "B",
    "cosines_B1TJ": "B",
    "sines_B1TJ": "B",
    "angles_B1TJ": "B",
    "mask_BHTS": "BHT",
    "mask_B1TS": "BT",
    "bias_BHTS": "B",
    "first_BHTS": "BHT",
    "second_BHTS": "BHT",
}
# Meanings that are one size at a time: where there are two stacks, or texts grow; and where a prompt has several rows.
LENGTHS = ("query length", "key length", "new tokens")
ROWS = ("batch", "rows")
# Windows are held whole: S is the same in all layers.
LONG = 1000


path_of = cache(Path)


@cache
def legend(path: Path) -> dict[str, str]:
    """What each letter stands for, by the text at the head of a file."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    meanings = {}
    for part in re.split(r"[,.](?: |$)", text):
        if match := MEANING.match(part):
            meanings |= {letter: match.group(3) for letter in match.groups()[:2] if letter}
    return meanings


@cache
def names_of(path: Path) -> set[str]:
    """All names that a file gives to something, and that end in their axes."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name | ast.arg):
            found.add(node.id if isinstance(node, ast.Name) else node.arg)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    return {name for name in found if NAME.match(name)}


class Checker:
    """Watches every line of a package and binds each letter to the first size that it sees. growing: meanings that are one size at a
    time, as the lengths of texts that grow."""

    def __init__(self, package: str, growing: tuple[str, ...] = ()) -> None:
        self.folder = str(ROOT / package)
        self.growing = growing
        self.sizes: dict[tuple[str, str], int] = {}
        self.seen: set[tuple[str, str]] = set()
        self.wrong: set[str] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable | None:
        if not frame.f_code.co_filename.startswith(self.folder):
            return None
        if event in ("line", "return"):
            self.check(path_of(frame.f_code.co_filename), frame.f_code.co_name, list(frame.f_locals.items()))
        return self

    def check(self, path: Path, place: str, values: list[tuple[str, Any]], local: dict[tuple[str, str], int] | None = None) -> None:
        local = {} if local is None else local
        for name, value in values:
            if isinstance(value, tuple) and hasattr(value, "_fields"):
                self.check(path_of(sys.modules[type(value).__module__].__file__ or ""), type(value).__name__, list(value._asdict().items()))
            elif name == "self":
                self.check(path, place, list(vars(value).items()), local)
            elif (match := NAME.match(name)) and hasattr(value, "shape"):
                self.compare(path, place, name, match.group(1), tuple(value.shape), local)

    def compare(self, path: Path, place: str, name: str, letters: str, shape: tuple[int, ...], local: dict[tuple[str, str], int]) -> None:
        self.seen.add((path.name, name))
        if name in ANYTHING:
            return
        what = f"{path.name}:{place}: {name} has shape {shape}"
        if len(letters) != len(shape):
            self.wrong.add(what)
            return
        for letter, size in zip(letters, shape, strict=True):
            if letter in AT_MOST.get(path.name, "") or (size == 1 and letter in BROADCAST.get(name, "")):
                continue
            meaning = OTHERS[name] if letter == "S" and name in OTHERS else legend(path).get(letter, letter)
            passes = meaning in ("room", *self.growing) or (letter in FREE.get(path.name, "") and name not in OTHERS)
            sizes = local if passes else self.sizes
            expected = 1 if letter == "1" else sizes.setdefault((letter, meaning), size)
            if size != expected:
                self.wrong.add(f"{what}, and {letter} is {expected}")


@contextmanager
def watched(checker: Checker) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(checker)
    try:
        yield
    finally:
        sys.settrace(before)
    assert not checker.wrong, "\n".join(sorted(checker.wrong))


def config_of(family: str, architecture: str | None = None, changes: dict[str, Any] | None = None, **settings: Any) -> ModelConfig:
    """The family's revealing config. changes: of its groups of fields. settings: other keys of config.json."""
    described = families()[family]
    architecture = architecture or next(iter(described.architectures))
    config = described.read_config({"architectures": [architecture], **described.revealing, **settings}, family)
    return build(type(config), config.model_dump() | (changes or {}), family)


def has_cache(config: ModelConfig) -> bool:
    return config.architecture == "decoder" and config.pooler is None


def questions(config: ModelConfig) -> list[dict[str, np.ndarray]]:
    """Inputs of one step each: a whole batch, and one with padding; of a decoder alone then two that share a cache."""
    whole = example_inputs(config, 7, 11, decoder_length=9)
    if config.inputs.kind == "patches":
        return [whole]
    if not has_cache(config):
        return [whole, padded(whole, config, "right")]
    ids = whole["input_ids"]
    return [whole, {"input_ids": ids[:, :2]}, {"input_ids": ids[:, 2:], "attention_mask": np.ones_like(ids)}]


def torch_steps(config: ModelConfig, attention: str, ahead: int = LONG) -> list[Callable[[], Any]]:
    """The questions, put to a model in PyTorch; the first with its loss."""
    import torch

    from transformer_torch import Transformer, cross_entropy
    from transformer_torch.cache import Cache
    from transformer_torch.losses import disagreement

    model, (first, *others) = Transformer(config, attention=attention), questions(config)
    cache = Cache(config, 7, config.max_length, torch.float32, torch.device("cpu"), ahead) if has_cache(config) else None

    def ask(inputs: dict[str, np.ndarray], cache: Any = None) -> torch.Tensor:
        return model(**{name: torch.from_numpy(array) for name, array in inputs.items()}, cache=cache)

    def lose() -> torch.Tensor:
        scores = ask(first)
        if scores.ndim != 3:
            return scores
        labels = torch.zeros(scores.shape[:-1], dtype=torch.long)
        loss = cross_entropy(scores, labels, label_smoothing=0.1) + disagreement(scores, scores + 1.0, labels)
        loss.backward()
        return loss

    return [lose, *(partial(ask, inputs, cache) for inputs in others)]


def tensorflow_steps(config: ModelConfig, attention: str, ahead: int = LONG) -> list[Callable[[], Any]]:
    """The same in TensorFlow, where the cache is read whole."""
    import tensorflow as tf

    from transformer_tf import Transformer, cross_entropy
    from transformer_tf.cache import Cache
    from transformer_tf.losses import disagreement

    model, (first, *others) = Transformer(config, attention=attention), questions(config)
    cache = Cache(config, 7, config.max_length, tf.float32, ahead) if has_cache(config) else None

    def ask(inputs: dict[str, np.ndarray], cache: Any = None) -> tf.Tensor:
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        if cache is not None and "attention_mask" in inputs:
            tensors["attention_mask"] = tf.ones((7, config.max_length))
        return model(**tensors, cache=cache)

    def lose() -> tf.Tensor:
        scores = ask(first)
        if len(scores.shape) != 3:
            return scores
        labels = tf.zeros(scores.shape[:-1], tf.int64)
        return cross_entropy(scores, labels, 0.1) + disagreement(scores, scores + 1.0, labels)

    return [lose, *(partial(ask, inputs, cache) for inputs in others)]


def steps_of(package: str, *arguments: Any) -> list[Callable[[], Any]]:
    return (torch_steps if package == "transformer_torch" else tensorflow_steps)(*arguments)


@pytest.mark.parametrize("family", sorted(families()))
@pytest.mark.parametrize(
    ("package", "attention"), [("transformer_torch", "plain"), ("transformer_torch", "fused"), ("transformer_tf", "plain")]
)
def test_every_suffix_binds_to_one_size(family: str, package: str, attention: str) -> None:
    config = config_of(family)
    for step in steps_of(package, config, attention):
        checker = Checker(package, LENGTHS if len(config.stacks) == 2 else ())
        with watched(checker):
            step()


WORDS = {
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 3,
    "bad_words_ids": [[3], [6, 7]],
    "min_new_tokens": 2,
    "forced_eos_token_id": 2,
}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": WORDS,
    "beams": {"num_beams": 3, "num_return_sequences": 2, "forced_bos_token_id": 5},
    "sampling": {"do_sample": True, "num_return_sequences": 2, "top_k": 40, "top_p": 0.9, "min_p": 0.001, "typical_p": 0.9},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    "prompt lookup, drawn": {"prompt_lookup_num_tokens": 3, "do_sample": True},
    "assistant": {"num_assistant_tokens": 3, "do_sample": True},
}


def search(package: str, config: ModelConfig, name: str) -> Callable[[], Any]:
    """Five new tokens behind seven prompts of eight, with padding and without; guesses are made for one prompt."""
    module, guesses = importlib.import_module(package), "lookup" in name or name == "assistant"
    model = module.Transformer(config)
    helper = {"assistant_model": module.Transformer(config, seed=1)} if name == "assistant" else {}
    ids = example_inputs(config, 1 if guesses else 7, 8)["input_ids"]
    repeated = {"input_ids": np.tile(ids[:, :2], 4), "attention_mask": np.ones_like(ids)}
    inputs = repeated if guesses else padded({"input_ids": ids}, config, "left")
    settings = {**SEARCHES[name], "max_new_tokens": 5, "eos_token_id": (2,), "pad_token_id": 0}
    return lambda: model.generate(**inputs, **helper, **settings)


def everything(package: str) -> Iterator[tuple[tuple[str, ...], Callable[[], Any]]]:
    """Steps that between them run every line that names a tensor, and for each the meanings that are one size at a time."""
    gpt2 = config_of("gpt2")
    for name in SEARCHES:
        yield (*LENGTHS, *ROWS), search(package, gpt2, name)
    yield (*LENGTHS, *ROWS), search(package, config_of("marian"), "beams")
    configs = [config_of(family) for family in ("t5", "mixtral", "modernbert", "roberta", "electra", "vit", "whisper", "clip_text")]
    configs.append(config_of("llama", **{**families()["llama"].variants["dynamic"], "max_position_embeddings": 13}))
    configs += [config_of("gpt2", "GPT2Model", {"pooler": {"kind": kind}}) for kind in ("first", "last", "mean")]
    for config in configs:
        for step in steps_of(package, config, "plain"):
            yield LENGTHS if len(config.stacks) == 2 else (), step
    # A window that rolls.
    for step in steps_of(package, config_of("mistral"), "plain", 1):
        yield (), step
    if package == "transformer_torch":
        import torch

        import transformer_torch
        from transformer_torch.generation_ahead import best_of_parts

        # One token of grouped queries in the fused kernel.
        grouped = transformer_torch.Transformer(config_of("llama"))
        yield (*LENGTHS, *ROWS), lambda: grouped.generate([[3, 4, 5]], max_new_tokens=3, eos_token_id=())
        packed, compiled, recording = (transformer_torch.Transformer(gpt2) for _ in range(3))
        yield (), lambda: transformer_torch.for_inference(packed)
        # Only what is around the program is seen.
        compiled.compile(backend="eager")
        ids = example_inputs(gpt2, 7, 8)["input_ids"]
        yield (*LENGTHS, *ROWS), lambda: compiled.generate(ids, max_new_tokens=3, eos_token_id=())
        record_on_cpu(recording)
        # Choices that are recorded with their step, and those that are not.
        for settings in ({}, {"repetition_penalty": 2.0}):
            yield (*LENGTHS, *ROWS), partial(recording.generate, ids, max_new_tokens=3, eos_token_id=(), **settings)
        yield (), lambda: best_of_parts(torch.arange(14.0).view(2, 7), 3)
    else:
        for config, settings in ((gpt2, {"do_sample": True}), (config_of("marian"), {"num_beams": 3})):
            yield (*LENGTHS, *ROWS), graph(config, settings)


def graph(config: ModelConfig, settings: dict[str, Any]) -> Callable[[], Any]:
    """All of a search in one function of TensorFlow's, called as it is written."""
    import tensorflow as tf

    from transformer_tf import Transformer, generation_graph

    generate = generation_graph(Transformer(config), 7, 13, eos_token_id=2, pad_token_id=0, **settings)
    ids_BT = tf.constant(example_inputs(config, 7, 8)["input_ids"])
    return lambda: generate(ids_BT, tf.ones_like(ids_BT), tf.constant(13), tf.constant(0))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_seen_and_binds_to_one_size(package: str) -> None:
    """Searches too, which TensorFlow does step by step here: inside of a graph no tensor has a size."""
    import tensorflow as tf

    seen: set[tuple[str, str]] = set()
    tf.config.run_functions_eagerly(True)
    try:
        for growing, step in everything(package):
            checker = Checker(package, growing)
            with watched(checker):
                step()
            seen |= checker.seen
    finally:
        tf.config.run_functions_eagerly(False)
    unseen = {(path.name, name) for path in (ROOT / package).glob("*.py") for name in names_of(path)} - seen
    assert not unseen, "the steps of this test see nothing of these names"


@pytest.mark.parametrize(
    "path",
    [path for package in (*PACKAGES, "configs") for path in sorted((ROOT / package).glob("*.py"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_each_letter_stands_in_the_legend_of_its_file(path: Path) -> None:
    used = {letter for name in names_of(path) for letter in name.rpartition("_")[2]} - {"1"}
    assert used <= set(legend(path)), "the head of the file does not say what these letters stand for"


def test_a_letter_means_the_same_in_all_files() -> None:
    """And the table in docs/reading.md says it, and has no other letters."""
    said = dict(ROW.findall((ROOT / "docs" / "reading.md").read_text(encoding="utf-8")))
    files = [*(path for package in PACKAGES for path in (ROOT / package).glob("*.py")), *(ROOT / "configs").glob("*.py")]
    letters = {path: legend(path) for path in files}
    wrong = [
        f"{path.relative_to(ROOT)}: {letter} {meaning}, and docs/reading.md has {said.get(letter)!r}"
        for path, meanings in letters.items()
        for letter, meaning in meanings.items()
        if meaning != said.get(letter)
    ]
    assert not wrong, "\n".join(wrong)
    assert set(said) == {letter for meanings in letters.values() for letter in meanings}


@pytest.mark.parametrize("wrong", ["second_TB = first_BT", "second_BTD = first_BT", "second_BS = first_BT[:, :1]", "second_T1 = first_BT"])
def test_a_wrong_suffix_is_seen(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(
        f'"""B batch, T length, S length of keys, D width."""\n\nfirst_BT, key_S = FIRST, KEY\n{wrong}\n', encoding="utf-8"
    )
    checker = Checker(str(tmp_path))
    program = compile((tmp_path / "file.py").read_text(encoding="utf-8"), str(tmp_path / "file.py"), "exec")
    with pytest.raises(AssertionError, match="second_"), watched(checker):
        exec(program, {"FIRST": np.zeros((3, 5)), "KEY": np.zeros(4)}, {})


def test_letters_are_read_from_the_legend() -> None:
    found = legend(ROOT / "transformer_torch" / "linear.py")
    assert (found["Y"], found["X"]) == ("image height", "image width")
    assert found["P"] == "patches"
    ends = legend(ROOT / "transformer_torch" / "generation_ends.py")
    assert ends == {"A": "states of the automaton", "V": "vocabulary", "R": "rows"}
    assert legend(ROOT / "transformer_torch" / "attention.py")["I"] == "axes joined into one"
