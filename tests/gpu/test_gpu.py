"""What only a GPU can show: `python -m pytest -m gpu`. In float32, and with TF32 off, as PyTorch leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs import load_model_config
from tests.revealing import hugging_face_model, save_hugging_face
from transformer_torch import Transformer, load
from weight_mapping import get_family

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

FAMILIES = ["gpt2", "llama", "mistral", "t5", "marian"]
SETTINGS: list[dict[str, Any]] = [
    {"max_new_tokens": 12},
    {"max_new_tokens": 9},
    {"max_new_tokens": 12, "num_beams": 3},
    {"max_new_tokens": 12, "no_repeat_ngram_size": 2},
]


@pytest.mark.parametrize("name", FAMILIES)
def test_recorded_steps_say_what_hugging_face_says(name: str, tmp_path: Path) -> None:
    """Padded prompts, texts of one length after another in the same memory, beams."""
    theirs = hugging_face_model(get_family(name))
    folder = save_hugging_face(theirs, tmp_path / "weights")
    theirs = theirs.cuda()
    ours = load(folder).cuda()
    ours.compile(dynamic=False)
    random = np.random.default_rng(0)
    for settings in SETTINGS + SETTINGS[:1]:
        ids = random.integers(5, 30, (2, 7))
        mask = np.ones_like(ids)
        if name not in ("t5", "marian"):
            mask[0, :3] = 0
        more = {"eos_token_id": None, "pad_token_id": 0, "do_sample": False, **settings}
        expected = theirs.generate(torch.from_numpy(ids).cuda(), attention_mask=torch.from_numpy(mask).cuda(), **more)
        found = ours.generate(ids, attention_mask=mask, **{**more, "eos_token_id": ()})
        np.testing.assert_array_equal(found.cpu().numpy(), expected.cpu().numpy())
    # One for each number of rows.
    assert len(ours.step_memories.memories) == 2


def test_guesses_are_read_by_recorded_steps_too() -> None:
    plain, compiled = (Transformer(load_model_config("gpt2-mini")).cuda() for _ in range(2))
    compiled.compile(dynamic=False)
    ids = np.tile([[5, 6, 7, 8]], 4)
    expected, found = (
        model.generate(ids, max_new_tokens=16, eos_token_id=(), prompt_lookup_num_tokens=3).cpu().numpy() for model in (plain, compiled)
    )
    np.testing.assert_array_equal(found, expected)


def test_two_texts_at_once_do_not_share_memory() -> None:
    plain, compiled = (Transformer(load_model_config("gpt2-mini")).cuda() for _ in range(2))
    compiled.compile()
    prompts = np.array([[5, 6, 7, 8]]), np.array([[9, 3, 2, 4]])
    settings = {"max_new_tokens": 8, "eos_token_id": ()}
    streams = [compiled.stream(prompt, **settings) for prompt in prompts]
    found = np.array([[int(next(stream)[0, 0]) for stream in streams] for _ in range(8)]).T
    expected = [plain.generate(prompt, **settings).cpu().numpy()[0, 4:] for prompt in prompts]
    np.testing.assert_array_equal(found, expected)


def test_weights_that_have_moved_are_read_where_they_are() -> None:
    model = Transformer(load_model_config("gpt2-mini")).cuda()
    model.compile(dynamic=False)
    ids, settings = np.array([[5, 6, 7, 8]]), {"max_new_tokens": 8, "eos_token_id": ()}
    first = model.generate(ids, **settings).cpu().numpy()
    model.cpu()
    noise = [torch.randn_like(weight) for weight in model.parameters()]
    with torch.no_grad():
        for weight, other in zip(model.parameters(), noise, strict=True):
            weight.copy_(other)
    model.cuda()
    fresh = Transformer(load_model_config("gpt2-mini"))
    fresh.load_state_dict(model.state_dict())
    found, expected = model.generate(ids, **settings).cpu().numpy(), fresh.cuda().generate(ids, **settings).cpu().numpy()
    np.testing.assert_array_equal(found, expected)
    assert (found != first).any()


def test_a_compiled_step_of_training_has_the_loss_and_gradients_of_the_cpu() -> None:
    from train.loss import training_loss

    on_cpu, on_gpu = (Transformer(load_model_config("gpt2-mini", ["dropout=0"])) for _ in range(2))
    on_gpu.cuda()
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 400, (4, 33)))
    expected = training_loss(on_cpu, {"input_ids": ids[:, :-1]}, ids[:, 1:], 0.1)
    found = torch.compile(training_loss)(on_gpu, {"input_ids": ids[:, :-1].cuda()}, ids[:, 1:].cuda(), 0.1)
    expected.backward()
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(on_cpu.parameters(), on_gpu.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-3, atol=1e-3)
