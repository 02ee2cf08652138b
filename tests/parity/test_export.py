"""What is exported gives, without this package, what Hugging Face gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.conftest import Subject
from tests.parity.rungs import Entry, entries
from transformer_tf.export import export_litert, export_saved_model
from transformer_tf.export.check import opened
from transformer_tf.export.signatures import FORWARD, GENERATE

# Of the largest value.
APART = 1e-5
LONGEST = 24
WITHOUT_HEAD = Entry("bert", "BertModel")
OF_IMAGES = Entry("vit", "ViTForImageClassification")
# With windows, whose cache goes round; and with an encoder.
WINDOWED, TRANSLATING = Entry("gemma3", "Gemma3ForCausalLM"), Entry("marian", "MarianMTModel")


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= APART * np.abs(expected).max()


@pytest.mark.parametrize("export", [export_saved_model, export_litert])
@pytest.mark.parametrize("subject", [WITHOUT_HEAD, OF_IMAGES], indirect=True, ids=str)
def test_a_pass_is_hugging_faces_for_any_batch_and_length(subject: Subject, export: Any, tmp_path: Path) -> None:
    export(subject.ours("tensorflow", "float32").model, tmp_path / "model")
    run = opened(tmp_path / "model", [FORWARD])[FORWARD]
    for batch, length in ((1, 5), (3, 11)):
        inputs = subject.inputs(batch, length)
        masks = {"attention_mask": np.ones((batch, length), np.int64)} if "input_ids" in inputs else {}
        found = run({**inputs, **masks})
        hidden = subject.reference.hidden_states(inputs)
        if subject.config.head.kind == "none":
            assert_near(found["last_hidden_state"], hidden[f"encoder.layers.{subject.config.num_layers - 1}"])
            assert_near(found["pooler_output"], subject.reference.logits(inputs))
        else:
            assert_near(found["logits"], subject.reference.logits(inputs))


@pytest.mark.parametrize(("subject", "settings"), [(WINDOWED, {}), (TRANSLATING, {"num_beams": 3})], indirect=["subject"], ids=str)
def test_one_file_generates_as_pytorch_does(subject: Subject, settings: dict[str, Any], tmp_path: Path) -> None:
    """The loop, its cache and its beams stand in the file; prompts of any length, padded or not."""
    special = {"eos_token_id": 2, "pad_token_id": 0, **settings}
    export_litert(subject.ours("tensorflow", "float32").model, tmp_path / "model", batch_size=2, max_length=LONGEST, **special)
    run = opened(tmp_path / "model", [GENERATE])[GENERATE]
    for length, new in ((3, 12), (6, 5)):
        ids = subject.inputs(2, length)["input_ids"].astype(np.int64)
        mask = np.ones_like(ids)
        mask[0, 0 if subject.config.architecture == "decoder" else -1] = 0
        expected = subject.ours("torch", "float32").model.generate(ids, attention_mask=mask, max_new_tokens=new, **special)
        start = 1 if subject.config.architecture == "encoder_decoder" else length
        found = run({"input_ids": ids, "attention_mask": mask, "limit": np.int32(start + new), "seed": np.int32(0)})
        np.testing.assert_array_equal(found["tokens"][:, : int(found["length"])], expected)


@pytest.mark.export
@pytest.mark.parametrize("export", [export_saved_model, export_litert])
@pytest.mark.parametrize("subject", [entry for entry in entries() if entry.variant is None], indirect=True, ids=str)
def test_every_model_is_exported(subject: Subject, export: Any, tmp_path: Path) -> None:
    """Each with all that it can do: an export compares itself with the model."""
    generates = subject.config.head.kind == "language_model"
    settings = [{"max_length": LONGEST}, {"max_length": LONGEST, "num_beams": 2}] if generates else [{}]
    for number, chosen in enumerate(settings):
        found = export(subject.ours("tensorflow", "float32").model, tmp_path / str(number), **chosen)
        assert [checked.name for checked in found] == [FORWARD, *([GENERATE] if generates else [])]
        assert all(relative <= APART for checked in found for relative in checked.differences.values())
