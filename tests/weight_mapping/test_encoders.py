"""BERT's kin as their files are: old names, several heads in one, base models without a pooler, both dialects of config.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import transformer_torch
from parity import tolerances
from parity.differences import relative
from parity.huggingface import HuggingFace
from parity.inputs import example_inputs, padded
from parity.pytorch import PyTorch
from tests.revealing import hugging_face_model, save_hugging_face
from tests.weight_mapping.folders import assert_same, config_of, refused, tensors_of, write
from weight_mapping import Checkpoint, convert, families

CheckpointOf = Callable[..., Path]


def agrees(folder: Path, model: Any, architecture: str | None = None) -> None:
    """Ours, read from the folder, gives what `model` gives in true float64."""
    ours = PyTorch(transformer_torch.load(folder, "float64", architecture=architecture))
    config = ours.model.config
    inputs = padded(example_inputs(config, 3, 11), config, "right")
    truth = HuggingFace(model, config, double=True)
    if config.pooler is None and config.head.kind == "none":
        found, expected = (side.hidden_states(inputs)[f"encoder.layers.{config.num_layers - 1}"] for side in (ours, truth))
    else:
        found, expected = ours.logits(inputs), truth.logits(inputs)
    seen = inputs["attention_mask"] == 1 if found.ndim == 3 else slice(None)
    assert relative(found[seen], expected[seen]) < tolerances.FLOAT64


class TestBert:
    @pytest.fixture
    def masked(self, checkpoint_of: CheckpointOf) -> Path:
        return checkpoint_of(families()["bert"])

    def test_gamma_and_beta(self, masked: Path, tmp_path: Path) -> None:
        tensors = tensors_of(masked)
        old = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): array for name, array in tensors.items()}
        assert len(set(old) - set(tensors)) == 16
        folder = write(tmp_path / "old", old, config_of(masked))
        convert(folder, tmp_path / "run", "run")
        convert(tmp_path / "run", tmp_path / "hf", "hf")
        assert_same(tensors_of(tmp_path / "hf"), tensors)

    @pytest.fixture
    def pretrained(self, tmp_path: Path) -> tuple[Any, Path]:
        """As bert-base-uncased is: both heads of the pretraining, the pooler, the tied tensors too, a buffer, and BertForMaskedLM."""
        family = families()["bert"]
        model = hugging_face_model(family)
        both = transformers.BertForPreTraining(model.config).eval()
        both.load_state_dict({name: torch.randn(tensor.shape) * 0.3 for name, tensor in both.state_dict().items()})
        both.tie_weights()
        tensors = {name: tensor.numpy() for name, tensor in both.state_dict().items()}
        tensors["bert.embeddings.position_ids"] = np.arange(29)[None]
        config = {**config_of(save_hugging_face(model, tmp_path / "masked")), "architectures": ["BertForMaskedLM"]}
        return both, write(tmp_path / "pretrained", tensors, config)

    @pytest.mark.parametrize("architecture", ["BertForMaskedLM", "BertModel", "BertForNextSentencePrediction"])
    def test_several_heads_in_one_file(self, pretrained: tuple[Any, Path], architecture: str) -> None:
        both, folder = pretrained
        alone = getattr(transformers, architecture)(both.config).eval()
        kept = both.bert.state_dict() if architecture == "BertModel" else both.state_dict()
        missing, _ = alone.load_state_dict(kept, strict=False)
        assert not missing
        agrees(folder, alone, architecture)

    def test_both_heads_at_once_are_read_as_either(self, pretrained: tuple[Any, Path], tmp_path: Path) -> None:
        _, folder = pretrained
        other = write(tmp_path / "both", tensors_of(folder), {**config_of(folder), "architectures": ["BertForPreTraining"]})
        message = refused(lambda: Checkpoint(other))
        assert "'BertForPreTraining' is not built" in message
        assert "architecture=" in message
        Checkpoint(other, "BertForMaskedLM").check()

    def test_a_head_that_the_file_has_not(self, masked: Path) -> None:
        message = refused(lambda: Checkpoint(masked, "BertForNextSentencePrediction").check())
        assert "'bert.pooler.dense.weight' of shape [30, 30] is missing" in message

    def test_a_tied_bias_that_differs(self, pretrained: tuple[Any, Path], tmp_path: Path) -> None:
        _, folder = pretrained
        tensors = tensors_of(folder)
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.decoder.bias"] + 1
        other = write(tmp_path / "other", tensors, config_of(folder))
        assert "cls.predictions.decoder.bias differs from cls.predictions.bias" in refused(lambda: Checkpoint(other).check())

    @pytest.mark.parametrize("prefix", ["", "bert."])
    def test_a_base_model_without_a_pooler(self, checkpoint_of: CheckpointOf, tmp_path: Path, prefix: str) -> None:
        """As sentence-transformers saves it; config.json is the same with and without."""
        source = checkpoint_of(families()["bert"], architecture="BertModel")
        model = transformers.BertModel.from_pretrained(source)
        tensors = {name: array for name, array in tensors_of(source).items() if "pooler" not in name}
        folder = write(tmp_path / "bare", {prefix + name: array for name, array in tensors.items()}, config_of(source))
        agrees(folder, model)
        with Checkpoint(folder) as bare, Checkpoint(source) as whole:
            assert (bare.config.pooler, bare.config) == (None, whole.config.model_copy(update={"pooler": None}))
        convert(folder, tmp_path / "run", "run")
        convert(tmp_path / "run", tmp_path / "hf", "hf")
        assert_same(tensors_of(tmp_path / "hf"), tensors)
        assert config_of(tmp_path / "hf")["architectures"] == ["BertModel"]

    @pytest.mark.parametrize("family", ["bert", "roberta"])
    def test_an_untied_head(self, family: str, tmp_path: Path) -> None:
        """Hugging Face 5 keeps two biases apart then, and reads one: so do we, and write that alone."""
        model = hugging_face_model(families()[family], tie_word_embeddings=False)
        folder = save_hugging_face(model, tmp_path / "untied")
        agrees(folder, model)
        convert(folder, tmp_path / "run", "run")
        convert(tmp_path / "run", tmp_path / "hf", "hf")
        again, report = type(model).from_pretrained(tmp_path / "hf", output_loading_info=True)
        assert [name.rpartition(".")[2] for name in report["missing_keys"]] == ["bias"]
        assert not any(report[problem] for problem in ("unexpected_keys", "mismatched_keys", "error_msgs"))
        agrees(folder, again)

    def test_labels_keep_their_names(self, tmp_path: Path) -> None:
        names = {0: "low", 1: "middle", 2: "high"}
        settings = {"id2label": names, "label2id": {name: label for label, name in names.items()}}
        model = hugging_face_model(families()["bert"], "BertForSequenceClassification", num_labels=3, **settings)
        folder = save_hugging_face(model, tmp_path / "labelled")
        convert(folder, tmp_path / "run", "run")
        convert(tmp_path / "run", tmp_path / "hf", "hf")
        with Checkpoint(tmp_path / "run") as run:
            assert run.config.head.labels == ("low", "middle", "high")
        assert config_of(tmp_path / "hf")["id2label"] == {"0": "low", "1": "middle", "2": "high"}


def test_robertas_table_of_positions_is_longer_than_its_sequences(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    folder = checkpoint_of(families()["roberta"], pad_token_id=4)
    with Checkpoint(folder) as checkpoint:
        config = checkpoint.config
    assert config_of(folder)["max_position_embeddings"] == 29
    assert (config.max_length, config.positions.offset) == (24, 5)  # type: ignore[union-attr]
    convert(folder, tmp_path / "run", "run")
    text = (tmp_path / "run" / "model.yaml").read_text(encoding="utf-8")
    (tmp_path / "run" / "model.yaml").write_text(text.replace("offset: 5", "offset: 3").replace("max_length: 24", "max_length: 26"))
    message = refused(lambda: convert(tmp_path / "run", tmp_path / "hf", "hf"))
    assert "family 'roberta' has no place for" in message


def test_electras_discriminator_has_one_label_whatever_config_json_says(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    folder = checkpoint_of(families()["electra"], architecture="ElectraForPreTraining")
    assert len(config_of(folder)["id2label"]) == 5
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.config.head.num_labels == 1
    convert(folder, tmp_path / "run", "run")
    convert(tmp_path / "run", tmp_path / "hf", "hf")
    assert config_of(tmp_path / "hf")["architectures"] == ["ElectraForPreTraining"]
    assert "id2label" not in config_of(tmp_path / "hf")


class TestModernBert:
    @pytest.fixture
    def folder(self, checkpoint_of: CheckpointOf) -> Path:
        return checkpoint_of(families()["modernbert"])

    def test_version_4(self, folder: Path, tmp_path: Path) -> None:
        """As answerdotai/ModernBERT-base has it."""
        config = config_of(folder)
        del config["layer_types"], config["rope_parameters"]
        old = {**config, "global_attn_every_n_layers": 3, "global_rope_theta": 700.0, "local_rope_theta": 50.0}
        with Checkpoint(write(tmp_path / "v4", tensors_of(folder), old)) as found, Checkpoint(folder) as expected:
            assert found.config == expected.config
        with Checkpoint(write(tmp_path / "bare", tensors_of(folder), config)) as found:
            assert found.config.positions.model_dump(include={"base", "window_base"}) == {"base": 160_000.0, "window_base": 10_000.0}

    def test_the_mean_of_a_sequence(self, tmp_path: Path) -> None:
        model = hugging_face_model(families()["modernbert"], "ModernBertForSequenceClassification", classifier_pooling="mean")
        folder = save_hugging_face(model, tmp_path / "mean")
        agrees(folder, model)
        convert(folder, tmp_path / "run", "run")
        convert(tmp_path / "run", tmp_path / "hf", "hf")
        assert config_of(tmp_path / "hf")["classifier_pooling"] == "mean"
        other = write(tmp_path / "other", tensors_of(folder), {**config_of(folder), "classifier_pooling": "max"})
        assert "classifier_pooling is 'max', which is not built; built: cls, mean" in refused(lambda: Checkpoint(other))

    def test_a_scaling_that_is_not_built_is_refused(self, folder: Path, tmp_path: Path) -> None:
        config = {**config_of(folder), "rope_scaling": {"rope_type": "linear", "factor": 2.0}}
        other = write(tmp_path / "scaled", tensors_of(folder), config)
        assert "rope_scaling is {'rope_type': 'linear', 'factor': 2.0}, and only None is built" in refused(lambda: Checkpoint(other))
