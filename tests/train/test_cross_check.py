"""A finished run in three implementations, and what is said where they disagree."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from configs import UserError, load_model_config
from tests.train.runs import CONFIG, overrides, write_text
from train.cross_check import Answer, cross_check, report
from train.run_folder import write_all_whole
from train.tokenization import CharacterTokenizer
from transformer_torch import Transformer, save
from weight_mapping import convert

TOKENIZER = CharacterTokenizer("abcdefg")
SIZES = ["num_layers=2", "width=24", "attention.num_heads=3", "feed_forward.width=40", "vocab_size=7", "max_length=16"]


def answer(shift: float = 0.0, last: int = 3) -> Answer:
    return Answer(np.array([[[-2.0, 1.0 + shift]]]), [0, 1, last])


def test_agreement_passes(capsys):
    assert report({"PyTorch": answer(), "TensorFlow": answer(1e-6), "Hugging Face": answer(-1e-6)}, TOKENIZER, 1) == 0
    printed = capsys.readouterr().out
    assert "PyTorch / Hugging Face" in printed
    assert printed.count("the same 2 tokens") == 3
    assert "| abd" in printed


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (answer(0.01), "the logits of PyTorch and TensorFlow are 5.0e-03 apart"),
        (answer(float("nan")), "the logits of PyTorch and TensorFlow are nan apart"),
        (answer(last=4), "PyTorch and TensorFlow continue the prompt differently"),
    ],
)
def test_disagreement_fails(capsys, other, message):
    assert report({"PyTorch": answer(), "TensorFlow": other}, TOKENIZER, 1) == 1
    assert f"error: cross-check failed: {message}" in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["gpt2-character", "llama-character"])
def test_a_run_is_the_same_in_all_three(tmp_path, capsys, preset):
    run = tmp_path / "run"
    save(Transformer(load_model_config(preset, SIZES), seed=1), run)
    write_all_whole(run, TOKENIZER.save)
    assert cross_check(run, "abc") == 0
    printed = capsys.readouterr().out
    assert printed.count("the same 13 tokens") == 3
    assert (run / "huggingface" / "config.json").is_file()
    assert (run / "huggingface" / "tokenizer.json").is_file()
    assert "left out" not in printed


def test_the_other_gelu_is_found(tmp_path, capsys):
    """At initial weights it moves logits the least, and by less the narrower a model is."""
    run = tmp_path / "run"
    save(Transformer(load_model_config("gpt2-mini", ["num_layers=2", "vocab_size=7", "max_length=16", "special_tokens={}"]), seed=1), run)
    write_all_whole(run, TOKENIZER.save)
    convert(run, run / "huggingface", "hf")
    config = run / "huggingface" / "config.json"
    config.write_text(config.read_text().replace('"activation_function": "gelu_new"', '"activation_function": "gelu"'))
    assert cross_check(run, "abc") == 1
    printed = capsys.readouterr().out
    assert "error: cross-check failed: the logits of PyTorch and Hugging Face are " in printed
    assert "the logits of PyTorch and TensorFlow are" not in printed


@pytest.mark.parametrize(("module", "more"), [("train.__main__", []), ("train.__main__", ["--dry-run"]), ("train.tensorflow", [])])
def test_a_model_that_cannot_be_exported_is_refused_before_work_starts(tmp_path, monkeypatch, module, more):
    write_text(tmp_path)
    words = overrides(tmp_path, train__cross_check="true", model__positions__kind="rotary")
    monkeypatch.setattr("sys.argv", ["train", str(CONFIG), *words, *more])
    main = importlib.import_module(module).main
    with pytest.raises(UserError) as caught:
        main()
    assert str(caught.value) == (
        "train.cross_check=true exports the model, and family 'gpt2' has positions.kind='learned', and this model has 'rotary'; "
        "Hugging Face has no place for it; set train.cross_check=false"
    )
    assert not (tmp_path / "runs").exists()
