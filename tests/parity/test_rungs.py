"""Which rungs each kind of model climbs. A rung that is left out is left out in rungs.ABSENT, with its reason, or not at all."""

from __future__ import annotations

import inspect

import pytest

from tests.parity import rungs, test_generation, test_ladder, test_mutations, test_oracle

EVERY_KIND = {
    "test_names_and_shapes_are_the_canonical_ones",
    "test_float64_logits_and_every_hidden_state_are_hugging_faces",
    "test_float32_is_no_further_from_the_truth_than_hugging_face_twice",
    "test_gradients_of_every_tensor",
    "test_ten_optimizer_steps",
    "test_plain_attention_is_the_fused_one",
    "test_gradient_checkpointing_changes_no_gradient",
    "test_compiled_is_eager",
    "test_without_a_mutation_all_is_well",
    "test_a_mutation_is_caught",
    "test_float32_inside_float64_is_caught",
}
ORACLE = {
    "test_nothing_is_computed_in_float32",
    "test_no_table_was_rounded_to_float32",
    "test_the_last_hidden_state_is_what_leaves_the_stack",
    "test_one_question_does_not_change_the_next",
    "test_rotary_frequencies_are_the_formulas",
    "test_sines_and_cosines_are_the_formulas",
    "test_buckets_of_distances_are_those_of_float32",
}
TOKENS = {"test_padding_changes_nothing_that_is_not_padding", "test_without_a_mutation_all_is_well_beside_padding"}
NEXT_TOKEN = {
    "test_the_cache_gives_what_the_whole_sequence_gives",
    "test_greedy_generation_token_for_token",
    "test_greedy_generation_of_variants_in_pytorch",
    "test_sampling_draws_the_same_tokens_in_both_frameworks",
    "test_random_settings_give_hugging_faces_tokens_and_scores",
}


def all_rungs() -> set[str]:
    """The tests that every entry climbs. What names a family for itself is a test of that family."""
    functions = {**vars(test_ladder), **vars(test_mutations), **vars(test_oracle), **vars(test_generation)}
    tests = {name: test for name, test in functions.items() if name.startswith("test_") and "subject" in inspect.signature(test).parameters}
    marks = {name: [mark.args[0] for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"] for name, test in tests.items()}
    return {name for name in tests if "subject" not in marks[name] or tests[name].__module__ != test_generation.__name__}


@pytest.mark.parametrize("kind", rungs.KINDS)
def test_each_kind_of_model_climbs_these_rungs(kind: str) -> None:
    found = {rung for rung in all_rungs() if rung not in rungs.ABSENT or kind not in rungs.ABSENT[rung][1]}
    expected = EVERY_KIND | ORACLE | (TOKENS if kind != rungs.IMAGES else set()) | (NEXT_TOKEN if kind in rungs.NEXT_TOKEN else set())
    assert found == expected


def test_each_architecture_and_each_variant_climbs() -> None:
    climbing = rungs.entries()
    for family in rungs.families().values():
        here = [entry for entry in climbing if entry.family == family.name]
        assert {entry.architecture for entry in here} == set(family.architectures)
        assert {entry.variant for entry in here} == {None, *family.variants}
    assert all(rungs.kind_of(entry.config) in rungs.KINDS for entry in climbing)
    names = [str(entry) for entry in climbing]
    assert len(set(names)) == len(names)


def test_nothing_is_left_out_that_is_not_there() -> None:
    for_some = rungs.FOR_VARIANTS_ALONE, rungs.FOR_THE_FIRST_ALONE, rungs.FOR_EACH_HEAD_ONCE, rungs.FOR_HEADS_ALONE
    left_out = rungs.ABSENT, rungs.NOT_FOR_VARIANTS, *for_some
    assert {rung for names in left_out for rung in names} <= all_rungs()
    assert all(reason and kinds <= set(rungs.KINDS) for reason, kinds in rungs.ABSENT.values())


def test_every_family_and_every_head_is_compiled() -> None:
    compiled = [entry for entry in rungs.entries() if rungs.climbs(entry, "test_compiled_is_eager")]
    assert {entry.family for entry in compiled} == set(rungs.families())
    assert {rungs.head_of(entry.config) for entry in compiled} == {
        rungs.head_of(entry.config) for entry in rungs.entries() if not entry.variant
    }
