"""Light to carry: no framework is needed, and no more memory than a tensor or a shard."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest

from configs import load_model_config
from tests.weight_mapping.folders import assert_same, tensors_of
from weight_mapping import Checkpoint, canonical_tensors, convert, initial_tensors, save
from weight_mapping.family import Family
from weight_mapping.files import write_tensors

PROGRAM = """
import sys
for name in ("torch", "tensorflow", "keras", "transformers", "jax"):
    sys.modules[name] = None
from weight_mapping import convert
convert(sys.argv[1], sys.argv[2], "run")
convert(sys.argv[2], sys.argv[3], "hf")
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_any_framework(dtype: str, family: Family, checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    source = checkpoint_of(family, dtype)
    command = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "run"), str(tmp_path / "hf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert_same(tensors_of(tmp_path / "hf"), tensors_of(source))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 22 MB whose largest tensor has 2."""
    folder = tmp_path_factory.mktemp("memory") / "run"
    config = load_model_config("gpt2-mini", ["num_layers=6", "vocab_size=2048"])
    save(folder, config, dict(initial_tensors(config, 0)).__getitem__, "run")
    return folder


class TestMemory:
    """The peak of what Python and NumPy allocate."""

    def sizes(self, run: Path) -> tuple[int, int]:
        with Checkpoint(run) as checkpoint:
            sizes = [4 * prod(tensor.shape) for tensor in canonical_tensors(checkpoint.config)]
        return sum(sizes), max(sizes)

    def test_reading_holds_one_tensor_at_a_time(self, run: Path) -> None:
        whole, largest = self.sizes(run)
        tracemalloc.start()
        with Checkpoint(run) as checkpoint:
            total = sum(float(np.abs(array[:1]).sum()) for _, array in checkpoint.tensors())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total > 0
        assert peak < 2.5 * largest < whole / 3

    def test_writing_holds_one_shard_at_a_time(self, run: Path, tmp_path: Path) -> None:
        whole, largest = self.sizes(run)
        tracemalloc.start()
        with Checkpoint(run) as checkpoint:
            names = [tensor.name for tensor in canonical_tensors(checkpoint.config)]
            write_tensors(tmp_path, ((name, checkpoint.read(name)) for name in names), shard_size=2 * largest)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert_same(tensors_of(tmp_path), tensors_of(run))
        assert peak < 5 * largest < 0.6 * whole

    def test_converting_holds_what_it_writes_once(self, run: Path, tmp_path: Path) -> None:
        """Below the size of a shard (5 GB) all of the new file is in memory, once, and never the old one."""
        whole, largest = self.sizes(run)
        tracemalloc.start()
        convert(run, tmp_path / "hf", "hf")
        convert(tmp_path / "hf", tmp_path / "again", "run")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < whole + 4 * largest
        assert_same(tensors_of(tmp_path / "again"), tensors_of(run))
