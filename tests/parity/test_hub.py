"""Checkpoints that people use, one a family, where a hub is reachable: `pytest -m hub`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity import tolerances
from parity.differences import usual
from parity.inputs import example_inputs

CHECKPOINTS = [
    "FacebookAI/roberta-base",
    "Helsinki-NLP/opus-mt-en-de",
    "HuggingFaceTB/SmolLM2-135M",
    "distilbert/distilbert-base-uncased",
    "facebook/bart-base",
    "facebook/opt-125m",
    "google-bert/bert-base-uncased",
    "google-t5/t5-small",
    "google/electra-small-discriminator",
    "google/vit-base-patch16-224",
    "openai-community/gpt2",
    "EleutherAI/pythia-70m",
    "answerdotai/ModernBERT-base",
]


@pytest.mark.hub
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_a_hub_checkpoint_gives_hugging_faces_numbers_and_tokens(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(checkpoint, allow_patterns=["*.json", "model*.safetensors"]))
    if not list(folder.glob("*.safetensors")):
        # Hugging Face reads older formats; this project reads what it writes.
        from transformers import AutoConfig

        architecture_of(AutoConfig.from_pretrained(checkpoint)).from_pretrained(checkpoint).save_pretrained(tmp_path)
        folder = tmp_path
    check(folder)


def architecture_of(config: object) -> type:
    import transformers

    return getattr(transformers, config.architectures[0])  # type: ignore[attr-defined]


def check(folder: Path) -> None:
    from transformers import AutoConfig

    import transformer_tf
    import transformer_torch
    from parity.huggingface import HuggingFace
    from parity.pytorch import PyTorch
    from parity.tensorflow import TensorFlow

    settings = AutoConfig.from_pretrained(folder)
    model = architecture_of(settings).from_pretrained(folder, dtype="float32").eval()  # type: ignore[attr-defined]
    ours = [PyTorch(transformer_torch.load(folder)), TensorFlow(transformer_tf.load(folder))]
    config = ours[0].model.config
    inputs = example_inputs(config, 4, 24)
    reference, truth = HuggingFace(model, config), HuggingFace(model, config, double=True).logits(inputs)
    allowed = tolerances.FLOAT32_AGAINST_HUGGING_FACE * usual(reference.logits(inputs), truth)
    for implementation in ours:
        assert usual(implementation.logits(inputs), truth) <= allowed
        if config.head.kind == "language_model":
            prompt, ending = {"input_ids": inputs["input_ids"]}, {"max_new_tokens": 20, "pad_token_id": 0, "eos_token_id": 0}
            # `HuggingFace` searches greedily, whatever generation_config.json says.
            implementation.model.generation_config = None
            np.testing.assert_array_equal(implementation.generate(prompt, **ending), reference.generate(prompt, **ending))
