"""Which models climb the ladder, and which rungs make no sense for which kind of model. A rung is a test that asks for a subject."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from configs import ModelConfig
from tests.revealing import revealing_settings
from weight_mapping import families
from weight_mapping.family import Family

IMAGES = "encoder of images"
KINDS = (
    "decoder, a next token each",
    "decoder, a vector each",
    "decoder, one answer",
    "encoder, an answer for each token",
    "encoder, one answer",
    "encoder_decoder, a next token each",
    "encoder_decoder, a vector each",
    "encoder_decoder, one answer",
    IMAGES,
    "encoder_decoder of audio, a next token each",
    "encoder_decoder of audio, a vector each",
)
NEXT_TOKEN = tuple(kind for kind in KINDS if kind.endswith("a next token each"))

# Every kind climbs every rung but these.
ABSENT = {
    "test_padding_changes_nothing_that_is_not_padding": ("an image has no padding", {IMAGES}),
    "test_without_a_mutation_all_is_well_beside_padding": ("an image has no padding", {IMAGES}),
    "test_the_cache_gives_what_the_whole_sequence_gives": ("only a next token comes step by step", set(KINDS) - set(NEXT_TOKEN)),
    "test_greedy_generation_token_for_token": ("there is no next token", set(KINDS) - set(NEXT_TOKEN)),
    "test_greedy_generation_of_variants_in_pytorch": ("there is no next token", set(KINDS) - set(NEXT_TOKEN)),
    "test_sampling_draws_the_same_tokens_in_both_frameworks": ("there is no next token", set(KINDS) - set(NEXT_TOKEN)),
    "test_random_settings_give_hugging_faces_tokens_and_scores": ("there is no next token", set(KINDS) - set(NEXT_TOKEN)),
}

# A variant has other numbers, and climbs what compares numbers. These it leaves to its family's architectures.
NOT_FOR_VARIANTS = {
    "test_compiled_is_eager": "the same operations are compiled",
    "test_ten_optimizer_steps": "AdamW is given gradients, and those are compared",
    "test_greedy_generation_token_for_token": "they climb it in PyTorch, the logits are compared: XLA would compile each anew",
    "test_sampling_draws_the_same_tokens_in_both_frameworks": "a token is drawn from logits, whatever made them",
    "test_random_settings_give_hugging_faces_tokens_and_scores": "tokens are chosen from logits, whatever made them",
    "test_gradient_checkpointing_changes_no_gradient": "the same layers are computed again",
}

# What variants alone climb.
FOR_VARIANTS_ALONE = {"test_greedy_generation_of_variants_in_pytorch": "the others climb it in both frameworks"}

# What the architectures of a family after its first leave to the first.
FOR_THE_FIRST_ALONE = {"test_ten_optimizer_steps": "AdamW is given gradients, and those are compared"}

# What they leave to the first of all families that has their head.
FOR_EACH_HEAD_ONCE = {
    "test_compiled_is_eager": "a family's layers are compiled with its first head, and each head with some layers",
    "test_float32_inside_float64_is_caught": "the same comparison sees it",
    "test_a_mutation_is_caught": "but for mistakes that the first cannot have; the same comparison sees the others",
}

# What a model without a head leaves to those that have one.
FOR_HEADS_ALONE = {
    "test_float32_inside_float64_is_caught": "its layers are those below a head",
    "test_a_mutation_is_caught": "its layers are those below a head, and but for mistakes that the first cannot have",
}


@dataclass(frozen=True)
class Entry:
    """A model on the ladder, by names."""

    family: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return f"{self.family}-{self.variant or self.architecture}"

    @property
    def described(self) -> Family:
        return families()[self.family]

    @property
    def config(self) -> ModelConfig:
        return _config(self)


@cache
def _config(entry: Entry) -> ModelConfig:
    settings = revealing_settings(entry.described, entry.architecture, entry.variant)
    return entry.described.read_config({**settings, "architectures": [entry.architecture]}, str(entry))


@cache
def entries() -> list[Entry]:
    """Each architecture of each family without a variant, and each variant with the first architecture."""
    found = []
    for name, family in sorted(families().items()):
        found += [Entry(name, architecture) for architecture in family.architectures]
        found += [Entry(name, next(iter(family.architectures)), variant) for variant in family.variants]
    return found


def kind_of(config: ModelConfig) -> str:
    """One of KINDS."""
    if config.inputs.kind == "patches":
        return IMAGES
    stacks = f"{config.architecture}{' of audio' if config.inputs.kind == 'audio' else ''}"
    if config.pooler is not None:
        return f"{config.architecture}, one answer"
    if config.architecture == "encoder":
        return "encoder, an answer for each token"
    return f"{stacks}, {'a next token' if config.head.kind == 'language_model' else 'a vector'} each"


def head_of(config: ModelConfig) -> tuple[str, ...]:
    """What stands on the layers: head and pooler with the parts that they have."""
    head, pooler = config.head, config.pooler
    parts = [name for name, value in (("transform", head.transform), ("bias", head.bias), ("cap", head.soft_cap)) if value]
    return head.kind, *parts, *(() if pooler is None else (pooler.kind, f"transform {pooler.transform is not None}"))


@cache
def _first_with_each_head() -> dict[tuple[str, ...], Entry]:
    first: dict[tuple[str, ...], Entry] = {}
    for entry in entries():
        if entry.variant is None:
            first.setdefault(head_of(entry.config), entry)
    return first


def first_of(family: str) -> Entry:
    return next(entry for entry in entries() if entry.family == family)


def leads(entry: Entry) -> bool:
    """Whether it is the first of its family, or of all families the first that has its head."""
    return entry in (first_of(entry.family), _first_with_each_head().get(head_of(entry.config)))


def climbs(entry: Entry, rung: str) -> bool:
    """Whether the rung makes sense for the model."""
    is_first = entry.architecture == next(iter(entry.described.architectures))
    if rung in (NOT_FOR_VARIANTS if entry.variant else FOR_VARIANTS_ALONE) or (not is_first and rung in FOR_THE_FIRST_ALONE):
        return False
    if rung in FOR_EACH_HEAD_ONCE and not leads(entry):
        return False
    if rung in FOR_HEADS_ALONE and entry.config.head.kind == "none":
        return False
    return rung not in ABSENT or kind_of(entry.config) not in ABSENT[rung][1]
