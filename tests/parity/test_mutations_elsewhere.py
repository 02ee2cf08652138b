"""`test_mutations.py` makes its mistakes in PyTorch's plain attention. Here are a few of them in TensorFlow and in the fused kernel."""

from __future__ import annotations

import pytest

import transformer_torch
from parity import tolerances
from parity.differences import relative
from tests.parity.conftest import Subject
from tests.parity.mutations import MUTATIONS, Mutation
from tests.parity.rungs import Entry
from tests.parity.test_mutations import expected, mutated

SAMPLE = {
    Entry("gpt2", "GPT2LMHeadModel"): ("activation relu", "self_attention.query and self_attention.key swapped", "no query.bias"),
    Entry("mistral", "MistralForCausalLM"): (
        "the window one longer",
        "another base",
        "scores scaled by the width",
        "output left untransposed",
    ),
    Entry("t5", "T5ForConditionalGeneration"): ("buckets shifted by one", "cross-attention and self-attention swapped"),
}
PAIRS = [(entry, mutation) for entry, names in SAMPLE.items() for mutation in MUTATIONS if mutation.name in names]


@pytest.mark.parametrize(("framework", "attention"), [("tensorflow", "plain"), ("torch", "fused")])
@pytest.mark.parametrize(("subject", "mutation"), PAIRS, indirect=["subject"], ids=[f"{entry}-{mutation}" for entry, mutation in PAIRS])
def test_a_mutation_is_caught_there_too(
    subject: Subject, mutation: Mutation, framework: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Or short sequences would go to the plain formula.
    monkeypatch.setattr(transformer_torch.attention, "SHORT", 0)
    inputs, truth = expected(subject, None)
    assert relative(mutated(subject, None, framework, attention).logits(inputs), truth) < tolerances.FLOAT64
    assert relative(mutated(subject, mutation, framework, attention).logits(inputs), truth) > 1e3 * tolerances.FLOAT64


def test_the_sample_is_whole() -> None:
    assert len(PAIRS) == sum(len(names) for names in SAMPLE.values())
    assert all(mutation.applies(entry.config) for entry, mutation in PAIRS)
