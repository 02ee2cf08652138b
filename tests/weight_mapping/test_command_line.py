"""``python -m weight_mapping``: what a person sees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import UserError
from tests.weight_mapping.folders import assert_same, config_of, tensors_of, write
from weight_mapping import Checkpoint, families
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
    row = ["decoder.layers.2.self_attention.key.weight", "transformer.h.2.attn.c_attn.weight", "20x60", "->"]
    rest = "20x20  F32   transpose, split"
    assert [*row, rest] in table
    parameters = 83 * 20 + 29 * 20 + 3 * (20 * 60 + 60 + 20 * 20 + 20 + 2 * 20 * 37 + 37 + 20 + 4 * 20) + 40
    assert lines[-1] == f"52 canonical tensors from 40 in the file, {parameters:,} parameters"


def test_special_tokens_outside_the_vocabulary_are_left_out(
    checkpoint_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hugging Face's defaults stay in a config.json of another vocabulary, and it only warns."""
    folder = checkpoint_of(families()["gpt2"])
    other = write(tmp_path / "other", tensors_of(folder), config_of(folder) | {"bos_token_id": 50256, "eos_token_id": [2, 50256]})
    assert main(["inspect", str(other)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "note: bos_token_id 50256 is outside the vocabulary of 83, and left out",
        "note: eos_token_id 50256 is outside the vocabulary of 83, and left out",
    ]
    with Checkpoint(other) as checkpoint:
        assert checkpoint.config.special_tokens.model_dump(exclude={"pad"}) == {"bos": None, "eos": (2,), "decoder_start": None}
    assert main(["convert", str(other), str(tmp_path / "run"), "--to", "run"]) == 0


def test_another_head_than_config_json_names(
    checkpoint_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint_of(families()["bert"], architecture="BertModel")
    both = write(tmp_path / "both", tensors_of(folder), config_of(folder) | {"architectures": ["BertForPreTraining"]})
    with pytest.raises(UserError, match="--architecture NAME, or load"):
        main(["inspect", str(both)])
    assert main(["inspect", str(both), "--architecture", "BertModel"]) == 0
    assert main(["convert", str(both), str(tmp_path / "run"), "--to", "run", "--architecture", "BertModel"]) == 0
    with Checkpoint(tmp_path / "run") as run, Checkpoint(folder) as source:
        assert run.config == source.config
    with pytest.raises(UserError, match="architecture='BertModel' is for Hugging Face's folders"):
        main(["inspect", str(tmp_path / "run"), "--architecture", "BertModel"])


def test_the_former_name_of_t5(checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint_of(families()["t5"])
    old = write(tmp_path / "old", tensors_of(folder), config_of(folder) | {"architectures": ["T5WithLMHeadModel"]})
    with Checkpoint(old) as found, Checkpoint(folder) as expected:
        assert found.config == expected.config


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
