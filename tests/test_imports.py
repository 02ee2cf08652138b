"""Who may import whom: configs <- weight_mapping <- transformer_torch | transformer_tf <- train, parity <- tests, benchmarks."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "configs": set(),
    "weight_mapping": {"configs"},
    "transformer_torch": {"configs", "weight_mapping"},
    "transformer_tf": {"configs", "weight_mapping"},
    "train": {"configs", "weight_mapping", "transformer_torch", "transformer_tf"},
    "parity": {"configs", "weight_mapping", "transformer_torch", "transformer_tf"},
}
OURS = {*ALLOWED, "tests", "benchmarks"}
FORBIDDEN = {
    "configs": {"torch", "tensorflow", "keras", "transformers", "safetensors"},
    "weight_mapping": {"torch", "tensorflow", "keras", "transformers"},
    "transformer_torch": {"tensorflow", "keras", "transformers"},
    "transformer_tf": {"torch", "transformers"},
}


def imports(path: Path) -> set[str]:
    """The top-level names of everything that a file imports, anywhere in it. A relative import is none of them, but "."."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_arrow_runs_back(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        found = imports(path)
        assert "." not in found, f"{path}: a relative import, which says not what it takes"
        assert not (found & OURS) - ALLOWED[package] - {package}, path
        assert not found & FORBIDDEN.get(package, set()), path


def test_a_relative_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(
        "def late():\n    from .. import train\n    from ..parity.tolerances import FLOAT64\n", encoding="utf-8"
    )
    assert imports(tmp_path / "file.py") == {"."}


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("transformer_torch", ["tensorflow", "keras", "transformers", "accelerate", "datasets"]),
        ("transformer_tf", ["torch", "transformers", "accelerate", "datasets"]),
    ],
)
def test_each_framework_works_without_the_other(package: str, absent: list[str], tmp_path: Path) -> None:
    """A model is made, saved, loaded and generates in a process where importing the other framework fails."""
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Absent())
import numpy as np
from configs import load_model_config
import {package} as package
config = load_model_config("gpt2-character", ["num_layers=2"])
model = package.Transformer(config, seed=3)
package.save(model, {str(tmp_path / "run")!r})
package.save(package.load({str(tmp_path / "run")!r}), {str(tmp_path / "hf")!r}, to="hf")
ids = package.load({str(tmp_path / "hf")!r}).generate(np.array([[1, 2, 3]]), max_new_tokens=3)
assert tuple(ids.shape) == (1, 6)
assert not any(name in sys.modules for name in {absent!r})
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
