"""Every preset and every run that ships is valid, and says what its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

import configs
from configs import ModelConfig, dump, load_model_config, load_run_config

FOLDER = Path(configs.__file__).parent
MODELS = sorted(path.stem for path in (FOLDER / "models").glob("*.yaml"))
RUNS = sorted((FOLDER / "runs").rglob("*.yaml"))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_preset_loads(name: str) -> None:
    assert isinstance(load_model_config(name), ModelConfig)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_run_loads_and_is_named_after_its_file(path: Path) -> None:
    assert load_run_config(path).name == path.stem


@pytest.mark.parametrize("name", MODELS)
def test_a_model_survives_being_written_and_read(name: str, tmp_path: Path) -> None:
    config = load_model_config(name)
    dump(config, tmp_path / "model.yaml")
    assert load_model_config(tmp_path / "model.yaml") == config


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_run_survives_being_written_and_read(path: Path, tmp_path: Path) -> None:
    config = load_run_config(path, ["model.dropout=0.25", "optimizer.learning_rate=3e-4"])
    dump(config, tmp_path / "run.yaml")
    assert load_run_config(tmp_path / "run.yaml") == config


def test_gpt2_is_gpt2() -> None:
    config = load_model_config("gpt2")
    assert (config.width, config.num_layers, config.attention.num_heads, config.head_size) == (768, 12, 12, 64)
    assert config.attention_scale == 64**-0.5
    assert config.num_key_value_heads == 12
    assert config.head.tied


def test_a_config_is_frozen() -> None:
    config = load_model_config("gpt2")
    with pytest.raises(ValidationError, match="frozen"):
        config.width = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.attention.num_heads = 3
