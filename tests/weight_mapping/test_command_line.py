"""``python -m weight_mapping``: what a person sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from configs import UserError
from tests.weight_mapping.folders import assert_same, tensors_of
from weight_mapping.__main__ import main


def test_convert_there_and_back(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(folder), str(tmp_path / "run"), "--to", "run"]) == 0
    assert capsys.readouterr().out == f"{len(tensors_of(tmp_path / 'run'))} tensors from {folder} to {tmp_path / 'run'}\n"
    assert main(["convert", str(tmp_path / "run"), str(tmp_path / "hf"), "--to", "hf"]) == 0
    assert_same(tensors_of(tmp_path / "hf"), tensors_of(folder))


def test_inspect_hugging_face(tied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tied)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line.split(maxsplit=4) for line in lines]
    assert lines[0].split("  ")[0] == "canonical name"
    assert table[2] == ["decoder.embeddings.token.weight", "transformer.wte.weight", "83x20", "F32", "same"]
    row = ["decoder.layers.2.self_attention.key.weight", "transformer.h.2.attn.c_attn.weight", "20x60", "F32", "transpose, split"]
    assert row in table
    parameters = 83 * 20 + 29 * 20 + 3 * (20 * 60 + 60 + 20 * 20 + 20 + 2 * 20 * 37 + 37 + 20 + 4 * 20) + 40
    assert lines[-1] == f"52 canonical tensors from 40 in the file, {parameters:,} parameters"


def test_inspect_a_run(tied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["convert", str(tied), str(tmp_path / "run"), "--to", "run"])
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["decoder.embeddings.token.weight", "decoder.embeddings.token.weight", "83x20", "F32", "same"]
    assert "52 canonical tensors from 52 in the file" in lines[-1]


def test_inspect_refuses_what_convert_refuses(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        main(["inspect", str(tmp_path / "nowhere")])


@pytest.mark.parametrize("arguments", [[], ["convert", "a", "b"], ["convert", "a", "b", "--to", "onnx"], ["mend"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m weight_mapping" in capsys.readouterr().err


def test_a_mistake_has_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weight_mapping", "inspect", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}: found neither model.yaml (a run of this project) nor config.json (Hugging Face)\n"
