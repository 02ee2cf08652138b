"""For every family in the registry: tiny revealing Hugging Face models, saved, and this project's models loaded from the file."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs import ModelConfig
from parity.huggingface import HuggingFace
from parity.inputs import example_inputs, example_labels
from tests.parity.mutations import MUTATIONS
from tests.parity.rungs import Entry, climbs, entries, first_of
from tests.revealing import hugging_face_model, save_hugging_face
from weight_mapping import Checkpoint


@dataclass
class Subject:
    """One model on the ladder. Models are loaded once and shared: ask for fresh ones to change them."""

    entry: Entry
    folder: Path
    hugging_face: Any
    loaded: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @cached_property
    def config(self) -> ModelConfig:
        with Checkpoint(self.folder) as checkpoint:
            return checkpoint.config

    @cached_property
    def reference(self) -> HuggingFace:
        """Hugging Face in float32."""
        return HuggingFace(self.hugging_face, self.config)

    @cached_property
    def truth(self) -> HuggingFace:
        """Hugging Face in true float64."""
        return self.fresh_truth()

    def fresh_truth(self) -> HuggingFace:
        return HuggingFace(self.hugging_face, self.config, double=True)

    def ours(self, framework: str, dtype: str, attention: str | None = None) -> Any:
        key = (framework, dtype, attention)
        if key not in self.loaded:
            self.loaded[key] = self.fresh(framework, dtype, attention)
        return self.loaded[key]

    def fresh(self, framework: str, dtype: str, attention: str | None = None) -> Any:
        options = {"attention": attention} if attention else {}
        if framework == "torch":
            import transformer_torch
            from parity.pytorch import PyTorch

            return PyTorch(transformer_torch.load(self.folder, dtype=dtype, **options))
        import transformer_tf
        from parity.tensorflow import TensorFlow

        return TensorFlow(transformer_tf.load(self.folder, dtype=dtype, **options))

    @property
    def longest(self) -> int:
        """The longest sequence, or, where there is none, one that is far beyond the last bucket of distances."""
        return self.config.longest or min(self.config.max_length, 41)

    @property
    def lengths(self) -> list[tuple[int, int | None]]:
        """To be tried: of a sequence, and of what a decoder says to it where that is not for `example_inputs` to choose."""
        if self.config.inputs.kind == "patches":
            return [(self.longest, None)]
        two_stacks = [(2, 11), (11, 1)] if len(self.config.stacks) == 2 else []
        # An encoder's window reaches half of it to either side: it still acts on a sequence of its own length.
        window = [(self.config.attention.window, None)] if self.config.attention.window else []
        return [(1, None), (2, None), (11, None), (self.longest, self.longest), *two_stacks, *window]

    def inputs(self, batch: int, length: int, seed: int = 0, decoder_length: int | None = None) -> dict[str, np.ndarray]:
        return example_inputs(self.config, batch, length, seed, decoder_length)

    def prompts(self, batch: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
        """What a model generates from, and what an encoder reads: of `inputs` the first alone."""
        name = self.config.inputs.name
        return {name: self.inputs(batch, length, seed)[name]}

    def valid(self, output: np.ndarray, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """What stands for something that is not padding: nothing is promised of the rest."""
        mask = inputs.get("decoder_attention_mask" if "decoder_input_ids" in inputs else "attention_mask")
        if mask is None:
            return output
        if output.ndim == 3:
            return output[mask == 1]
        # Padding at the place of the first token sees the others, unless its window holds padding alone.
        sees_nothing = self.config.pooler and self.config.pooler.kind == "first" and self.config.attention.window
        return output[mask[:, 0] == 1] if sees_nothing else output

    def labels(self, inputs: dict[str, np.ndarray], seed: int = 0) -> np.ndarray:
        return example_labels(self.reference.logits(inputs), inputs, seed)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of a model is collected for the models for which it makes sense, and no others."""
    chosen = any("subject" in str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    if "subject" not in metafunc.fixturenames or chosen:
        return
    if "mutation" in metafunc.fixturenames:
        pairs = [(entry, mutation) for entry in entries() for mutation in MUTATIONS if mutation.applies(entry.config)]
        rung = metafunc.definition.originalname
        pairs = [
            (entry, mutation) for entry, mutation in pairs if climbs(entry, rung) or not mutation.applies(first_of(entry.family).config)
        ]
        metafunc.parametrize(("subject", "mutation"), pairs, indirect=["subject"], ids=[f"{e}-{m}" for e, m in pairs], scope="session")
        return
    climbing = [entry for entry in entries() if climbs(entry, metafunc.definition.originalname)]
    metafunc.parametrize("subject", climbing, indirect=True, ids=str, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of a model in a file come one after the other, so that it is made once. pytest's own order groups by mutations too."""
    places: dict[tuple[Path, str], int] = {}

    def place(item: pytest.Item) -> int:
        """Where the first test of this file with this model stands; of tests without a model, the file's first of these."""
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        return places.setdefault((item.path, str(parameters.get("subject"))), len(places))

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Models this small are done before a second thread has woken up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    entry: Entry = request.param
    model = hugging_face_model(entry.described, entry.architecture, entry.variant, seed=1)
    yield Subject(entry, save_hugging_face(model, tmp_path_factory.mktemp(str(entry))), model)
    # Models and their compiled graphs refer to each other: without this, thousands of them slow down everything.
    gc.collect()


@pytest.fixture(params=["torch", "tensorflow"])
def framework(request: pytest.FixtureRequest) -> str:
    return request.param
