"""A config that Hugging Face's family has no place for is refused before anything is written, and never bent."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from configs import UserError, load_model_config
from weight_mapping import canonical_tensors, get_family, initial_tensors, save


@pytest.mark.parametrize(
    "override",
    [
        "attention.scale=0.5",
        "embedding.scale=true",
        "attention.head_size=16",
        "attention.num_key_value_heads=2",
        "positions={kind: rotary}",
    ],
)
def test_what_would_be_lost_is_refused(override: str, tmp_path: Path) -> None:
    config = load_model_config("gpt2-character", [override])
    assert canonical_tensors(config)
    with pytest.raises(UserError, match=override.split("=")[0].split(".")[0]):
        save(tmp_path / "exported", config, dict(initial_tensors(config, 0)).__getitem__, "hf")
    assert not list(tmp_path.iterdir())


# The paper's own layout and biases have no place in any class of Hugging Face.
OWN = ("transformer-base", "transformer-big", "transformer-dates", "transformer-tiny")


@pytest.mark.parametrize("preset", sorted(path.stem for path in (Path(configs.__file__).parent / "models").glob("*.yaml")))
def test_the_presets_lose_nothing(preset: str) -> None:
    config = load_model_config(preset)
    if preset in OWN:
        with pytest.raises(UserError, match="Hugging Face has no place for it"):
            get_family(config.family).write_config(config)
        return
    family = get_family(config.family)
    assert family.write_config(config)["model_type"] == family.model_type
