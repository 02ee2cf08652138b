"""For every family in the registry: a tiny revealing Hugging Face model, saved, and this project's models loaded from the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.huggingface import HuggingFace
from parity.implementation import Implementation
from tests.revealing import hugging_face_model, save_hugging_face
from weight_mapping import Checkpoint, families


@dataclass
class Subject:
    """One family on the ladder."""

    family: str
    folder: Path
    hugging_face: Any

    @cached_property
    def config(self) -> Any:
        with Checkpoint(self.folder) as checkpoint:
            return checkpoint.config

    @cached_property
    def reference(self) -> HuggingFace:
        """Hugging Face in float32."""
        return HuggingFace(self.hugging_face, self.config)

    @cached_property
    def truth(self) -> HuggingFace:
        """Hugging Face in true float64."""
        return HuggingFace(self.hugging_face, self.config, double=True)

    def fresh_truth(self) -> HuggingFace:
        """One that may be trained."""
        return HuggingFace(self.hugging_face, self.config, double=True)

    def ours(self, framework: str, dtype: str, attention: str | None = None) -> Implementation:
        options = {"attention": attention} if attention else {}
        if framework == "torch":
            import transformer_torch
            from parity.pytorch import PyTorch

            return PyTorch(transformer_torch.load(self.folder, dtype=dtype, **options))
        import transformer_tf
        from parity.tensorflow import TensorFlow

        return TensorFlow(transformer_tf.load(self.folder, dtype=dtype, **options))

    def ids(self, batch: int, length: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, self.config.vocab_size, (batch, length))

    def inputs(self, batch: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
        return {"input_ids": self.ids(batch, length, seed)}


@pytest.fixture(scope="session", params=sorted(families()))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    family = families()[request.param]
    model = hugging_face_model(family, seed=1)
    return Subject(family.name, save_hugging_face(model, tmp_path_factory.mktemp(family.name)), model)


@pytest.fixture(params=["torch", "tensorflow"])
def framework(request: pytest.FixtureRequest) -> str:
    return request.param
