"""Files that hold both of CLIP's towers: which one is read, and that both together give CLIP's own scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import transformer_tf
import transformer_torch
from configs import UserError
from parity import tolerances
from parity.__main__ import main as parity
from parity.differences import relative
from parity.pytorch import PyTorch
from parity.tensorflow import TensorFlow
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


def loaded(framework: str, folder: Path, dtype: str = "float32", architecture: str | None = None) -> PyTorch | TensorFlow:
    if framework == "torch":
        return PyTorch(transformer_torch.load(folder, dtype, architecture=architecture))
    return TensorFlow(transformer_tf.load(folder, dtype, architecture=architecture))


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_both_towers_give_the_scores_of_clip(framework: str, both: Path, inputs: dict[str, np.ndarray]) -> None:
    text_BE, image_BE = (
        loaded(framework, both, "float64", architecture).logits({name: array})
        for architecture, (name, array) in zip(TOWERS.values(), inputs.items(), strict=True)
    )
    assert text_BE.shape == (5, 7)
    text_BE, image_BE = (found / np.linalg.norm(found, axis=-1, keepdims=True) for found in (text_BE, image_BE))
    reference = transformers.CLIPModel.from_pretrained(both, dtype=torch.float64)
    with torch.no_grad():
        expected = reference(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits_per_image
    assert relative(reference.logit_scale.exp().item() * image_BE @ text_BE.T, expected.numpy()) < tolerances.FLOAT32


def test_a_file_of_both_is_read_one_tower_at_a_time(both: Path) -> None:
    with pytest.raises(UserError, match=r"model_type 'clip' holds several models.*CLIPTextModelWithProjection, CLIPTextModel, CLIPVision"):
        Checkpoint(both)
    with pytest.raises(UserError, match=r"and 'CLIPTextModl' is none of them; did you mean 'CLIPTextModel'\?"):
        Checkpoint(both, "CLIPTextModl")
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


def text_model(**changes: Any) -> transformers.CLIPTextModelWithProjection:
    model = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**revealing_settings(TEXT, **changes)))
    randomise(model, 0)
    return model.eval()


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize(("end", "kind"), [(2, "highest"), (82, "end"), (5, "end")])
def test_where_a_text_is_read(end: int, kind: str, framework: str, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Old files say 2: at the highest id, of which there may be more than CLIP's own. Where a text has no end, at its first token."""
    # As a word that was added.
    model, ids = text_model(eos_token_id=end, vocab_size=85), inputs["input_ids"].copy()
    ids[1, 4], ids[4] = 84, 7
    folder = save_hugging_face(model, tmp_path / "clip")
    ours = loaded(framework, folder)
    config = ours.model.config
    assert (config.pooler.kind, config.special_tokens.eos) == (kind, (end,))
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).text_embeds.numpy()
    assert relative(ours.logits({"input_ids": ids}), expected) < tolerances.FLOAT32
    (transformer_torch if framework == "torch" else transformer_tf).save(ours.model, tmp_path / "again", to="hf")
    assert config_of(tmp_path / "again")["eos_token_id"] == end


def test_what_cannot_be_written(tmp_path: Path) -> None:
    """Hugging Face takes 2 for a sign, and knows one end."""
    with Checkpoint(save_hugging_face(text_model(), tmp_path / "clip")) as checkpoint:
        for ends, message in (
            ((2,), "has no place for pooler.kind='end': Hugging Face would take 'highest'"),
            ((3, 5), "one place for it"),
        ):
            tokens = checkpoint.config.special_tokens.model_copy(update={"eos": ends})
            with pytest.raises(UserError, match=message):
                TEXT.write_config(checkpoint.config.model_copy(update={"special_tokens": tokens}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eos_token_id": 49407}, "eos_token_id is 49407, where a text is read; expected one id of a vocabulary of 83"),
        ({"eos_token_id": [82, 5]}, r"eos_token_id is \[82, 5\], where a text is read"),
        ({"eos_token_id": None}, "eos_token_id is None, where a text is read"),
        ({"model_type": "clip", "text_config": [1]}, r"text_config is \[1\]; expected the keys and values of a tower"),
        ({"model_type": "clip", "quantization_config": {"quant_method": "awq"}}, "quantization_config is 'awq'"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TEXT.read_config(revealing_settings(TEXT, **changes), "config.json", architecture="CLIPTextModel")


def test_an_end_in_generation_config_moves_nothing(tmp_path: Path) -> None:
    folder = save_hugging_face(text_model(), tmp_path / "clip")
    (folder / "generation_config.json").write_text('{"eos_token_id": 5}', encoding="utf-8")
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.config.special_tokens.eos == (82,)


def test_parity_of_a_tower(both: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for architecture in TOWERS.values():
        assert parity([str(both), "--architecture", architecture]) == 0
    assert "clip_vision" in capfd.readouterr().out
