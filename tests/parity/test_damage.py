"""A checkpoint that was damaged on purpose is pinned to its layer, and the damage is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import transformer_torch
from configs import load_model_config
from parity import sources, tolerances
from parity.__main__ import main
from parity.alterations import likeness, what_happened
from parity.causes import Base, explain
from parity.compare import Answer, ask, compare, judge
from parity.examine import Options, examine
from parity.fields import changed, config_differences
from parity.findings import Tensors, findings
from parity.huggingface import HuggingFace
from parity.inputs import example_inputs
from parity.pytorch import PyTorch
from parity.rounding import ask_several_times, nudged
from parity.sources import open_source
from parity.suspects import usual_suspects
from tests.revealing import hugging_face_model, save_hugging_face
from tests.weight_mapping.folders import config_of, tensors_of, write
from weight_mapping import families

Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's first model, made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save_hugging_face(hugging_face_model(families()[family], seed=1), tmp_path_factory.mktemp(family))
        return made[family]

    return folder


def edit(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Weights], None]:
    def damage(weights: Weights) -> None:
        weights[name] = change(weights[name])

    return damage


def exchange(one: str, other: str) -> Callable[[Weights], None]:
    def damage(weights: Weights) -> None:
        for name in [name for name in weights if one in name]:
            twin = name.replace(one, other)
            weights[name], weights[twin] = weights[twin], weights[name]

    return damage


def all_of(part: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Weights], None]:
    def damage(weights: Weights) -> None:
        for name in [name for name in weights if part in name]:
            weights[name] = change(weights[name])

    return damage


def one_element(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[5, 3] = 1.25
    return changed


def query_and_key(array: np.ndarray) -> np.ndarray:
    query, key, value = np.split(array, 3, axis=1)
    return np.concatenate([key, query, value], axis=1)


def rotary_neighbours(head_size: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array.reshape(-1, 2, head_size // 2, array.shape[1]).swapaxes(1, 2).reshape(array.shape)


def not_a_number(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[0, 0] = np.nan
    return changed


@dataclass(frozen=True)
class Damage:
    """What is done to a checkpoint of a family; where it must be found, and what must be said."""

    family: str
    place: str
    told: str
    weights: Callable[[Weights], None] | None = None
    config: Callable[[dict[str, Any]], None] | None = None


LAYER = "transformer.h.1."
DAMAGES = {
    "transposed": Damage(
        "gpt2",
        "decoder.layers.1",
        "decoder.layers.1.self_attention.output.weight: transposed",
        edit(f"{LAYER}attn.c_proj.weight", np.transpose),
    ),
    "one element": Damage(
        "gpt2",
        "decoder.layers.1",
        "decoder.layers.1.feed_forward.up.weight: 1 element of 740 changed: [3, 5] is 1.25 in place of",
        edit(f"{LAYER}mlp.c_fc.weight", one_element),
    ),
    "zeroed": Damage(
        "gpt2", "decoder.layers.1", "decoder.layers.1.feed_forward.down.bias: zeroed", edit(f"{LAYER}mlp.c_proj.bias", np.zeros_like)
    ),
    "query and key swapped": Damage(
        "gpt2",
        "decoder.layers.1",
        "decoder.layers.1.self_attention.key.weight: swapped with decoder.layers.1.self_attention.query.weight",
        edit(f"{LAYER}attn.c_attn.weight", query_and_key),
    ),
    "sign flipped": Damage("gpt2", "decoder.layers.2", "decoder.norm.weight: sign flipped", edit("transformer.ln_f.weight", np.negative)),
    "rows permuted": Damage(
        "gpt2",
        "decoder.layers.2",
        "decoder.layers.2.feed_forward.up.weight: rows shifted by 3",
        edit("transformer.h.2.mlp.c_fc.weight", lambda array: np.roll(array, 3, axis=1)),
    ),
    "scaled": Damage(
        "gpt2",
        "decoder.embeddings",
        "decoder.embeddings.position.weight: scaled by 1.1",
        edit("transformer.wpe.weight", lambda array: array * np.float32(1.1)),
    ),
    "layers swapped": Damage(
        "gpt2",
        "decoder.layers.0",
        "layers swapped: 16 tensors of decoder.layers.0 with those of decoder.layers.2",
        exchange("transformer.h.0.", "transformer.h.2."),
    ),
    "one tensor rounded": Damage(
        "gpt2",
        "decoder.layers.0",
        "decoder.layers.0.self_attention.norm.weight: rounded to bfloat16",
        edit("transformer.h.0.ln_1.weight", lambda array: array.astype(ml_dtypes.bfloat16).astype(np.float32)),
    ),
    "another gelu": Damage(
        "gpt2",
        "decoder.layers.0",
        "feed_forward.activation: gelu in place of gelu_tanh",
        config=lambda config: config.update(activation_function="gelu"),
    ),
    "another epsilon": Damage(
        "gpt2", "decoder.layers.0", "norm.epsilon: 1e-05 in place of 0.01", config=lambda config: config.update(layer_norm_epsilon=1e-5)
    ),
    "another number of heads": Damage(
        "gpt2", "decoder.layers.0", "attention.num_heads: 4 in place of 5", config=lambda config: config.update(n_head=4)
    ),
    "another rope base": Damage(
        "llama",
        "decoder.layers.0",
        "positions.base: 500000 in place of 50",
        config=lambda config: config["rope_parameters"].update(rope_theta=500000.0),
    ),
    "another rope scaling": Damage(
        "llama",
        "decoder.layers.0",
        "positions.scaling: {kind: linear, factor: 2} in place of none",
        config=lambda config: config["rope_parameters"].update(rope_type="linear", factor=2.0),
    ),
    "rotary pairs as neighbours": Damage(
        "llama",
        "decoder.layers.0",
        "decoder.layers.0.self_attention.query.weight: rows of each head interleaved: rotary pairs as neighbours, in place of in halves",
        edit("model.layers.0.self_attn.q_proj.weight", rotary_neighbours(8)),
    ),
    "gate and up swapped": Damage(
        "llama",
        "decoder.layers.1",
        "decoder.layers.1.feed_forward.gate.weight: swapped with decoder.layers.1.feed_forward.up.weight",
        exchange("layers.1.mlp.gate_proj", "layers.1.mlp.up_proj"),
    ),
    "norms stored as w - 1": Damage(
        "llama",
        "decoder.layers.0",
        "7 tensors, decoder.layers.0.self_attention.norm.weight to decoder.norm.weight: -1 added to every element",
        all_of("norm", lambda array: array - 1),
    ),
    "not a number": Damage(
        "llama",
        "decoder.layers.1",
        "decoder.layers.1.feed_forward.down.weight: 1 element of 1110 NaN or infinite",
        edit("model.layers.1.mlp.down_proj.weight", not_a_number),
    ),
    "a row lost": Damage(
        "llama",
        "decoder.embeddings",
        "decoder.embeddings.token.weight: 1 row of 83 changed: 4",
        edit("model.embed_tokens.weight", lambda array: np.where(np.arange(len(array))[:, None] == 4, np.float32(0), array)),
    ),
    "cross-attention transposed": Damage(
        "marian",
        "decoder.layers.1",
        "decoder.layers.1.cross_attention.output.weight: transposed",
        edit("model.decoder.layers.1.encoder_attn.out_proj.weight", np.transpose),
    ),
    "an encoder's layer": Damage(
        "t5",
        "encoder.layers.1",
        "encoder.layers.1.feed_forward.norm.weight: scaled by 2",
        edit("encoder.block.1.layer.1.layer_norm.weight", lambda array: array * 2),
    ),
    "a convolution backwards in time": Damage(
        "whisper",
        "encoder.embeddings",
        "encoder.embeddings.convolution1.weight: along axis 2, places 0 and 2 swapped",
        edit("model.encoder.conv1.weight", lambda array: array[:, :, ::-1]),
    ),
    "a convolution's inputs for its outputs": Damage(
        "whisper",
        "encoder.embeddings",
        "encoder.embeddings.convolution2.weight: axes swapped: in the order 1, 0, 2",
        edit("model.encoder.conv2.weight", lambda array: array.transpose(1, 0, 2)),
    ),
    "rows and columns of a patch swapped": Damage(
        "vit",
        "encoder.embeddings",
        "encoder.embeddings.patch.weight: axes swapped: in the order 0, 1, 3, 2",
        edit("vit.embeddings.patch_embeddings.projection.weight", lambda array: array.transpose(0, 1, 3, 2)),
    ),
    "classes in reverse order": Damage(
        "vit", "output", "head.weight: rows in reverse order", edit("classifier.weight", lambda array: array[::-1])
    ),
    "another end of texts": Damage(
        "clip_text", "output", "special_tokens.eos: [5] in place of [82]", config=lambda config: config.update(eos_token_id=5)
    ),
    "patches upside down": Damage(
        "vit",
        "encoder.embeddings",
        "encoder.embeddings.class_token: elements in reverse order",
        edit("vit.embeddings.cls_token", lambda array: array[:, :, ::-1]),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_pinned_to_its_layer_and_named(
    name: str, healthy: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage = DAMAGES[name]
    original = healthy(damage.family)
    weights, config = tensors_of(original), config_of(original)
    if damage.weights:
        damage.weights(weights)
    if damage.config:
        damage.config(config)
    damaged = write(tmp_path / "damaged", weights, config)
    assert main([str(damaged), "--against", str(original)]) == 1
    out = capsys.readouterr().out
    assert f"Hugging Face, PyTorch and TensorFlow part in {damage.place}: " in out
    assert sum(damage.told in line for line in out.splitlines()) == 1
    assert f"\nlikely cause: {original} with this one change gives the numbers of {damaged}, in all " in out


def test_damage_in_float64(healthy: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = healthy("gpt2")
    weights = tensors_of(original)
    # One unit in the last place of one element: float64 has no excuse of rounding.
    weights["transformer.h.1.mlp.c_fc.bias"] = weights["transformer.h.1.mlp.c_fc.bias"].copy()
    weights["transformer.h.1.mlp.c_fc.bias"][3] = np.nextafter(weights["transformer.h.1.mlp.c_fc.bias"][3], np.float32(9))
    damaged = write(tmp_path / "damaged", weights, config_of(original))
    assert main([str(damaged), "--against", str(original), "--dtype", "float64", "--plot", str(tmp_path / "a.png")]) == 1
    out = capsys.readouterr().out
    assert "Hugging Face, PyTorch and TensorFlow part in decoder.layers.1: " in out
    assert f"\nlikely cause: {original} with this one change gives the numbers of {damaged}, in all 5 places\n" in out


def test_several_damages_are_named_together(healthy: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = healthy("gpt2")
    weights, config = tensors_of(original), config_of(original)
    edit("transformer.h.0.attn.c_proj.weight", np.transpose)(weights)
    edit("transformer.h.2.ln_1.bias", np.negative)(weights)
    config["layer_norm_epsilon"] = 1e-3
    damaged = write(tmp_path / "damaged", weights, config)
    assert main([str(damaged), "--against", str(original)]) == 1
    out = capsys.readouterr().out
    assert "\n2 tensors and 1 config field differ from " in out
    assert f"\nlikely cause: {original} with these changes together gives the numbers of {damaged}, in all 5 places\n" in out


def test_damage_that_the_input_does_not_touch_is_listed(
    healthy: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = healthy("llama")
    weights = tensors_of(original)
    # One element, by one unit in the last place: no activation in float32 can show it.
    weights["model.layers.2.mlp.up_proj.weight"] = weights["model.layers.2.mlp.up_proj.weight"].copy()
    weights["model.layers.2.mlp.up_proj.weight"][0, 0] = np.nextafter(weights["model.layers.2.mlp.up_proj.weight"][0, 0], np.float32(9))
    assert main([str(write(tmp_path / "damaged", weights, config_of(original))), "--against", str(original)]) == 1
    out = capsys.readouterr().out
    assert "PyTorch agrees in all 5 places" in out
    assert "\n1 tensor differs from " in out
    assert "decoder.layers.2.feed_forward.up.weight: 1 element of 1110 changed: [0, 0] is " in out


def transposed(part: str) -> Callable[[Any], None]:
    def damage(implementation: Any) -> None:
        with torch.no_grad():
            weight = dict(implementation.model.named_parameters())[part]
            weight.copy_(weight.T.clone())

    return damage


def without_mask(implementation: Any) -> None:
    for question in ("logits", "hidden_states"):
        right = getattr(implementation, question)
        setattr(implementation, question, lambda inputs, right=right: right({k: v for k, v in inputs.items() if k != "attention_mask"}))


def another_gelu(implementation: Any) -> None:
    for layer in implementation.model.decoder.layers:
        layer.feed_forward.activation = torch.nn.functional.gelu


def another_epsilon(implementation: Any) -> None:
    for module in implementation.model.modules():
        if hasattr(module, "epsilon"):
            module.epsilon = 1e-5


def sees_the_future(implementation: Any) -> None:
    stack = implementation.model.decoder
    stack.mask = lambda window, query_T, key_S, start, attention_mask: (
        None if attention_mask is None else attention_mask[:, None, None].bool(),
        False,
    )


def another_field(dotted: str, value: Any) -> Callable[[Any], None]:
    def damage(implementation: Any) -> None:
        right = implementation.model
        implementation.model = transformer_torch.Transformer(changed(right.config, {dotted: value}), seed=None)
        implementation.model.to(next(right.parameters()).dtype).load_state_dict(right.state_dict())
        implementation.model.eval()

    return damage


MISTAKES = {
    "an untransposed square matrix": (
        "_pytorch",
        transposed("decoder.layers.1.self_attention.output.weight"),
        "PyTorch",
        "decoder.layers.1",
        "decoder.layers.1.self_attention.output.weight: transposed",
    ),
    "a missing mask": ("_tensorflow", without_mask, "TensorFlow", "decoder.layers.0", "attention_mask is left out"),
    "another gelu": ("_pytorch", another_gelu, "PyTorch", "decoder.layers.0", "feed_forward.activation: gelu in place of gelu_tanh"),
    "another epsilon": ("_pytorch", another_epsilon, "PyTorch", "decoder.layers.0", "norm.epsilon: 1e-05 in place of 0.01"),
    "a missing causal mask": (
        "_pytorch",
        sees_the_future,
        "PyTorch",
        "decoder.layers.0",
        "decoder: tokens see those after them: the causal mask is missing",
    ),
    "the scaling of Llama 3": (
        "_pytorch",
        another_field("positions.scaling", {"kind": "llama3", "factor": 8.0, "original_max_length": 29}),
        "PyTorch",
        "decoder.layers.0",
        "positions.scaling: {kind: llama3, factor: 8, original_max_length: 29, low_frequency_factor: 1, high_frequency_factor: 4} in "
        "place of none",
    ),
    "yarn": (
        "_pytorch",
        another_field("positions.scaling", {"kind": "yarn", "factor": 4.0, "original_max_length": 7}),
        "PyTorch",
        "decoder.layers.0",
        "positions.scaling: {kind: yarn, factor: 4, original_max_length: 7, beta_fast: 32, beta_slow: 1, truncate: true} in place of none",
    ),
    "dynamic scaling": (
        "_pytorch",
        another_field("positions.scaling", {"kind": "dynamic", "factor": 2.0, "original_max_length": 14}),
        "PyTorch",
        "decoder.layers.0",
        "positions.scaling: {kind: dynamic, factor: 2, original_max_length: 14} in place of none",
    ),
    "another token for a text": (
        "_pytorch",
        another_field("pooler.kind", "last"),
        "PyTorch",
        "output",
        "pooler.kind: last in place of end",
    ),
}
# All others GPT-2.
MISTAKEN = {"the scaling of Llama 3": "llama", "yarn": "llama", "dynamic scaling": "llama", "another token for a text": "clip_text"}


@pytest.mark.parametrize("name", MISTAKES)
def test_an_implementation_that_computes_otherwise_is_pinned(
    name: str, healthy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loader, damage, who, place, told = MISTAKES[name]
    right = getattr(sources, loader)

    def wrong(source: Any, dtype: str) -> Any:
        implementation = right(source, dtype)
        damage(implementation)
        return implementation

    monkeypatch.setattr(sources, loader, wrong)
    assert main([str(healthy(MISTAKEN.get(name, "gpt2")))]) == 1
    out = capsys.readouterr().out
    assert f"\n{who} parts in {place}: " in out
    assert f"\nlikely cause: {who} computes as it would with this one change, in all 5 places:\n  {told}\n" in out


@pytest.mark.parametrize(
    ("preset", "token", "seen"),
    [("roberta-base", "pad", True), ("bert-base", "pad", False), ("clip-text-base", "eos", True), ("gpt2", "eos", False)],
)
def test_special_tokens_matter_where_a_part_looks_for_them(preset: str, token: str, seen: bool) -> None:
    config = load_model_config(preset)
    other = changed(config, {f"special_tokens.{token}": (5,) if token == "eos" else 5})
    assert list(config_differences(other, config)) == [f"special_tokens.{token}"] * seen


def test_another_scaling_than_the_one_that_is_there() -> None:
    config = load_model_config("llama-3.2-1b")
    now = config.model_dump()["positions"]["scaling"]
    assert now["kind"] == "llama3"
    suspects = usual_suspects(config, Tensors({}, lambda name: np.empty(0)), {}, [], "")
    tried = [suspect.config["positions.scaling"] for suspect in suspects if "positions.scaling" in suspect.config]
    assert now not in tried
    assert None in tried
    assert {scaling["kind"] for scaling in tried if scaling} == {"linear", "dynamic", "llama3", "yarn"}
    assert now | {"factor": 8.0} in tried
    assert {"kind": "linear", "factor": 32.0} in tried


def test_a_wrong_table_of_names_is_mended(
    healthy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both of ours read the file through the same table: a forgotten transpose in it parts both from Hugging Face, in every layer."""
    folder, family = healthy("gpt2"), families()["gpt2"]
    operations = {id(rule): rule.operations for rule in family.rules}
    for rule in family.rules:
        if rule.source.endswith("attn.c_proj.weight"):
            monkeypatch.setitem(rule.__dict__, "operations", ())
    assert any(operations[id(rule)] != rule.operations for rule in family.rules)
    assert main([str(folder)]) == 1
    out = capsys.readouterr().out
    assert "\nPyTorch and TensorFlow part in decoder.layers.0: " in out
    assert "\nlikely cause: PyTorch would agree with the reference with this one change, in all 5 places:\n" in out
    assert "\n  decoder.layers.0.self_attention.output.weight, and those of the other layers: transposed\n" in out


def test_only_rounding_is_told_from_a_formula(
    healthy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = sources._pytorch

    def rounded(source: Any, dtype: str) -> Any:
        implementation = right(source, dtype)
        if dtype == "float32":
            implementation.model.to(torch.bfloat16).to(torch.float32)
        return implementation

    monkeypatch.setattr(sources, "_pytorch", rounded)
    assert main([str(healthy("gpt2"))]) == 1
    assert "\nPyTorch agrees in float64: what parts is the rounding of its float32" in capsys.readouterr().out


def test_models_in_memory_are_compared_and_explained(healthy: Callable[[str], Path]) -> None:
    model = hugging_face_model(families()["llama"], seed=1)
    with open_source(str(healthy("llama"))) as source:
        reference = HuggingFace(model, source.config, double=True)
        candidate = source.load("PyTorch", "float64")
        inputs = example_inputs(source.config, 3, 12)
        assert compare(reference, [candidate], inputs).agrees
        transposed("decoder.layers.2.self_attention.key.weight")
        with torch.no_grad():
            weights = dict(candidate.model.named_parameters())  # type: ignore[attr-defined]
            kept = weights["decoder.layers.2.self_attention.key.weight"].clone()
            weights["decoder.layers.2.self_attention.key.weight"].copy_(weights["decoder.layers.2.self_attention.value.weight"])
            weights["decoder.layers.2.self_attention.value.weight"].copy_(kept)
        found = compare(reference, [candidate], inputs)
        assert found.columns[0].first == "decoder.layers.2"
        assert [place for place, distance in found.columns[0].distances.items() if distance.agrees] == found.places[:3]
        base, limits = Base(source.config, source.tensors, inputs), dict.fromkeys(found.places, tolerances.FLOAT64)
        suspects = usual_suspects(source.config, source.tensors, inputs, found.places, "decoder.layers.2")
        kept_suspects, whole = explain(base, ask(candidate, inputs), limits, suspects)
        assert whole
        assert [suspect.what for suspect in kept_suspects] == [
            "decoder.layers.2.self_attention.key.weight: swapped with self_attention.value.weight"
        ]


def test_what_is_not_finite_never_agrees() -> None:
    """Even where the reference's own float32 overflows, and so knows no limit."""
    places = {"decoder.layers.0": np.ones((1, 2)), "output": np.ones((1, 3))}
    truth = Answer("Hugging Face", places)
    overflown, lost = (
        Answer(name, {place: np.full_like(array, value, np.float32) for place, array in places.items()})
        for name, value in {"Hugging Face": np.inf, "PyTorch": np.nan}.items()
    )
    right = Answer("TensorFlow", {place: array.astype(np.float32) for place, array in places.items()})
    found = judge(truth, [overflown], [lost, right], {})
    assert [column.first for column in found.columns] == ["decoder.layers.0", None]


def test_no_cause_is_named_that_does_not_bring_agreement(healthy: Callable[[str], Path]) -> None:
    with open_source(str(healthy("gpt2"))) as source:
        candidate = source.load("PyTorch", "float64")
        with torch.no_grad():
            for name, weight in candidate.model.named_parameters():  # type: ignore[attr-defined]
                if name == "decoder.layers.1.feed_forward.up.weight":
                    weight.add_(torch.randn_like(weight))
        inputs = example_inputs(source.config, 2, 9)
        base = Base(source.config, source.tensors, inputs)
        places = list(base.ask().activations)
        suspects = usual_suspects(source.config, source.tensors, inputs, places, "decoder.layers.1")
        assert explain(base, ask(candidate, inputs), dict.fromkeys(places, tolerances.FLOAT64), suspects) == ([], False)


RANDOM = np.random.default_rng(0)
SQUARE = RANDOM.standard_normal((16, 16)).astype(np.float32)
WIDE = RANDOM.standard_normal((6, 16)).astype(np.float32)


@pytest.mark.parametrize(
    ("expected", "found", "told"),
    [
        (SQUARE, SQUARE.T, "transposed"),
        (SQUARE, -SQUARE.T, "transposed, and its sign flipped"),
        (SQUARE, SQUARE.T.astype(np.float16).astype(np.float32), "transposed, and rounded to float16"),
        (WIDE, WIDE.T.reshape(6, 16), "read in the wrong order: the transposed tensor's numbers in this shape"),
        (WIDE, WIDE.astype(np.float16).astype(np.float32), "rounded to float16"),
        (WIDE, (WIDE.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32), "cut off to bfloat16"),
        (WIDE, WIDE[[0, 4, 2, 3, 1, 5]], "rows 1 and 4 swapped"),
        (WIDE, WIDE[::-1], "rows in reverse order"),
        (WIDE, WIDE[:, np.random.default_rng(1).permutation(16)], "columns permuted: 14 of 16 are elsewhere"),
        (WIDE, np.where(WIDE > 2, -WIDE, WIDE), "sign flipped in 3 elements of 96"),
        (WIDE, np.ones_like(WIDE), "every element is 1"),
        (WIDE, WIDE * np.float32(-3.7), "scaled by -3.7"),
        (WIDE, WIDE + np.float32(0.5), "+0.5 added to every element"),
        (WIDE, WIDE[:4], "shape 4x16 in place of 6x16; the first 4 rows are the same"),
        (WIDE, np.where(np.arange(16) == 3, np.float32(0), WIDE), "1 column of 16 changed: 3"),
        (WIDE, np.random.default_rng(2).standard_normal((6, 16)).astype(np.float32), None),
    ],
)
def test_what_happened_to_a_tensor(expected: np.ndarray, found: np.ndarray, told: str | None) -> None:
    assert what_happened(found, expected) == told


def test_numbers_that_nothing_is_known_of() -> None:
    noise = np.random.default_rng(3).standard_normal(WIDE.shape).astype(np.float32)
    assert likeness(WIDE + 0.1 * noise, WIDE) == "other numbers, near these: trained on, or quantized"
    assert likeness(WIDE * (1 + 1e-7 * noise), WIDE).startswith("rounded otherwise, or computed again: at most ")
    assert likeness(noise, WIDE) == "other numbers, unlike these"


def test_a_copied_tensor_and_missing_ones() -> None:
    first, second = (RANDOM.standard_normal((4, 5)).astype(np.float32) for _ in range(2))
    expected = {"one": first, "two": second, "gone": first[0]}
    found = {"one": second, "two": second, "new": first[1]}

    def tensors(arrays: dict[str, np.ndarray]) -> Tensors:
        return Tensors({name: array.shape for name, array in arrays.items()}, arrays.__getitem__)

    told = [str(finding) for finding in findings(tensors(found), tensors(expected))]
    assert told == ["one: holds what two should hold", "gone: missing here", "new: only here"]
    assert findings(tensors(expected), tensors(expected)) == []


def test_nudged_weights_come_back(healthy: Callable[[str], Path]) -> None:
    with open_source(str(healthy("gpt2"))) as source:
        implementation = source.load("PyTorch", "float32")
        assert isinstance(implementation, PyTorch)
        before = {name: weight.clone() for name, weight in implementation.model.named_parameters()}
        with nudged(implementation.model, seed=3):
            moved = [(weight - before[name]).abs().max() for name, weight in implementation.model.named_parameters()]
            assert all(0 < step < 1e-6 for step in moved)
        assert all(torch.equal(before[name], weight) for name, weight in implementation.model.named_parameters())
        answers = list(ask_several_times(implementation, example_inputs(source.config, 2, 5)))
        assert len({answer.activations["output"].tobytes() for answer in answers}) == len(answers) > 1


def test_wrong_gradients_are_seen_though_all_activations_agree(
    healthy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = sources._tensorflow

    def wrong(source: Any, dtype: str) -> Any:
        implementation = right(source, dtype)
        honest = implementation.gradients

        def gradients(inputs: Any, labels: np.ndarray) -> dict[str, np.ndarray]:
            found = honest(inputs, labels)
            found["decoder.layers.1.feed_forward.up.weight"] = found["decoder.layers.1.feed_forward.up.weight"] * 1.001
            return found

        monkeypatch.setattr(implementation, "gradients", gradients)
        return implementation

    monkeypatch.setattr(sources, "_tensorflow", wrong)
    assert main([str(healthy("gpt2")), "--gradients"]) == 1
    out = capsys.readouterr().out
    assert "PyTorch agrees in all 5 places and its gradients too" in out
    assert "\nTensorFlow agrees going forward, and its gradients part in decoder.layers.1.feed_forward.up.weight: " in out
    assert main([str(healthy("gpt2"))]) == 0


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("t5-small", "num_decoder_layers=6"),
        ("gpt2", "attention.num_key_value_heads=12"),
        ("mistral-7b", "attention.head_size=128"),
        ("gpt2", "attention.window_layers=wf"),
    ],
)
def test_what_a_config_leaves_to_others_is_no_difference(preset: str, said: str) -> None:
    assert config_differences(load_model_config(preset), load_model_config(preset, [said])) == {}


def test_a_little_more_rounding_of_the_same_formula_agrees(
    healthy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wide sums are added up in other orders than Hugging Face's, whose rounding is the measure. Here the measure is made smaller."""
    usual = tolerances.FLOAT32_AGAINST_HUGGING_FACE
    excess = max(column.excess for column in examine(Options(str(healthy("gpt2")))).comparison.columns)
    monkeypatch.setattr(tolerances, "FLOAT32_AGAINST_HUGGING_FACE", usual * excess / 1.9)
    assert main([str(healthy("gpt2"))]) == 0
    assert "agrees in float64; its float32 rounds more than Hugging Face's: " in capsys.readouterr().out
    monkeypatch.setattr(tolerances, "FLOAT32_AGAINST_HUGGING_FACE", usual * excess / 2.1)
    assert main([str(healthy("gpt2"))]) == 1
    assert "agrees in float64: what parts is the rounding of its float32" in capsys.readouterr().out
