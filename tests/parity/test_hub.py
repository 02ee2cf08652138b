"""Checkpoints that people use, where a hub is reachable: `pytest -m hub`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.differences import largest

CHECKPOINTS = ["openai-community/gpt2", "HuggingFaceTB/SmolLM2-135M"]


@pytest.mark.hub
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_a_hub_checkpoint_gives_hugging_faces_logits_and_tokens(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    from huggingface_hub import snapshot_download
    from transformers import AutoModelForCausalLM

    import transformer_tf
    import transformer_torch
    from parity.huggingface import HuggingFace
    from parity.pytorch import PyTorch
    from parity.tensorflow import TensorFlow

    folder = snapshot_download(checkpoint, allow_patterns=["*.json", "model*.safetensors"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    ours = [PyTorch(transformer_torch.load(folder)), TensorFlow(transformer_tf.load(folder))]
    config = ours[0].model.config
    inputs = {"input_ids": np.random.default_rng(0).integers(0, config.vocab_size, (2, 24))}
    reference, truth = HuggingFace(model, config), HuggingFace(model, config, double=True).logits(inputs)
    for implementation in ours:
        assert largest(implementation.logits(inputs), truth) <= 2 * largest(reference.logits(inputs), truth)
        expected = reference.generate(inputs, max_new_tokens=20, pad_token_id=0, eos_token_id=0)
        np.testing.assert_array_equal(implementation.generate(inputs, max_new_tokens=20, pad_token_id=0, eos_token_id=0), expected)
