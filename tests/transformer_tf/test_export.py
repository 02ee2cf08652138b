"""Exported files: what they need, what they hold, and what is refused. Equality with Hugging Face stands in tests/parity."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from configs import UserError, load_model_config
from transformer_tf import Transformer
from transformer_tf.export import export_litert, export_saved_model
from transformer_tf.export.__main__ import main
from transformer_tf.export.check import interpreter
from transformer_tf.export.signatures import GENERATE

# Of the largest value.
APART = 1e-5
LONGEST = 24


@pytest.fixture(scope="module")
def tiny() -> Transformer:
    return Transformer(load_model_config("gpt2-mini", ["num_layers=1", "width=64", "attention.num_heads=2"]), seed=1)


@pytest.mark.export
def test_fewer_bits_are_smaller_and_near(tiny: Transformer, tmp_path: Path) -> None:
    sizes, furthest = {}, {"float32": APART, "float16": 2e-3, "int8": 0.1}
    for weights, limit in furthest.items():
        forward, generate = export_litert(tiny, tmp_path / weights, weights, max_length=LONGEST)
        sizes[weights] = (tmp_path / weights).stat().st_size
        assert forward.differences["logits"] <= limit
        assert (generate.name, set(generate.differences)) == (GENERATE, {"tokens", "length"})
    parameters = sum(int(np.prod(weight.shape)) for weight in tiny.weights)
    assert 4 * parameters < sizes["float32"] < 4 * parameters + 150_000, "the weights stand once for both signatures"
    assert sizes["float16"] < 0.6 * sizes["float32"]
    # A table that the head shares stands in it twice.
    assert sizes["int8"] < 0.6 * sizes["float32"]


def test_weights_that_a_converter_leaves_out_are_missed(tiny: Transformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LiteRT's does with those of a Keras model: the file then has memory that nobody has written."""

    def write(model: Transformer, functions: dict[str, Any], folder: Path) -> None:
        module = tf.Module()
        module.model = model
        tf.saved_model.save(module, str(folder), signatures=functions)

    monkeypatch.setattr("transformer_tf.export.litert.write", write)
    with pytest.raises(UserError, match=r"logits of serving_default is .* from the model's, where 1e-05 is allowed; nothing is kept"):
        export_litert(tiny, tmp_path / "model", max_length=LONGEST)
    assert not list(tmp_path.iterdir())


@pytest.mark.export
def test_a_saved_model_needs_nothing_but_tensorflow(tiny: Transformer, tmp_path: Path) -> None:
    export_saved_model(tiny, tmp_path / "saved", max_length=LONGEST)
    program = (
        "import sys, tensorflow as tf; saved = tf.saved_model.load(sys.argv[1]); ids = tf.constant([[3, 1, 4]], tf.int64); "
        "given = {'input_ids': ids, 'attention_mask': tf.ones_like(ids)}; "
        "print(saved.signatures['generate'](**given, limit=tf.constant(9), seed=tf.constant(0))['tokens'].numpy()[0, :9].tolist()); "
        "assert not {'transformer_tf', 'configs', 'torch'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path / "saved")], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(tiny.generate([[3, 1, 4]], max_length=9, eos_token_id=()).numpy()[0].tolist())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "int4"}, "weights='int4' is not known; choose one of: float32, float16, int8"),
        ({"do_sample": True}, "do_sample=true: LiteRT has no random numbers; set do_sample=false"),
        ({"max_new_tokens": 3}, "an exported model has room for max_length tokens, those of the prompt included; set max_length"),
        ({"max_length": 9_999}, "max_length=9999 is more than the model's"),
        ({"stop_strings": ["a"]}, "generation_graph has no stop_strings"),
        ({"batch_size": 0}, "batch_size=0; expected at least 1"),
        ({"length": 3}, "length=3 is for fixed shapes; leave it out, or set static"),
    ],
)
def test_what_a_file_has_not_is_refused(tiny: Transformer, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        export_litert(tiny, tmp_path / "model", **changes)
    assert not list(tmp_path.iterdir())


def test_other_types_what_exists_and_what_is_too_large_are_refused(
    tiny: Transformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert = Transformer(load_model_config("bert-tiny", ["num_layers=1", "vocab_size=32"]), seed=1)
    with pytest.raises(UserError, match=r"max_length is for models that generate, and this one has head\.kind='masked_language_model'"):
        export_saved_model(bert, tmp_path / "model", max_length=9)
    with pytest.raises(UserError, match="batch_size=2 is for generate and for fixed shapes, and a pass takes any number of rows"):
        export_saved_model(bert, tmp_path / "model", batch_size=2)
    (tmp_path / "in").touch()
    with pytest.raises(UserError, match=r"in/the/way cannot be written: .*; name a file where you may write"):
        export_litert(tiny, tmp_path / "in" / "the" / "way", max_length=LONGEST)
    (tmp_path / "in").unlink()
    with pytest.raises(UserError, match="the model is mixed_bfloat16, and exported models are float32; load it with dtype='float32'"):
        export_saved_model(Transformer(tiny.config, dtype="mixed_bfloat16"), tmp_path / "model")
    monkeypatch.setattr("transformer_tf.export.litert.LARGEST", 1000)
    with pytest.raises(UserError, match=r"a LiteRT file holds less than 2\.1; choose fewer bits"):
        export_litert(tiny, tmp_path / "model")
    (tmp_path / "model").touch()
    monkeypatch.undo()
    with pytest.raises(UserError, match="model exists; name another file or remove it"):
        export_litert(tiny, tmp_path / "model")


def test_the_command_says_what_it_wrote(tiny: Transformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformer_tf import save

    save(tiny, tmp_path / "run")
    assert main([str(tmp_path / "run"), str(tmp_path / "file.tflite"), "--to", "litert", f"max_length={LONGEST}", "--batch-size", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'file.tflite'}  1.")
    assert "  takes input_ids           int64   (any, any)" in lines
    assert "  takes input_ids           int64   (2, any)" in lines
    assert lines[-1] == "  gives tokens              the model's"
    with pytest.raises(UserError, match="--weights int8 is for LiteRT; leave it out, or add --to litert"):
        main([str(tmp_path / "run"), str(tmp_path / "saved"), "--weights", "int8"])


@pytest.mark.export
def test_a_file_needs_no_tensorflow(tiny: Transformer, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    assert interpreter().__module__.startswith("ai_edge_litert")
    export_litert(tiny, tmp_path / "model", max_length=LONGEST)
    program = (
        "import sys, numpy as np; from ai_edge_litert.interpreter import Interpreter; ids = np.array([[3, 1, 4]]); "
        "run = Interpreter(sys.argv[1]).get_signature_runner('generate'); "
        "found = run(input_ids=ids, attention_mask=np.ones_like(ids), limit=np.int32(9), seed=np.int32(0)); "
        "print(found['tokens'][0, :9].tolist()); assert 'tensorflow' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path / "model")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(tiny.generate([[3, 1, 4]], max_length=9, eos_token_id=()).numpy()[0].tolist())
