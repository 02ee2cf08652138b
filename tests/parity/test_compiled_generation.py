"""`model.compile()` in PyTorch: texts are continued by one program for all lengths. TensorFlow compiles without being asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from parity import tolerances
from tests.parity.conftest import Subject
from tests.parity.rungs import Entry
from transformer_torch.cache import Cache
from transformer_torch.generation_rows import Rows

# Between them: learned, sinusoidal, rotary and relative positions, windows that roll, an encoder, frequencies that depend on the length.
COMPILED = [
    Entry("gpt2", "GPT2LMHeadModel"),
    Entry("opt", "OPTForCausalLM"),
    Entry("marian", "MarianMTModel"),
    Entry("t5", "T5ForConditionalGeneration"),
    Entry("llama", "LlamaForCausalLM", "dynamic"),
    Entry("mistral", "MistralForCausalLM"),
    Entry("gemma3", "Gemma3ForCausalLM"),
]


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("subject", COMPILED, indirect=True, ids=str)
def test_one_program_continues_texts_of_all_lengths(subject: Subject) -> None:
    """Whole, as its front traces it: kernels take a minute to build, and are those of `forward`."""
    plain, compiled = (subject.fresh("torch", "float32").model for _ in range(2))
    program = CompileCounterWithBackend("aot_eager")
    compiled.compile(backend=program, fullgraph=True)
    ids = subject.inputs(2, 6)["input_ids"]
    mask = np.array([[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    trials: list[dict[str, Any]] = [
        {"max_new_tokens": 14},
        {"max_new_tokens": 9, "min_new_tokens": 4},
        {"max_new_tokens": 5},
        {"do_sample": True},
    ]
    for first, more in zip((0, 0, 1, 2), trials, strict=True):
        inputs = {
            "input_ids": ids[:, first:],
            "attention_mask": mask[:, first:],
            "eos_token_id": 2,
            "pad_token_id": 1,
            "max_new_tokens": 7,
            **more,
        }
        expected, found = (model.generate(**inputs, return_scores=True) for model in (plain, compiled))
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_allclose(found.log_probs, expected.log_probs, **tolerances.FLOAT32_SCORES)
    # The second source of another length makes one for all of those.
    assert program.frame_count == (1 if subject.config.architecture == "decoder" else 2)


@pytest.mark.parametrize("subject", COMPILED[:1], indirect=True, ids=str)
def test_beams_and_guesses_are_compiled_too(subject: Subject) -> None:
    plain, compiled = (subject.fresh("torch", "float32").model for _ in range(2))
    program = CompileCounterWithBackend("aot_eager")
    compiled.compile(backend=program, fullgraph=True)
    ids = np.tile(subject.inputs(1, 4)["input_ids"], 2)
    for more in ({"num_beams": 3}, {"num_beams": 3, "max_new_tokens": 7}, {"prompt_lookup_num_tokens": 3}):
        settings = {"max_new_tokens": 12, "eos_token_id": (), "pad_token_id": 0, **more}
        np.testing.assert_array_equal(compiled.generate(ids, **settings), plain.generate(ids, **settings))
    # One for a token of three beams; one for other numbers of tokens and texts, whichever they are.
    assert program.frame_count <= 3


@torch.inference_mode()
@pytest.mark.parametrize("subject", [Entry("gpt2", "GPT2LMHeadModel"), Entry("llama", "LlamaForCausalLM")], indirect=True, ids=str)
def test_no_more_of_the_cache_is_read_than_is_filled(subject: Subject) -> None:
    plain, compiled = (subject.fresh("torch", "float32").model for _ in range(2))
    compiled.compile(backend="aot_eager", fullgraph=True)
    prompt_BT, new_R = torch.from_numpy(subject.inputs(2, 6)["input_ids"]), torch.tensor([3, 4])
    logits_RV = []
    for model in (plain, compiled):
        cache = Cache(model.config, 2, 16, torch.float32, torch.device("cpu"))
        rows = Rows(model, cache, None, None)
        rows.first(prompt_BT, None)
        for layer in cache.layers:
            layer.key_BGNK[:, :, 6:] = layer.value_BGNK[:, :, 6:] = torch.nan
        logits_RV.append(rows.next(new_R))
    torch.testing.assert_close(logits_RV[1], logits_RV[0], atol=tolerances.FLOAT32, rtol=tolerances.FLOAT32)
