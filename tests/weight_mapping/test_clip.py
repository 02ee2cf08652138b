"""Files that hold both of CLIP's towers: which one is read, and that both together give CLIP's own scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from configs import UserError
from parity import tolerances
from parity.__main__ import main as parity
from parity.differences import relative
from tests.revealing import randomise, revealing_settings, save_hugging_face
from tests.weight_mapping.folders import config_of, tensors_of, write
from weight_mapping import Checkpoint, families
from weight_mapping.families.clip_text import FAMILY as TEXT

TOWERS = {"clip_text": "CLIPTextModelWithProjection", "clip_vision": "CLIPVisionModelWithProjection"}
# Of towers of two widths, and projections of a third.
SIZES = {"clip_text": {}, "clip_vision": {"hidden_size": 20, "num_hidden_layers": 4, "num_attention_heads": 4}}


def model_of_both() -> transformers.CLIPModel:
    text, vision = (revealing_settings(families()[name], **{**SIZES[name], "projection_dim": 99}) for name in TOWERS)
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=7))
    randomise(model, 0)
    return model.eval()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hugging_face(model_of_both(), tmp_path_factory.mktemp("clip"))


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    """Texts of several lengths as CLIP's tokenizer leaves them: what ends them fills them up too."""
    random = np.random.default_rng(0)
    ids = random.integers(2, 80, (5, 12))
    for row, length in enumerate((3, 12, 7, 2, 9)):
        ids[row, length - 1 :] = 82
    return {"input_ids": ids, "pixel_values": random.standard_normal((4, 2, 12, 12))}


@pytest.mark.parametrize("framework", ["transformer_torch", "transformer_tf"])
def test_both_towers_give_the_scores_of_clip(framework: str, both: Path, inputs: dict[str, np.ndarray]) -> None:
    import importlib

    load = importlib.import_module(framework).load
    texts, images = (load(both, "float64", architecture=architecture) for architecture in TOWERS.values())
    give = torch.from_numpy if framework == "transformer_torch" else np.asarray
    with torch.no_grad():
        text_BE, image_BE = texts(input_ids=give(inputs["input_ids"])), images(pixel_values=give(inputs["pixel_values"]))
    text_BE, image_BE = (np.asarray(found) for found in (text_BE, image_BE))
    assert text_BE.shape == (5, 7)
    text_BE, image_BE = (found / np.linalg.norm(found, axis=-1, keepdims=True) for found in (text_BE, image_BE))
    reference = transformers.CLIPModel.from_pretrained(both, dtype=torch.float64)
    with torch.no_grad():
        expected = reference(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits_per_image
    assert relative(reference.logit_scale.exp().item() * image_BE @ text_BE.T, expected.numpy()) < tolerances.FLOAT32


def test_a_file_of_both_is_read_one_tower_at_a_time(both: Path) -> None:
    with pytest.raises(UserError, match=r"model_type 'clip' holds several models.*CLIPTextModelWithProjection, CLIPTextModel, CLIPVision"):
        Checkpoint(both)
    for family, architecture in TOWERS.items():
        with Checkpoint(both, architecture) as checkpoint:
            checkpoint.check()
            assert (checkpoint.config.family, checkpoint.config.head.width, checkpoint.notes) == (family, 7, [])
        with Checkpoint(both, architecture.removesuffix("WithProjection")) as checkpoint:
            checkpoint.check()
            assert checkpoint.config.head.kind == "none"


def test_a_missing_tensor_of_the_tower_is_missed(both: Path, tmp_path: Path) -> None:
    tensors = tensors_of(both)
    del tensors["text_model.encoder.layers.1.mlp.fc1.weight"]
    folder = write(tmp_path / "damaged", tensors, config_of(both))
    with Checkpoint(folder, "CLIPVisionModel") as checkpoint:
        checkpoint.check()
    with Checkpoint(folder, "CLIPTextModel") as checkpoint, pytest.raises(UserError, match=r"layers\.1\.mlp\.fc1\.weight' .* is missing"):
        checkpoint.check()


def test_old_files_say_it_twice(both: Path) -> None:
    """Hugging Face believes the second, whole."""
    config = config_of(both)
    source: dict[str, Any] = {**config, "text_config": {**config["text_config"], "hidden_act": "relu"}}
    twice = {**source, "text_config_dict": config["text_config"]}
    read, second = (TEXT.read_config(values, "config.json", architecture="CLIPTextModel") for values in (source, twice))
    assert (read.feed_forward.activation, second.feed_forward.activation) == ("relu", "quick_gelu")
    assert transformers.CLIPConfig(**twice).text_config.hidden_act == "quick_gelu"


@pytest.mark.parametrize("end", [2, 82, None])
def test_where_a_text_ends(end: int | None, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Old files say 2, and mean the highest id; without the key it is that of CLIP's vocabulary."""
    from transformer_torch import load

    vocab_size = 49408 if end is None else 83
    settings = {**revealing_settings(TEXT, eos_token_id=end, vocab_size=vocab_size), "bos_token_id": 0}
    if end is None:
        del settings["eos_token_id"]
    model = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**settings)).eval()
    folder = save_hugging_face(model, tmp_path / "clip")
    ids = np.where(inputs["input_ids"] == 82, vocab_size - 1, inputs["input_ids"])
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).text_embeds.numpy()
        found = load(folder)(input_ids=torch.from_numpy(ids)).numpy()
    assert relative(found, expected) < tolerances.FLOAT32


def test_parity_of_a_tower(both: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for architecture in TOWERS.values():
        assert parity([str(both), "--architecture", architecture]) == 0
    assert "clip_vision" in capfd.readouterr().out
