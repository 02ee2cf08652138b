"""Overrides, and mistakes: each mistake gives one line that names the file, the key, and the nearest right one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from configs import RunConfig, UserError, load_model_config, load_run_config, reading

STDLIB = Path(reading.__file__).parent / "runs" / "gpt2_stdlib.yaml"
RUN = """
name: example
model: gpt2-mini
tokenizer: {kind: bpe, vocab_size: 4096}
data: {source: stdlib}
train: {max_steps: 100, batch_size: 24}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(RUN, encoding="utf-8")
    return path


def mistake(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_run_config(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_overrides_reach_every_depth(path: Path) -> None:
    run = load_run_config(path, ["seed=7", "train.max_steps=3", "model.attention.num_heads=8", "model.special_tokens.eos=[1, 2]"])
    assert (run.seed, run.train.max_steps, run.model.attention.num_heads, run.model.special_tokens.eos) == (7, 3, 8, (1, 2))


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", ".1e-2", "+1e-3"])
def test_numbers_are_numbers(path: Path, text: str) -> None:
    assert load_run_config(path, [f"optimizer.learning_rate={text}"]).optimizer.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["010", "1:30", "0x10", "2024-12-31", "2024-31-12"])
def test_what_yaml_takes_for_other_numbers_or_days_is_text(path: Path, text: str) -> None:
    assert f"key 'train.max_steps' is {text!r}" in mistake(path, f"train.max_steps={text}")
    assert reading.read_settings([f"key={text}"]) == {"key": text}


def test_a_model_override_takes_another_preset(path: Path) -> None:
    assert load_run_config(path, ["model=gpt2", "model.num_layers=2"]).model == load_model_config("gpt2", ["num_layers=2"])


@pytest.mark.parametrize("override", ["model.preset=gpt2", "model={preset: gpt2}"])
def test_a_preset_is_overridden_as_it_is_written(path: Path, override: str) -> None:
    assert load_run_config(path, [override, "model.num_layers=2"]) == load_run_config(path, ["model=gpt2", "model.num_layers=2"])
    assert mistake(path, override.replace("gpt2", "gtp2")) == "no preset 'gtp2' in configs/models; did you mean 'gpt2'?"
    changed = load_run_config(path, ["model={preset: gpt2, num_layers: 2}"])
    assert changed.model == load_model_config("gpt2", ["num_layers=2"])


def test_a_preset_is_changed_where_the_run_differs(path: Path) -> None:
    path.write_text(RUN.replace("model: gpt2-mini", "model: {preset: gpt2-mini, num_layers: 2, norm: {epsilon: 1e-6}}"), encoding="utf-8")
    model = load_run_config(path).model
    assert (model.num_layers, model.norm.epsilon, model.norm.placement, model.width) == (2, 1e-6, "before", 256)


@pytest.mark.parametrize("overrides", [["model.norm.kind=rms"], ["model.norm={kind: rms}"]])
def test_a_part_of_another_kind_replaces_the_presets_part(path: Path, overrides: list[str]) -> None:
    """The preset's layer norm says `placement` and `epsilon`; of another kind they would be another's settings."""
    norm = load_run_config(path, overrides).model.norm
    assert (norm.kind, norm.bias) == ("rms", False)


def test_a_part_of_another_kind_in_the_file_replaces_the_presets_part(path: Path) -> None:
    path.write_text(RUN.replace("model: gpt2-mini", "model: {preset: llama-character, positions: {kind: learned}}"), encoding="utf-8")
    run = load_run_config(path, ["tokenizer={kind: character}"])
    assert run.model.positions.kind == "learned"


def test_one_dropout_rate_stands_for_three(path: Path) -> None:
    dropout = load_run_config(path, ["model.dropout=0.5"]).model.dropout
    assert (dropout.embedding, dropout.attention, dropout.residual, dropout.feed_forward) == (0.5, 0.5, 0.5, 0.0)


MISTAKES = {
    # Unknown keys.
    "trian.max_steps=3": ["unknown key 'trian'", "did you mean 'train'?"],
    "train.max_step=3": ["unknown key 'train.max_step'", "did you mean 'max_steps'?"],
    "model.attention.num_head=2": ["unknown key 'model.attention.num_head'", "did you mean 'num_heads'?"],
    "model.positions.ofset=1": ["unknown key 'model.positions.ofset'", "did you mean 'offset'?"],
    "data.path=x": ["unknown key 'data.path'", "validation_fraction"],
    # Wrong types and values.
    "model.width=wide": ["key 'model.width' is 'wide'", "integer"],
    "train.max_steps=1.5": ["key 'train.max_steps' is 1.5", "integer"],
    "train.max_steps=": ["key 'train.max_steps' is ''", "integer"],
    "train.batch_size=-1": ["key 'train.batch_size' is -1", "greater than 0"],
    "model.num_layers=null": ["key 'model.num_layers' is None", "integer"],
    "model.dropout=2": ["key 'model.dropout.embedding' is 2.0", "less than 1"],
    "optimizer.learning_rate=fast": ["key 'optimizer.learning_rate' is 'fast'", "number"],
    "model.special_tokens.eos=3": ["key 'model.special_tokens.eos' is 3", "a list"],
    "name=two words": ["key 'name' is 'two words'", "pattern"],
    "train=3": ["key 'train' is 3", "keys and values"],
    # Wrong kinds.
    "model.norm.kind=lyer": ["key 'model.norm.kind' is 'lyer'", "did you mean 'layer'?"],
    "model.positions.kind=rotry": ["key 'model.positions.kind' is 'rotry'", "did you mean 'rotary'?"],
    "model.feed_forward.activation=gellu": ["key 'model.feed_forward.activation' is 'gellu'", "did you mean 'gelu'?"],
    "model.attention.bias=[quer]": ["key 'model.attention.bias.0' is 'quer'", "did you mean 'query'?"],
    "data.source=sdtlib": ["key 'data.source' is 'sdtlib'", "did you mean 'stdlib'?"],
    "model=gpt3": ["no preset 'gpt3'", "did you mean 'gpt2'?"],
    # A kind with what it needs left out.
    "data.source=text": ["key 'data.path' is missing"],
    "model.positions={kind: rotary, scaling: {kind: llama3, factor: 8.0}}": ["positions.scaling.original_max_length' is missing"],
    "model.head.kind=classification": ["head.num_labels"],
    # Combinations that cannot be.
    "model.attention.num_heads=3": ["attention.num_heads=3 does not divide width=256", "head_size"],
    "model.attention.num_key_value_heads=3": ["attention.num_key_value_heads=3 does not divide attention.num_heads=4"],
    "model.positions={kind: rotary, fraction: 0.4}": ["25 of each head's values", "even"],
    "model.positions={kind: rotary, fraction: 0.01}": ["0 of each head's values", "more than 0"],
    "model.positions={kind: relative, num_buckets: 7}": ["positions.num_buckets=7 is odd"],
    "model.norm={kind: rms, bias: true}": ["model.norm", "'rms' has no bias"],
    "model.num_decoder_layers=3": ["num_decoder_layers is for architecture 'encoder_decoder'", "use num_layers"],
    "model.architecture=encoder": ["head.kind='language_model' needs a decoder", "masked_language_model"],
    "model.special_tokens.bos=5000": ["special_tokens.bos=5000 is outside the vocabulary of 4096"],
    "model.vocab_size=0": ["vocab_size must be set"],
    "model.inputs={kind: audio}": ["'audio' needs architecture 'encoder_decoder'"],
    "model.feed_forward.experts={count: 2, per_token: 3}": ["experts.per_token=3 is more than the 2 experts"],
    "train.accumulation_steps=5": ["train", "accumulation_steps=5 does not divide batch_size=24"],
    "train.block_size=4096": ["train.block_size=4096 is longer than model.max_length=128"],
    "tokenizer.vocab_size=5000": ["tokenizer.vocab_size=5000 is more than model.vocab_size=4096"],
    "tokenizer={kind: bpe}": ["tokenizer", "'bpe' needs vocab_size"],
    # Settings without effect.
    "evaluation.num_beams=4": ["evaluation.num_beams=4 is for answers; objective 'causal_lm' gives none"],
    "optimizer.learning_rate=.inf": ["key 'optimizer.learning_rate' is inf"],
    "schedule.warmup_steps=100": ["schedule.warmup_steps=100", "train.max_steps=100"],
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line_with_file_and_key(path: Path, override: str) -> None:
    message = mistake(path, override)
    for part in MISTAKES[override]:
        assert part in message
    assert message.startswith(f"override {override!r}: ") or override == "model=gpt3"


def test_what_stands_below_a_group_that_is_named_by_its_kind() -> None:
    """configs/runs/dates.yaml says `objective: seq2seq`."""
    config = load_run_config(reading.FOLDER / "runs" / "dates.yaml", ["objective.label_smoothing=0.25"])
    assert (
        config.objective
        == load_run_config(reading.FOLDER / "runs" / "dates.yaml", ["objective={kind: seq2seq, label_smoothing: 0.25}"]).objective
    )


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("train.max_steps", "not of the form key=value"),
        ("=3", "not of the form key=value"),
        ("train.max_steps=[", "not readable as YAML"),
        ("model.width.x=3", "'width' is 256, which has no keys below it"),
    ],
)
def test_a_bad_override_is_quoted(path: Path, override: str, part: str) -> None:
    message = mistake(path, override)
    assert repr(override) in message
    assert part in message


def test_the_same_mistakes_in_the_file(path: Path) -> None:
    path.write_text(RUN.replace("max_steps", "max_step"), encoding="utf-8")
    assert mistake(path) == f"{path}: unknown key 'train.max_step'; did you mean 'max_steps'?"
    path.write_text(RUN.replace("gpt2-mini", "{preset: gpt2-mini, widht: 3}"), encoding="utf-8")
    assert mistake(path) == f"{path}: unknown key 'model.widht'; did you mean 'width'?"
    path.write_text(RUN.replace("gpt2-mini", "gpt2-mni"), encoding="utf-8")
    assert mistake(path) == f"{path}: no preset 'gpt2-mni' in configs/models; did you mean 'gpt2-mini'?"
    path.write_text(RUN.replace("data:", "dta:"), encoding="utf-8")
    assert mistake(path) == f"{path}: unknown key 'dta'; did you mean 'data'?"
    path.write_text("\n".join(line for line in RUN.splitlines() if "data" not in line), encoding="utf-8")
    assert mistake(path) == f"{path}: key 'data' is missing; it must be set"


def test_a_mistake_is_told_of_the_file_that_it_stands_in(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset, the run, an override; the last that sets a key."""
    preset = reading.FOLDER / "models" / "gpt2-mini.yaml"
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(reading, "FOLDER", tmp_path)
    copy = tmp_path / "models" / "gpt2-mini.yaml"
    text = preset.read_text(encoding="utf-8")

    copy.write_text(text.replace("width: 256", "widht: 256"), encoding="utf-8")
    assert mistake(path) == "configs/models/gpt2-mini.yaml: unknown key 'widht'; did you mean 'width'?"
    assert mistake(path, "model=gpt2-mini", "seed=3") == "configs/models/gpt2-mini.yaml: unknown key 'widht'; did you mean 'width'?"
    copy.write_text(text.replace("width: 256\n", ""), encoding="utf-8")
    assert mistake(path) == "configs/models/gpt2-mini.yaml: key 'width' is missing; it must be set"
    copy.write_text(text.replace("num_heads: 4", "num_heads: 3"), encoding="utf-8")
    wrong = "attention.num_heads=3 does not divide width=256; change one of them or set attention.head_size"
    assert mistake(path, "model.num_layers=3") == f"configs/models/gpt2-mini.yaml: {wrong}"
    copy.write_text(text, encoding="utf-8")
    path.write_text(RUN.replace("gpt2-mini", "{preset: gpt2-mini, attention: {num_heads: 3}}"), encoding="utf-8")
    assert mistake(path, "model.num_layers=3") == f"{path}: model: {wrong}"
    assert mistake(path, "model.num_layers=3", "model.width=256") == f"override 'model.width=256': model: {wrong}"
    assert load_run_config(path, ["model=gpt2-mini"]).model.attention.num_heads == 4
    path.write_text(RUN, encoding="utf-8")
    assert mistake(path, "data={source: text}") == "override 'data={source: text}': key 'data.path' is missing; it must be set"
    assert mistake(path, "train={max_steps: 3, batch_size: 2}", "train.max_steps=x").startswith("override 'train.max_steps=x': key 'train")


def test_a_key_that_stands_twice(path: Path) -> None:
    path.write_text(f"{RUN}seed: 1\nname: another\n", encoding="utf-8")
    assert mistake(path) == f"{path}, line 8: key 'name' stands in line 2 already; leave one of them out"
    path.write_text(RUN.replace("max_steps: 100", "max_steps: 100, max_steps: 200"), encoding="utf-8")
    assert mistake(path) == f"{path}, line 6: key 'max_steps' stands in line 6 already; leave one of them out"
    path.write_text(RUN, encoding="utf-8")
    override = "tokenizer={kind: bpe, kind: character}"
    assert mistake(path, override) == f"override {override!r} is not readable as YAML: key 'kind' stands in it twice"


@pytest.mark.parametrize("text", ["a: [", "", "- 1\n- 2", "just words", "\x00"])
def test_a_file_that_is_no_config(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    assert str(path) in mistake(path)


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00name")
    assert f"{path}: not readable as YAML" in mistake(path)


def test_a_missing_file_names_the_nearest(path: Path) -> None:
    assert mistake(path.with_name("exmple.yaml")) == f"no file {path.with_name('exmple.yaml')}; did you mean '{path}'?"
    assert "choose one of" in mistake(Path("nowhere/example.yaml"))
    assert str(path.parent) in mistake(path.parent)


def test_a_missing_model_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no preset 'gtp2' in configs/models; did you mean 'gpt2'\?"):
        load_model_config("gtp2")


def test_a_preset_inside_of_a_model_has_no_place() -> None:
    with pytest.raises(UserError, match=r"gpt2: unknown key 'model'"):
        load_model_config("gpt2", ["model=gpt2-mini"])


def test_images_have_the_length_of_their_patches(tmp_path: Path) -> None:
    path = tmp_path / "vit.yaml"
    text = "{family: vit, architecture: encoder, max_length: 197, width: 8, num_layers: 1, attention: {num_heads: 2}, head: {kind: none}"
    text += ", feed_forward: {width: 8}, inputs: {kind: patches, image_size: 224, patch_size: 16}}"
    path.write_text(text, encoding="utf-8")
    assert load_model_config(path).vocab_size == 0
    with pytest.raises(UserError, match="max_length=196, and an image makes a sequence of 197"):
        load_model_config(path, ["max_length=196"])
    with pytest.raises(UserError, match=r"inputs.patch_size=15 does not divide inputs.image_size=224"):
        load_model_config(path, ["inputs.patch_size=15"])
    with pytest.raises(UserError, match=r"embedding.scale, embedding.token_types and embedding.width are for tokens"):
        load_model_config(path, ["embedding.scale=true"])


def test_validation_happens_in_python_too() -> None:
    with pytest.raises(ValueError, match="train"):
        RunConfig.model_validate({"name": "x"})


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("t5-small", ["parallel_residual=true"], "parallel_residual has no place for cross-attention"),
        ("bert-base", ["parallel_residual=true"], "nor for a norm after the sum"),
        ("opt-125m", ["positions.counted=not_padding"], "a decoder's cache holds no ids to count"),
        ("bert-base", ["norm.first=false"], "norm.first=False needs norm.placement 'before' or 'both'"),
        ("vit-base-patch16-224", ["positions={kind: sinusoidal}"], "inputs.kind='patches' is for an encoder with learned positions"),
        ("clip-text-base", ["head.width=null"], "head.kind='projection' needs head.width"),
        ("clip-text-base", ["pooler=null"], "head.kind='projection' needs a pooler"),
        ("clip-text-base", ["head.transform={activation: tanh}"], "head.transform is for classes or a vocabulary"),
        ("clip-text-base", ["special_tokens.eos=[]"], "pooler.kind='end' looks for a token that ends a text; set special_tokens.eos"),
        ("clip-vision-base-patch32", ["pooler.kind=highest"], "pooler.kind='highest' looks for a token, and inputs.kind is 'patches'"),
        ("gpt2", ["head.width=5"], "head.width is for head.kind 'projection', and this one is 'language_model'"),
        ("bert-base", ["head={kind: next_sentence, num_labels: 5}", "pooler={kind: first}"], "head.num_labels is 5, and of two sentences"),
        ("clip-text-base", ["head.soft_cap=30"], "head.soft_cap and head.scale are for a vocabulary, and head.kind is 'projection'"),
        ("whisper-tiny", ["architecture=encoder"], "inputs.kind='audio' needs architecture 'encoder_decoder', and this one is 'encoder'"),
        ("whisper-tiny", ["positions={kind: sinusoidal}"], "inputs.kind='audio' is for learned positions without offset"),
        ("whisper-tiny", ["positions={kind: learned, offset: 2}"], "inputs.kind='audio' is for learned positions without offset"),
        ("whisper-tiny", ["embedding.norm=true"], "are for tokens, and inputs.kind is 'audio'"),
        ("whisper-tiny", ["width=385", "attention.head_size=64"], "width=385 is odd, and inputs.kind='audio' has as many sines as cosines"),
    ],
)
def test_parts_that_have_no_place_together(preset: str, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model_config(preset, overrides)


@pytest.mark.parametrize(
    ("run", "override", "message"),
    [
        ("dates", "evaluation.length_penalty=0.6", "evaluation.length_penalty acts in beam search alone, and evaluation.num_beams is 1"),
        ("dates", "evaluation.num_beams=41", "evaluation.num_beams=41 is too much for model.vocab_size=80"),
        ("dates", "train.block_size=8", "train.block_size cuts running text, which objective 'seq2seq' does not read"),
        ("bert_stdlib", "train.sample_prompt=abc", "train.sample_prompt continues a prompt, which objective 'masked_lm' does not learn"),
    ],
)
def test_settings_without_effect(run: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_run_config(f"configs/runs/{run}.yaml", [override])


def test_a_key_that_is_no_word(path: Path) -> None:
    """As a template that nobody has filled in leaves it."""
    path.write_text(f"{RUN}{{{{ SEED }}}}: 1\n", encoding="utf-8")
    assert mistake(path).startswith(f"{path}: not readable as YAML: ")
    path.write_text(RUN, encoding="utf-8")
    assert "line 1 has a mapping or a list in the place of a key" in mistake(path, "model={{ NAME }}")


def test_a_home_is_a_home_behind_a_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert load_run_config(reading.FOLDER / "runs" / "dates.yaml", ["train.output=~/runs"]).train.output == "/home/me/runs"


class TestWhatChoosesAGroup:
    """`kind` and `source` say which other settings a group has, wherever they stand among the overrides."""

    def test_order_does_not_matter(self) -> None:
        words = ["data.validation_fraction=0.3", "data.path=x.txt", "data.source=text"]
        found = {load_run_config(STDLIB, order).model_dump_json() for order in itertools.permutations(words)}
        assert len(found) == 1
        data = load_run_config(STDLIB, words).data
        assert (data.source, data.path, data.validation_fraction) == ("text", "x.txt", 0.3)

    def test_the_last_of_two_counts(self) -> None:
        config = load_run_config(STDLIB, ["data.source=text", "data.name=here", "data.source=hub"])
        assert (config.data.source, config.data.name) == ("hub", "here")

    def test_a_whole_group_counts_where_it_stands(self) -> None:
        config = load_run_config(STDLIB, ["data.source=text", "data={source: hub, name: here}"])
        assert config.data.source == "hub"

    def test_schedules_have_their_settings_in_common(self) -> None:
        assert load_run_config(STDLIB, ["schedule.kind=linear"]).schedule.warmup_steps == load_run_config(STDLIB).schedule.warmup_steps > 0
        schedule = load_run_config(STDLIB, ["schedule.warmup_steps=300", "schedule.final=0.5", "schedule.kind=linear"]).schedule
        assert (schedule.kind, schedule.warmup_steps, schedule.final) == ("linear", 300, 0.5)


@pytest.mark.parametrize("text", ["model.num_layers=1", "data={source: text, path: x.txt}", "optimizer.learning_rate=1e-4"])
def test_another_run_is_not_held_against_the_figures_of_its_file(text: str) -> None:
    assert load_run_config(STDLIB, ["name=other", "train.save_every=7"]).expected == load_run_config(STDLIB).expected is not None
    assert load_run_config(STDLIB, [text]).expected is None
    assert load_run_config(STDLIB, [text, "expected={validation_loss: 2.0}"]).expected is not None
