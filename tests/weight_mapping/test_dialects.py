"""Old and new files of the same model: config.json of versions 4 and 5, tied heads, buffers that nobody needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from configs import GenerationConfig, ModelConfig
from tests.weight_mapping.folders import assert_same, config_of, refused, tensors_of, write
from weight_mapping import Checkpoint, canonical_tensors, convert, families
from weight_mapping.family import Family


def read(folder: Path) -> ModelConfig:
    with Checkpoint(folder) as checkpoint:
        checkpoint.check()
        return checkpoint.config


def read_config(family: str, values: dict[str, Any]) -> ModelConfig:
    return families()[family].read_config(values, "config.json")


def rewritten(folder: Path, to: Path, **changes: Any) -> Path:
    """The same checkpoint with keys of config.json changed, or left out where the change is None."""
    config = {key: value for key, value in {**config_of(folder), **changes}.items() if value is not None}
    return write(to, tensors_of(folder), config)


def test_torch_dtype_in_place_of_dtype(family: Family, folder: Path, tmp_path: Path) -> None:
    assert read(rewritten(folder, tmp_path / "v4", dtype=None, torch_dtype="float32", transformers_version="4.30.0")) == read(folder)


def test_architectures_left_out(family: Family, folder: Path, tmp_path: Path) -> None:
    assert read(rewritten(folder, tmp_path / "bare", architectures=None)) == read(folder)


def test_n_ctx_in_place_of_n_positions(tied: Path, tmp_path: Path) -> None:
    assert read(rewritten(tied, tmp_path / "old", n_positions=None, n_ctx=29)) == read(tied)
    assert read(rewritten(tied, tmp_path / "both", n_ctx=1024)).max_length == 29


def test_defaults_are_hugging_faces(tied: Path, tmp_path: Path) -> None:
    """The hub's `gpt2` says nothing of n_inner; half of its keys may be left out."""
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    values = families()["gpt2"].read_config(config, "config.json")
    assert (values.width, values.num_layers, values.feed_forward.width, values.vocab_size, values.max_length) == (
        768,
        12,
        3072,
        50257,
        1024,
    )
    assert (values.norm.epsilon, values.feed_forward.activation, values.dropout.attention) == (1e-5, "gelu_tanh", 0.1)
    wide = families()["gpt2"].read_config({**config, "n_embd": 96, "n_inner": None}, "config.json")
    assert wide.feed_forward.width == 384


def test_one_end_or_several(tied: Path, tmp_path: Path) -> None:
    assert read(rewritten(tied, tmp_path / "one", eos_token_id=2)).special_tokens.eos == (2,)
    assert read(rewritten(tied, tmp_path / "two", eos_token_id=[2, 3])).special_tokens.eos == (2, 3)
    assert read(rewritten(tied, tmp_path / "none", eos_token_id=None)).special_tokens.eos == ()


class TestRotary:
    """Version 5 keeps `rope_parameters`; version 4 kept `rope_theta` beside `rope_scaling`."""

    @pytest.fixture
    def llama(self, checkpoint_of: Callable[..., Path]) -> Path:
        return checkpoint_of(families()["llama"], rope_parameters={"rope_type": "default", "rope_theta": 500.0})

    def test_rope_theta_at_the_top(self, llama: Path, tmp_path: Path) -> None:
        old = rewritten(llama, tmp_path / "v4", rope_parameters=None, rope_theta=500.0, dtype=None, torch_dtype="float32")
        assert read(old) == read(llama)
        assert read(old).positions.base == 500.0  # type: ignore[union-attr]

    def test_where_both_stand_the_new_one_wins(self, llama: Path, tmp_path: Path) -> None:
        assert read(rewritten(llama, tmp_path / "both", rope_theta=7.0)) == read(llama)

    @pytest.mark.parametrize("key", ["type", "rope_type"])
    def test_a_scaling_that_is_not_built_is_refused(self, llama: Path, tmp_path: Path, key: str) -> None:
        old = rewritten(llama, tmp_path / "v4", rope_parameters=None, rope_theta=500.0, rope_scaling={key: "warped", "factor": 2.0})
        assert "'warped', which is not built" in refused(lambda: read(old))


class TestTiedHead:
    def test_stored_all_the_same(self, tied: Path, tmp_path: Path) -> None:
        tensors = tensors_of(tied)
        assert "lm_head.weight" not in tensors
        stored = {**tensors, "lm_head.weight": tensors["transformer.wte.weight"]}
        folder = write(tmp_path / "stored", stored, config_of(tied))
        convert(folder, tmp_path / "run", "run")
        convert(tmp_path / "run", tmp_path / "hf", "hf")
        assert_same(tensors_of(tmp_path / "hf"), tensors)

    def test_another_than_it_is_tied_to(self, tied: Path, tmp_path: Path) -> None:
        tensors = tensors_of(tied)
        head = tensors["transformer.wte.weight"].copy()
        head[3, 4] += 1e-6
        folder = write(tmp_path / "differs", {**tensors, "lm_head.weight": head}, config_of(tied))
        message = refused(lambda: convert(folder, tmp_path / "run", "run"))
        assert "lm_head.weight differs from transformer.wte.weight" in message
        assert "tie_word_embeddings" in message

    def test_untied(self, untied: Path, tmp_path: Path) -> None:
        source = tensors_of(untied)
        assert not np.array_equal(source["lm_head.weight"], source["transformer.wte.weight"])
        convert(untied, tmp_path / "run", "run")
        convert(tmp_path / "run", tmp_path / "hf", "hf")
        assert_same(tensors_of(tmp_path / "hf"), source)
        assert config_of(tmp_path / "hf")["tie_word_embeddings"] is False

    def test_untied_but_not_there(self, untied: Path, tmp_path: Path) -> None:
        source = tensors_of(untied)
        del source["lm_head.weight"]
        folder = write(tmp_path / "headless", source, config_of(untied))
        assert "'lm_head.weight' of shape [83, 20] is missing" in refused(lambda: convert(folder, tmp_path / "run", "run"))


@pytest.mark.parametrize(
    ("family", "owner", "alias"),
    [
        ("gpt2", "transformer.wte.weight", "lm_head.weight"),
        ("llama", "model.embed_tokens.weight", "lm_head.weight"),
        ("opt", "model.decoder.embed_tokens.weight", "lm_head.weight"),
        ("bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("t5", "shared.weight", "decoder.embed_tokens.weight"),
        ("marian", "model.shared.weight", "model.decoder.embed_tokens.weight"),
        ("marian", "model.shared.weight", "lm_head.weight"),
    ],
)
def test_a_file_may_hold_either_of_two_that_are_tied(
    family: str, owner: str, alias: str, checkpoint_of: Callable[..., Path], tmp_path: Path
) -> None:
    """google/madlad400-3b-mt has no `shared.weight`."""
    folder = checkpoint_of(families()[family], tie_word_embeddings=True)
    tensors = tensors_of(folder)
    other = write(tmp_path / "alias", {alias if name == owner else name: array for name, array in tensors.items()}, config_of(folder))
    convert(other, tmp_path / "run", "run")
    convert(tmp_path / "run", tmp_path / "hf", "hf")
    assert_same(tensors_of(tmp_path / "hf"), tensors)


@pytest.mark.parametrize("family", ["bart", "marian"])
def test_a_base_model_reads_as_one_that_generates(family: str, checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    """config.json of facebook/bart-base says BartModel, whose file has no bias of the logits: Hugging Face takes zeros."""
    generating, base = families()[family].architectures
    folder = checkpoint_of(families()[family], architecture=base)
    convert(folder, tmp_path / "run", "run", generating)
    convert(tmp_path / "run", tmp_path / "hf", "hf")
    found = tensors_of(tmp_path / "hf")
    assert not found.pop("final_logits_bias").any()
    held = {f"model.{name.removeprefix('model.')}": array for name, array in tensors_of(folder).items()}
    # Marian's files hold sines too.
    assert_same(found, {name: array for name, array in held.items() if "embed_positions" not in name or family == "bart"})
    with Checkpoint(folder, generating) as checkpoint:
        assert ("zeros",) in [row.operations for row in checkpoint.rows()]


class TestHeadsThatAreNotThere:
    @pytest.fixture
    def base(self, checkpoint_of: Callable[..., Path]) -> Path:
        return checkpoint_of(families()["bert"], architecture="BertModel")

    def test_of_another_kind_is_left_out(self, base: Path, tmp_path: Path) -> None:
        """bert-large-uncased-whole-word-masking-finetuned-squad answers questions."""
        tensors = {f"bert.{name}": array for name, array in tensors_of(base).items()}
        answers = {"qa_outputs.weight": np.ones((2, 30), np.float32), "qa_outputs.bias": np.ones(2, np.float32)}
        folder = write(tmp_path / "qa", tensors | answers, config_of(base))
        with Checkpoint(folder, "BertModel") as checkpoint:
            assert {name for name, _ in checkpoint.tensors()} == {target.name for target in canonical_tensors(checkpoint.config)}
            assert checkpoint.notes == ["qa_outputs.bias (and 1 more) is of a head that is not built, and left out"]
        notes: list[str] = []
        convert(folder, tmp_path / "run", "run", "BertModel", notes)
        assert len(notes) == 1
        with Checkpoint(folder, "BertForMaskedLM") as checkpoint:
            assert "is missing" in refused(checkpoint.check)

    @pytest.mark.parametrize("family", ["bert", "llama", "vit", "bart"])
    def test_beside_a_base_model_without_its_prefix_nothing_is(
        self, family: str, checkpoint_of: Callable[..., Path], tmp_path: Path
    ) -> None:
        """Every name lacks it there, and what is left over is a mistake."""
        described = families()[family]
        base = checkpoint_of(described, architecture=described.headless)
        folder = write(tmp_path / "odd", {**tensors_of(base), "adapter.weight": np.ones(3, np.float32)}, config_of(base))
        assert "'adapter.weight' of shape [3] has no place" in refused(lambda: read(folder))

    def test_one_that_is_misspelt_is_not_taken_for_none(self, checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
        whole = checkpoint_of(families()["bert"])
        tensors = {name.replace("transform.dense", "transform.dens"): array for name, array in tensors_of(whole).items()}
        message = refused(lambda: read(write(tmp_path / "odd", tensors, config_of(whole))))
        assert "the nearest is 'cls.predictions.transform.dens." in message

    def test_the_advice_says_how_to_read_the_rest(self, base: Path) -> None:
        with Checkpoint(base, "BertForMaskedLM") as checkpoint:
            assert refused(checkpoint.check).endswith("the file has no such head, and architecture=BertModel reads it without")


@pytest.mark.parametrize("names", [{"0": 3, "1": None}, {0: "3", 1: "LABEL_1"}])
def test_names_of_classes_may_be_numbers(names: dict[Any, Any]) -> None:
    values = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "id2label": names}
    assert read_config("bert", values).head.labels == ("3", "LABEL_1")


def test_the_first_llamas_class() -> None:
    assert read_config("llama", {"model_type": "llama", "architectures": ["LLaMAForCausalLM"]}).head.kind == "language_model"


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_old_buffers_are_ignored(tied: Path, tmp_path: Path, prefix: str) -> None:
    tensors = {prefix + name.removeprefix("transformer."): array for name, array in tensors_of(tied).items()}
    for layer in range(3):
        tensors[f"{prefix}h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 29, 29), np.uint8))
        tensors[f"{prefix}h.{layer}.attn.masked_bias"] = np.array(-1e4, np.float32)
    folder = write(tmp_path / "old", tensors, config_of(tied))
    convert(folder, tmp_path / "run", "run")
    convert(tmp_path / "run", tmp_path / "hf", "hf")
    assert_same(tensors_of(tmp_path / "hf"), tensors_of(tied))


def test_a_buffer_of_a_layer_that_is_not_there(tied: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "odd", {**tensors_of(tied), "transformer.h.3.attn.bias": np.ones(3, np.float32)}, config_of(tied))
    assert "'transformer.h.3.attn.bias' of shape [3] has no place" in refused(lambda: read(folder))


def test_config_json_speaks_of_generation_where_no_file_does(tied: Path, tmp_path: Path) -> None:
    """So it was before version 4.26."""
    old = rewritten(tied, tmp_path / "old", num_beams=3, bad_words_ids=[[7]], max_length=11)
    settings = {"num_beams": 3, "bad_words_ids": [[7]], "max_length": 11}
    with Checkpoint(old) as checkpoint:
        assert checkpoint.generation_config is not None
        assert checkpoint.generation_config.items() >= settings.items()
    convert(old, tmp_path / "run", "run")
    with Checkpoint(tmp_path / "run") as checkpoint:
        assert checkpoint.generation_config == settings | {"bos_token_id": 1, "eos_token_id": [2]}
    forced = rewritten(tied, tmp_path / "forced", force_bos_token_to_be_generated=True)
    with Checkpoint(forced) as checkpoint:
        assert checkpoint.generation_config == {"forced_bos_token_id": 1, "bos_token_id": 1, "eos_token_id": [2]}
    (old / "generation_config.json").write_text('{"num_beams": 2}', encoding="utf-8")
    with Checkpoint(old) as checkpoint:
        assert checkpoint.generation_config == {"num_beams": 2}


def test_generation_config_has_the_last_word_on_special_tokens(tied: Path, tmp_path: Path) -> None:
    """Chat models keep their further ends there alone."""
    folder = rewritten(tied, tmp_path / "chat", eos_token_id=2)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 7], "pad_token_id": null}', encoding="utf-8")
    assert read(folder).special_tokens.eos == (2, 7)


@pytest.mark.parametrize(
    ("found", "kept"), [({"eos_token_id": 50256, "pad_token_id": -1}, {}), ({"eos_token_id": [2, 50256]}, {"eos_token_id": [2]})]
)
def test_ends_outside_the_vocabulary_end_nothing(tied: Path, tmp_path: Path, found: dict[str, Any], kept: dict[str, Any]) -> None:
    """A small GPT-2 with a vocabulary of its own is saved with the ids of the large one in both files, and generates."""
    folder = rewritten(tied, tmp_path / "small", eos_token_id=50256)
    (folder / "generation_config.json").write_text(json.dumps(found), encoding="utf-8")
    with Checkpoint(folder) as checkpoint:
        values = GenerationConfig.merged(checkpoint.generation_config, {})
        assert {name: value for name, value in values.items() if value is not None} == kept
        GenerationConfig.model_validate(values).complete(checkpoint.config).check_model(checkpoint.config)


@pytest.mark.parametrize(
    ("family", "keys", "expected"),
    [
        ("gpt2", {"embd_pdrop": 0.1, "attn_pdrop": 0.2, "resid_pdrop": 0.3}, {"embedding": 0.1, "attention": 0.2, "residual": 0.3}),
        (
            "bert",
            {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.3},
            {"embedding": 0.1, "residual": 0.1, "attention": 0.2, "head": 0.3},
        ),
        (
            "distilbert",
            {"dropout": 0.1, "attention_dropout": 0.2, "seq_classif_dropout": 0.3},
            {"embedding": 0.1, "residual": 0.1, "attention": 0.2, "head": 0.3},
        ),
        (
            "marian",
            {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.3},
            {"embedding": 0.1, "residual": 0.1, "attention": 0.2, "feed_forward": 0.3},
        ),
        ("t5", {"dropout_rate": 0.3}, {"embedding": 0.3, "attention": 0.3, "residual": 0.3, "feed_forward": 0.3}),
        ("opt", {"dropout": 0.1, "attention_dropout": 0.2}, {"residual": 0.1, "attention": 0.2}),
        ("llama", {"attention_dropout": 0.2}, {"attention": 0.2}),
        ("gpt_neox", {"hidden_dropout": 0.1, "attention_dropout": 0.2}, {"embedding": 0.1, "residual": 0.1, "attention": 0.2}),
        (
            "modernbert",
            {"embedding_dropout": 0.1, "attention_dropout": 0.2, "mlp_dropout": 0.3},
            {"embedding": 0.1, "attention": 0.2, "feed_forward": 0.3},
        ),
    ],
)
def test_rates_of_dropout(family: str, keys: dict[str, float], expected: dict[str, float]) -> None:
    classes = {"bert": "BertForSequenceClassification", "distilbert": "DistilBertForSequenceClassification"}
    config = read_config(family, {**keys, **({"architectures": [classes[family]]} if family in classes else {})})
    assert {name: rate for name, rate in config.dropout.model_dump().items() if rate} == expected
    written = families()[family].write_config(config)
    assert {key: written[key] for key in keys} == keys


def test_next_sentences_are_told_without_dropout() -> None:
    config = {"architectures": ["BertForNextSentencePrediction"], "hidden_dropout_prob": 0.3}
    assert read_config("bert", config).dropout.head == 0.0


def test_slices_of_a_product_change_nothing() -> None:
    """Llama 2 was trained with them, and says so."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    assert read_config("llama", {**config, "pretraining_tp": 2}) == read_config("llama", config)


@pytest.mark.parametrize(("family", "otherwise"), [("mistral", 8), ("qwen2", 32), ("llama", 64)])
def test_no_number_of_key_value_heads_is_that_of_the_queries(family: str, otherwise: int) -> None:
    config = {"model_type": family, "num_attention_heads": 64, "hidden_size": 4096}
    assert read_config(family, config).num_key_value_heads == otherwise
    assert read_config(family, {**config, "num_key_value_heads": None}).num_key_value_heads == 64


@pytest.mark.parametrize(
    ("family", "key", "architecture"),
    [("modernbert", "classifier_activation", "ModernBertForSequenceClassification"), ("vit", "pooler_act", "ViTModel")],
)
def test_activations_in_front_of_a_head(family: str, key: str, architecture: str) -> None:
    for theirs, ours in (("tanh", "tanh"), ("gelu_new", "gelu_tanh"), ("relu", "relu")):
        config = read_config(family, {"architectures": [architecture], key: theirs})
        assert config.pooler is not None
        assert config.pooler.transform is not None
        assert config.pooler.transform.activation == ours
        assert families()[family].write_config(config)[key] == theirs
    said = refused(lambda: read_config(family, {"architectures": [architecture], key: "gelu_odd"}))
    assert f"{key} is 'gelu_odd', which is not built; built: gelu, gelu_python, gelu_new" in said


def test_what_is_misshapen_is_told_by_its_key() -> None:
    assert "id2label has the key 'a'" in refused(
        lambda: read_config("bert", {"architectures": ["BertForSequenceClassification"], "id2label": {"a": "b"}})
    )
    assert "rope_parameters is 'yarn'" in refused(lambda: read_config("llama", {"rope_parameters": "yarn"}))


def test_quantized_weights_are_refused_by_name(tied: Path, tmp_path: Path) -> None:
    folder = rewritten(tied, tmp_path / "fp8", quantization_config={"quant_method": "fp8"})
    assert "quantization_config is 'fp8'; quantized weights are not built" in refused(lambda: read(folder))


def test_images_that_are_not_square_are_refused() -> None:
    assert "[12, 20] is not square" in refused(
        lambda: families()["vit"].read_config({"image_size": [12, 20], "patch_size": 4}, "config.json")
    )
    config = families()["vit"].read_config({"image_size": [12, 12], "patch_size": [4, 4], "architectures": ["ViTModel"]}, "config.json")
    assert config.max_length == 10


OF_DECODERS = [name for name, family in families().items() if family.constants["architecture"] != "encoder"]


@pytest.mark.parametrize("name", OF_DECODERS)
@pytest.mark.parametrize("value", [False, None])
def test_a_decoder_that_sees_what_comes_is_refused(checkpoint_of: Callable[..., Path], name: str, value: bool | None) -> None:
    config = config_of(checkpoint_of(families()[name]))
    assert read_config(name, {**config, "is_causal": True}) == read_config(name, config)
    assert f"is_causal is {value}" in refused(lambda: read_config(name, {**config, "is_causal": value}))


WITH_OTHER_NAMES = [(name, other) for name, family in families().items() for other in family.other_names]


@pytest.mark.parametrize(("name", "other"), WITH_OTHER_NAMES)
def test_a_key_under_its_other_name(checkpoint_of: Callable[..., Path], name: str, other: str) -> None:
    """Hugging Face sets the same field by both, and by this one last."""
    config, first = config_of(checkpoint_of(families()[name])), families()[name].other_names[other]
    alone = {key: value for key, value in config.items() if key != first} | {other: config[first]}
    assert read_config(name, alone) == read_config(name, {**config, other: config[first]}) == read_config(name, config)
    message = refused(lambda: read_config(name, {**config, other: 7}))
    assert f"{other} is 7 and {first} is {config[first]}, and both name one setting" in message


@pytest.mark.parametrize("name", sorted({name for name, _ in WITH_OTHER_NAMES} | {"bert", "llama", "vit", "opt"}))
def test_other_names_are_hugging_faces(name: str) -> None:
    family = families()[name]
    assert dict(family.other_names) == transformers.CONFIG_MAPPING[family.model_type].attribute_map


def test_t5_believes_the_activation_before_the_name_of_the_network(checkpoint_of: Callable[..., Path]) -> None:
    config = config_of(checkpoint_of(families()["t5"], feed_forward_proj="gated-gelu"))
    assert (config["dense_act_fn"], config["is_gated_act"]) == ("gelu_new", True)
    found = read_config("t5", {**config, "dense_act_fn": "silu"}).feed_forward
    assert (found.activation, found.gated) == ("silu", True)
    assert not read_config("t5", {**config, "is_gated_act": False}).feed_forward.gated
    assert "dense_act_fn is 'mish', which is not built" in refused(lambda: read_config("t5", {**config, "dense_act_fn": "mish"}))


def test_modernbert_has_two_names_for_its_window(checkpoint_of: Callable[..., Path]) -> None:
    config = config_of(checkpoint_of(families()["modernbert"]))
    assert read_config("modernbert", {**config, "sliding_window": config["local_attention"] // 2}) == read_config("modernbert", config)
    assert "sliding_window is 2" in refused(lambda: read_config("modernbert", {**config, "sliding_window": 2}))


def test_what_a_classifier_is_for_stays_with_it(checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint_of(families()["bert"], architecture="BertForSequenceClassification", problem_type="multi_label_classification")
    convert(folder, tmp_path / "run", "run")
    convert(tmp_path / "run", tmp_path / "hf", "hf")
    assert config_of(tmp_path / "hf")["problem_type"] == "multi_label_classification"


def test_a_file_beside_an_index_of_former_shards(tied: Path, tmp_path: Path) -> None:
    """What Hugging Face leaves in a folder into which it saves twice, first in shards."""
    folder = write(tmp_path / "both", tensors_of(tied), config_of(tied))
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"ghost": "model-00001-of-00007.safetensors"}}', encoding="utf-8")
    assert read(folder) == read(tied)


@pytest.mark.parametrize(("key", "value"), [("pad_token_id", "x"), ("activation_function", ["gelu"]), ("vocab_size", "83")])
def test_a_value_that_makes_no_sense(tied: Path, key: str, value: Any) -> None:
    message = refused(lambda: read_config("gpt2", {**config_of(tied), key: value}))
    assert f"config.json: {key} has a value that makes no sense there" in message


def test_a_token_in_a_list_by_itself(checkpoint_of: Callable[..., Path]) -> None:
    """As some files of generation settings have what a decoder reads first."""
    folder = checkpoint_of(families()["t5"])
    (folder / "generation_config.json").write_text('{"decoder_start_token_id": [5]}', encoding="utf-8")
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.config.special_tokens.decoder_start == 5
