"""The benchmark of generation: every case runs, small, and results of other cases are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.generation import keep
from benchmarks.generation_cases import CASES, IMPLEMENTATIONS, ON_GPU, PROMPTS, ROUNDED, WEIGHTS, prepare

NEW = 3
SMALL = ("num_layers=1", "vocab_size=300", "special_tokens={eos: [0], pad: 1, decoder_start: 1}")


NEEDS_GPU = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
MARKS = {name: NEEDS_GPU for name in CASES if CASES[name].implementations == ON_GPU} | {"exported": (pytest.mark.export,)}


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in CASES])
def test_every_implementation_of_a_case_says_the_same(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    prepare(case, tmp_path, SMALL)
    prompts_BT, expected = np.load(tmp_path / PROMPTS)[:2], None
    for row in case.rows([]):
        implementation, settings = case.asked(row)
        # Compiling takes long, and bf16 changes the type alone.
        if implementation == "TensorFlow XLA, bf16":
            continue
        model = IMPLEMENTATIONS[implementation](tmp_path / WEIGHTS)
        tokens = model.generate(prompts_BT, max_new_tokens=NEW, **settings)[:, -NEW:]
        expected = tokens if expected is None else expected
        assert tokens.shape == expected.shape
        if not any(word in row for word in ROUNDED):
            np.testing.assert_array_equal(tokens, expected)


def test_the_command_prints_a_table_of_a_case() -> None:
    arguments = ["--case", "lookup", "--only", "Hugging Face", "--layers", "1", "--new", "3", "--rounds", "1"]
    found = subprocess.run([sys.executable, "-m", "benchmarks.generation", *arguments], capture_output=True, text=True, check=True)
    rows = [line.split(" | ") for line in found.stdout.splitlines() if line.startswith("| ")]
    assert [row[0].strip("| ") for row in rows[1:]] == ["Hugging Face", "Hugging Face, lookup"]
    assert [row[6] for row in rows[1:]] == ["100%"] * 2


def test_a_case_leaves_the_results_of_others(tmp_path: Path) -> None:
    path = tmp_path / "results" / "generation.json"
    for name, number in (("gpt2", 1), ("beam", 2), ("beam", 3)):
        keep(path, name, {"rows": [number]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"gpt2": {"rows": [1]}, "beam": {"rows": [3]}}
