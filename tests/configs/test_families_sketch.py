"""The configs in docs/families.md are real: each is read and validated, so a field that changes cannot leave the page behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs import ModelConfig, load_model_config

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
SKETCHES = dict(re.findall(r"```yaml\n# family: ([^\n]+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
EVERY_FAMILY = (
    *(
        "marian (the preset transformer-base)",
        "marian",
        "bert",
        "roberta",
        "xlm_roberta",
        "distilbert",
        "electra-generator",
        "electra-discriminator",
        "modernbert",
        "vit",
    ),
    *("clip_text", "clip_vision", "gpt2", "opt", "gpt_neox", "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3"),
    *("t5", "t5-v1.1", "bart", "whisper"),
)


def sketch(name: str, folder: Path) -> ModelConfig:
    path = folder / "sketch.yaml"
    path.write_text(f"family: {name.split()[0]}\n{SKETCHES[name]}", encoding="utf-8")
    return load_model_config(path)


@pytest.mark.parametrize("name", SKETCHES)
def test_every_sketch_is_a_model(name: str, tmp_path: Path) -> None:
    assert sketch(name, tmp_path).family == name.split()[0]


def test_no_family_is_left_out() -> None:
    assert set(EVERY_FAMILY) <= set(SKETCHES)


def test_numbers_that_follow_from_others(tmp_path: Path) -> None:
    assert sketch("t5", tmp_path).head.scale == 512**-0.5
    assert sketch("gemma2", tmp_path).attention_scale == 256**-0.5
    assert sketch("gpt_neox", tmp_path).rotary_size == 16
    assert sketch("gpt2", tmp_path) == load_model_config("gpt2")


def test_the_original_transformer_is_its_preset(tmp_path: Path) -> None:
    assert sketch("marian (the preset transformer-base)", tmp_path) == load_model_config("transformer-base")
