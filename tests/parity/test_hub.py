"""Checkpoints that people use, of every family, where a hub is reachable: `pytest -m hub`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity import tolerances
from parity.differences import usual
from parity.inputs import example_inputs
from weight_mapping import families

# Small ones that need no account. Of Gemma 2 there is none but with random weights, and of Mixtral neither.
CHECKPOINTS = {
    "bart": ["facebook/bart-base"],
    "bert": ["google-bert/bert-base-uncased"],
    "clip_text": ["openai/clip-vit-base-patch32"],
    "clip_vision": ["openai/clip-vit-base-patch32"],
    "distilbert": ["distilbert/distilbert-base-uncased"],
    "electra": ["google/electra-small-discriminator"],
    "gemma2": ["hf-internal-testing/tiny-random-Gemma2ForCausalLM"],
    "gemma3": ["unsloth/gemma-3-270m-it"],
    "gpt2": ["openai-community/gpt2"],
    "gpt_neox": ["EleutherAI/pythia-70m"],
    "llama": ["HuggingFaceTB/SmolLM2-135M"],
    "marian": ["Helsinki-NLP/opus-mt-en-de"],
    "mistral": ["Locutusque/TinyMistral-248M"],
    "mixtral": ["hf-internal-testing/Mixtral-tiny"],
    "modernbert": ["answerdotai/ModernBERT-base"],
    "opt": ["facebook/opt-125m"],
    "qwen2": ["Qwen/Qwen2-0.5B"],
    "qwen3": ["Qwen/Qwen3-0.6B"],
    "roberta": ["FacebookAI/roberta-base"],
    "t5": ["google-t5/t5-small", "google/t5-v1_1-small"],
    "vit": ["google/vit-base-patch16-224", "facebook/deit-small-patch16-224"],
    "whisper": ["openai/whisper-tiny"],
    "xlm_roberta": ["FacebookAI/xlm-roberta-base"],
}
# Of a file that holds several models.
ARCHITECTURES = {"clip_text": "CLIPTextModelWithProjection", "clip_vision": "CLIPVisionModelWithProjection"}
# Families without one, each with the reason.
EXCUSED: dict[str, str] = {}


def test_every_family_has_a_checkpoint_or_an_excuse() -> None:
    assert sorted([*CHECKPOINTS, *EXCUSED]) == sorted(families())
    assert all(CHECKPOINTS.values())
    assert all(EXCUSED.values())


@pytest.mark.hub
@pytest.mark.parametrize(("family", "checkpoint"), [(family, name) for family, names in CHECKPOINTS.items() for name in names])
def test_a_hub_checkpoint_gives_hugging_faces_numbers_and_tokens(
    family: str, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(checkpoint, allow_patterns=["*.json", "model*.safetensors"]))
    if not list(folder.glob("*.safetensors")):
        # Hugging Face reads older formats; this project reads what it writes.
        from transformers import AutoConfig

        architecture_of(AutoConfig.from_pretrained(checkpoint)).from_pretrained(checkpoint).save_pretrained(tmp_path)
        folder = tmp_path
    check(folder, family)


def architecture_of(config: object) -> type:
    import transformers

    return getattr(transformers, config.architectures[0])  # type: ignore[attr-defined]


def check(folder: Path, family: str) -> None:
    import transformers
    from transformers import AutoConfig

    import transformer_tf
    import transformer_torch
    from parity.huggingface import HuggingFace
    from parity.pytorch import PyTorch
    from parity.tensorflow import TensorFlow

    settings, architecture = AutoConfig.from_pretrained(folder), ARCHITECTURES.get(family)
    kind = getattr(transformers, architecture) if architecture else architecture_of(settings)
    model = kind.from_pretrained(folder, dtype="float32").eval()
    ours = [
        PyTorch(transformer_torch.load(folder, architecture=architecture)),
        TensorFlow(transformer_tf.load(folder, architecture=architecture)),
    ]
    config = ours[0].model.config
    assert config.family == family
    inputs = example_inputs(config, 4, 24)
    reference, truth = HuggingFace(model, config), HuggingFace(model, config, double=True).logits(inputs)
    allowed = tolerances.FLOAT32_AGAINST_HUGGING_FACE * usual(reference.logits(inputs), truth)
    for implementation in ours:
        assert usual(implementation.logits(inputs), truth) <= allowed
        if config.head.kind == "language_model":
            prompt = {config.inputs.name: inputs[config.inputs.name]}
            ending = {"max_new_tokens": 20, "pad_token_id": 0, "eos_token_id": 0}
            # `HuggingFace` searches greedily, whatever generation_config.json says.
            implementation.model.generation_config = None
            np.testing.assert_array_equal(implementation.generate(prompt, **ending), reference.generate(prompt, **ending))
