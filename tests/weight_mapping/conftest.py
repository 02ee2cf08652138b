"""Tiny Hugging Face checkpoints, each made once. Every family of the registry takes part by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.parity.rungs import Entry, entries
from weight_mapping import families
from weight_mapping.family import Family


@pytest.fixture(params=sorted(families()))
def family(request: pytest.FixtureRequest) -> Family:
    return families()[request.param]


@pytest.fixture(params=entries(), ids=str)
def entry(request: pytest.FixtureRequest) -> Entry:
    """Each architecture and each variant of each family."""
    return request.param


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function: a family, a type and changes of config.json to the folder of a revealing model. The folder is shared: only read it."""
    made: dict[str, Path] = {}

    def checkpoint_of(
        family: Family, dtype: str = "float32", architecture: str | None = None, variant: str | None = None, **changes: Any
    ) -> Path:
        import torch

        from tests.revealing import hugging_face_model, save_hugging_face

        key = f"{family.name} {dtype} {architecture} {variant} {changes}"
        if key not in made:
            model = hugging_face_model(family, architecture, variant, dtype=getattr(torch, dtype), **changes)
            made[key] = save_hugging_face(model, tmp_path_factory.mktemp(family.name))
        return made[key]

    return checkpoint_of


@pytest.fixture
def folder(family: Family, checkpoint_of: Callable[..., Path]) -> Path:
    """A revealing checkpoint of the family, in float32."""
    return checkpoint_of(family)


@pytest.fixture
def entry_folder(entry: Entry, checkpoint_of: Callable[..., Path]) -> Path:
    """The checkpoint of an entry, in float32."""
    return checkpoint_of(entry.described, architecture=entry.architecture, variant=entry.variant)


@pytest.fixture
def tied(checkpoint_of: Callable[..., Path]) -> Path:
    """A GPT-2, its head tied."""
    return checkpoint_of(families()["gpt2"])


@pytest.fixture
def untied(checkpoint_of: Callable[..., Path]) -> Path:
    """A GPT-2 with a head of its own."""
    return checkpoint_of(families()["gpt2"], tie_word_embeddings=False)
