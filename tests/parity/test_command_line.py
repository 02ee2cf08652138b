"""``python -m parity``: what a person sees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import transformer_torch
from configs import UserError, build
from parity import sources
from parity.__main__ import main
from parity.examine import is_matrix
from parity.report import ONE_FILE
from tests.revealing import hugging_face_model, save_hugging_face
from tests.weight_mapping.folders import config_of, tensors_of, write
from weight_mapping import Checkpoint, convert, families


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hugging_face(hugging_face_model(families()["gpt2"], seed=1), tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hugging_face(hugging_face_model(families()["vit"], seed=1), tmp_path_factory.mktemp("vit"))


@pytest.mark.parametrize("arguments", [[], ["--dtype", "float64"], ["--gradients"], ["--gradients", "--dtype", "float64"]])
def test_a_checkpoint_that_agrees(gpt2: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(gpt2), *arguments]) == 0
    out, progress = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{gpt2}  gpt2, decoder, 3 layers, width 20"
    assert lines[1] == "reference  Hugging Face in true float64"
    assert lines[2] == "input      made up with seed 0: input_ids 4x29, attention_mask 4x29"
    rows = [line.split() for line in lines if line.startswith(("decoder.", "output", "head."))]
    activations = rows[:5]
    assert [row[0] for row in activations] == ["decoder.embeddings", *(f"decoder.layers.{layer}" for layer in range(3)), "output"]
    assert len(rows) == (9 if "--gradients" in arguments else 5)
    is_float32 = "float64" not in arguments
    for row in activations:
        own, allowed = (float(row[1]), float(row[2])) if is_float32 else (0.0, float(row[1]))
        assert 2 * own <= allowed * 1.01
        assert [row[-1], row[-5]] == ["agrees", "agrees"]
        for largest, relative, units in (row[-4:-1], row[-8:-5]):
            unit = 2.0**-23 if is_float32 else 2.0**-52
            assert float(relative) / unit == pytest.approx(float(units), rel=0.1)
            assert float(units) <= allowed
            assert (float(largest) > 0) == (float(units) > 0)
    assert ("Hugging Face\n" in out or "in float32, u" in out) == is_float32
    too = " and its gradients too" if "--gradients" in arguments else ""
    assert out.endswith(f"{ONE_FILE}\n")
    assert f"\nPyTorch agrees in all 5 places{too}" in out
    assert f"\nTensorFlow agrees in all 5 places{too}" in out
    assert re.search(r"Hugging Face, true float64 \.\.\. \d+\.\d s\n", progress)
    assert re.search(r"TensorFlow, float\d\d \.\.\. \d+\.\d s\n", progress)


def test_a_run_is_exported_and_leaves_nothing_behind(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    convert(gpt2, tmp_path / "run", "run")
    assert main([str(tmp_path / "run"), "--against", str(gpt2)]) == 0
    assert list(temporary.iterdir()) == []


def test_a_run_that_hugging_face_cannot_hold(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Checkpoint(gpt2) as checkpoint:
        values = checkpoint.config.model_dump()
    values["norm"] |= {"kind": "rms", "bias": False}
    model = transformer_torch.Transformer(build(type(checkpoint.config), values, "a test"), seed=1)
    transformer_torch.save(model, tmp_path / "run")
    assert main([str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "\nreference  PyTorch in float64\n" in out
    assert "\nnote       Hugging Face is left out: family 'gpt2' has norm.kind='layer', and this model has 'rms'" in out
    assert "\nTensorFlow agrees in all 5 places" in out


def test_another_head_than_config_json_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the pretraining has two heads and is read as one; a run that was made of it has that one."""
    folder = save_hugging_face(hugging_face_model(families()["bert"], "BertModel", seed=1), tmp_path / "bert")
    both = write(tmp_path / "both", tensors_of(folder), config_of(folder) | {"architectures": ["BertForPreTraining"]})
    convert(both, tmp_path / "run", "run", "BertModel")
    assert main([str(tmp_path / "run"), "--against", str(both), "--architecture", "BertModel"]) == 0
    assert "\nTensorFlow agrees in all 5 places" in capsys.readouterr().out
    with pytest.raises(UserError, match="architecture='BertModel' is for Hugging Face's folders"):
        main([str(tmp_path / "run"), "--architecture", "BertModel"])


@pytest.mark.parametrize("arguments", [[], ["--gradients"]])
def test_a_t5_with_a_head_of_its_own(arguments: list[str], tmp_path: Path) -> None:
    """Those of v1.1: Hugging Face makes every T5 tied, and files that hold a head untie it."""
    tied = save_hugging_face(hugging_face_model(families()["t5"], variant="v1.1", seed=1), tmp_path / "tied")
    tensors = tensors_of(tied)
    head = np.random.default_rng(0).normal(size=tensors["shared.weight"].shape).astype(np.float32)
    own = write(tmp_path / "own", {**tensors, "lm_head.weight": head}, config_of(tied))
    with Checkpoint(own) as checkpoint:
        assert not checkpoint.config.head.tied
    assert main([str(own), *arguments]) == 0


def test_the_same_checkpoint_twice(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(gpt2, tmp_path / "copy")
    assert main([str(tmp_path / "copy"), "--against", str(gpt2)]) == 0
    out = capsys.readouterr().out
    assert f"\nEvery tensor and every config field is that of {gpt2}\n" in out
    assert ONE_FILE not in out
    assert "\nHugging Face agrees in all 5 places" in out


def test_a_text(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    shutil.copytree(gpt2, tmp_path / "with")
    tokenizer = Tokenizer(models.WordLevel({"the": 5, "cat": 7, "sat": 82, "?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # The padding that a file was last used with is no part of the text.
    tokenizer.enable_padding(length=20)
    tokenizer.save(str(tmp_path / "with" / "tokenizer.json"))
    assert main([str(tmp_path / "with"), "--text", "the cat sat", "--dtype", "float64"]) == 0
    assert "\ninput      the text 'the cat sat', 3 tokens\n" in capsys.readouterr().out
    with pytest.raises(UserError, match="makes 30 tokens, and the model takes 29"):
        main([str(tmp_path / "with"), "--text", "cat " * 30])
    with pytest.raises(UserError, match="no tokenizer for --text"):
        main([str(gpt2), "--text", "the cat sat"])


def test_an_image(vit: Path, gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "noise.png")
    assert main([str(vit), "--image", str(tmp_path / "noise.png")]) == 0
    assert f"\ninput      the image {tmp_path / 'noise.png'}\n" in capsys.readouterr().out
    with pytest.raises(UserError, match="--image is for models of images, and this one takes tokens"):
        main([str(gpt2), "--image", str(tmp_path / "noise.png")])
    with pytest.raises(UserError, match="--text is for models of text, and this one takes patches"):
        main([str(vit), "--text", "cat"])
    with pytest.raises(UserError, match="not readable as an image"):
        main([str(vit), "--image", str(vit / "config.json")])


def test_the_page_needs_nothing_beside_it(gpt2: Path, tmp_path: Path) -> None:
    weights = tensors_of(gpt2)
    weights["transformer.h.1.attn.c_proj.weight"] = weights["transformer.h.1.attn.c_proj.weight"].T
    damaged = write(tmp_path / "damaged <&>", weights, config_of(gpt2))
    page = tmp_path / "report.html"
    picture = tmp_path / "picture.png"
    assert main([str(damaged), "--against", str(gpt2), "--gradients", "--html", str(page), "--plot", str(picture)]) == 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert "damaged &lt;&amp;&gt;" in text
    assert "<&>" not in text
    assert text.count("<table>") == 2
    assert text.count("<td>decoder.layers.1</td>") == 1
    assert "decoder.layers.1.self_attention.output.weight: transposed" in text
    assert "parts here" in text
    drawn = text[text.index("<svg") : text.index("</svg>")]
    assert drawn.count("<path") > 20
    # Nothing is fetched: no script, no style or picture from elsewhere, and every reference stays within the page.
    assert not re.search(r"<script|<link|@import|url\((?!#)|src=", text)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', text))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged <&>", "picture.png", "report.html"]


@pytest.mark.parametrize("absent", ["TensorFlow", "Hugging Face"])
def test_what_is_not_installed_is_left_out(
    gpt2: Path, absent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, right = sources.PACKAGES[absent], sources.find_spec
    monkeypatch.setattr(sources, "find_spec", lambda name: None if name == package else right(name))
    assert main([str(gpt2)]) == 0
    out = capsys.readouterr().out
    assert f"\nnote       {absent} is left out: {package} is not installed\n" in out
    reference, other = ("Hugging Face in true float64", "PyTorch") if absent == "TensorFlow" else ("PyTorch in float64", "TensorFlow")
    assert f"\nreference  {reference}\n" in out
    assert f"\n{other} agrees in all 5 places" in out
    assert f"\n{absent} agrees" not in out


def test_nothing_to_compare_with(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="torch is not installed, so there is nothing to compare with"):
        main([str(gpt2)])


def test_what_looks_damaged_with_nothing_beside_it(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tensors_of(gpt2)
    weights["transformer.h.2.mlp.c_proj.weight"] = np.zeros_like(weights["transformer.h.2.mlp.c_proj.weight"])
    assert main([str(write(tmp_path / "zeros", weights, config_of(gpt2))), "--html", str(tmp_path / "zeros.html")]) == 1
    out = capsys.readouterr().out
    assert "\n1 tensor looks damaged, whoever reads the file\n" in out
    assert "\nlooks odd: decoder.layers.2.feed_forward.down.weight: every element is 0\n" in out
    assert ONE_FILE in out
    assert "not all agree" in (tmp_path / "zeros.html").read_text(encoding="utf-8")
    weights["transformer.h.1.ln_1.bias"] = np.full_like(weights["transformer.h.1.ln_1.bias"], np.nan)
    assert main([str(write(tmp_path / "nan", weights, config_of(gpt2)))]) == 1
    out = capsys.readouterr().out
    assert "\nThe reference itself holds NaN or infinity, first in decoder.layers.1: the checkpoint is broken\n" in out
    assert "\nlooks odd: decoder.layers.1.self_attention.norm.bias: 20 elements of 20 NaN or infinite\n" in out
    assert ONE_FILE not in out


def test_one_row_of_zeros_is_not_odd() -> None:
    """RoBERTa's published files have no token types, and say so with zeros."""
    assert not is_matrix((1, 768))
    assert is_matrix((2, 768))


def test_another_architecture_is_refused(gpt2: Path, tmp_path: Path) -> None:
    other = save_hugging_face(hugging_face_model(families()["gpt2"], seed=1, n_layer=2), tmp_path / "other")
    with pytest.raises(UserError, match=r"are not of one architecture: num_layers is 3 here and 2 there"):
        main([str(gpt2), "--against", str(other)])


def test_another_family_is_refused(gpt2: Path, tmp_path: Path) -> None:
    other = save_hugging_face(hugging_face_model(families()["vit"], seed=1), tmp_path / "other")
    with pytest.raises(UserError, match=r"is a gpt2 and .* a vit, and they share 0 of \d+ tensors"):
        main([str(gpt2), "--against", str(other)])


def test_a_larger_vocabulary_is_compared_where_both_have_one(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, config = tensors_of(gpt2), config_of(gpt2)
    name = "transformer.wte.weight"
    weights[name] = np.concatenate([weights[name], np.zeros((5, 20), np.float32)])
    assert main([str(write(tmp_path / "padded", weights, config | {"vocab_size": 88})), "--against", str(gpt2)]) == 1
    out = capsys.readouterr().out
    assert "\nPyTorch agrees in all 5 places" in out
    assert "decoder.embeddings.token.weight: shape 88x20 in place of 83x20; the first 83 rows are the same" in out
    assert "vocab_size: 88 in place of 83" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere"], "no folder /nowhere"),
        (["/nowhere", "--plot", "picture"], "--plot picture: the suffix tells the kind of picture; choose one of: .png, .svg, .pdf"),
        (["/nowhere", "--html", "/tmp"], "--html /tmp is a folder; name a file"),
        (["/nowhere", "--html", "/nowhere/report.html"], "--html /nowhere/report.html: no folder /nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "parity", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {said}\n")


@pytest.mark.parametrize("arguments", [[], ["x", "--dtype", "bfloat16"], ["x", "--batch", "0"], ["x", "--text", "a", "--image", "b"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m parity" in capsys.readouterr().err


def test_how_hugging_face_is_to_compute_is_left_to_the_comparison(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fused kernels that are not installed, and answers as tuples: a config.json may ask for either."""
    folder = shutil.copytree(gpt2, tmp_path / "asking")
    config = {**config_of(folder), "_attn_implementation": "flash_attention_2", "return_dict": False}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main([str(folder)]) == 0
    assert "PyTorch agrees in all" in capsys.readouterr().out


def test_a_file_of_float64_keeps_its_digits(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Float32 would round them in the reference too."""
    random = np.random.default_rng(0)
    wider = {name: array * (1 + 1e-9 * random.standard_normal(array.shape)) for name, array in tensors_of(gpt2).items()}
    write(tmp_path / "wider", wider, config_of(gpt2) | {"dtype": "float64"})
    assert main([str(tmp_path / "wider"), "--dtype", "float64"]) == 0
    assert main([str(tmp_path / "wider"), "--against", str(gpt2), "--dtype", "float64"]) == 1
    assert "Hugging Face, PyTorch and TensorFlow part in decoder.embeddings" in capsys.readouterr().out


def test_what_is_no_number_is_drawn_too(gpt2: Path, tmp_path: Path) -> None:
    broken = dict(tensors_of(gpt2))
    broken["transformer.h.1.ln_2.bias"] = np.full_like(broken["transformer.h.1.ln_2.bias"], np.nan)
    write(tmp_path / "broken", broken, config_of(gpt2))
    for arguments in ([str(tmp_path / "broken")], [str(gpt2), "--against", str(tmp_path / "broken")]):
        assert main([*arguments, "--html", str(tmp_path / "page.html")]) == 1
        assert "<svg" in (tmp_path / "page.html").read_text()
        (tmp_path / "page.html").unlink()


@pytest.mark.parametrize("name", ["a{}b", "a$x_{$b", "a:b%s{0}"])
def test_a_folder_may_have_any_name(gpt2: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(gpt2, tmp_path / name)
    changed = dict(tensors_of(gpt2))
    changed["transformer.h.1.attn.c_proj.weight"] = changed["transformer.h.1.attn.c_proj.weight"].T.copy()
    write(tmp_path / f"damaged {name}", changed, config_of(gpt2))
    arguments = [str(tmp_path / f"damaged {name}"), "--against", str(tmp_path / name), "--html", str(tmp_path / "page.html")]
    assert main(arguments) == 1
    assert f"likely cause: {tmp_path / name} with this one change gives the numbers of" in capsys.readouterr().out


def test_fewer_positions_are_compared_where_both_have_them(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shorter = dict(tensors_of(gpt2))
    shorter["transformer.wpe.weight"] = shorter["transformer.wpe.weight"][:16]
    write(tmp_path / "shorter", shorter, config_of(gpt2) | {"n_positions": 16})
    for arguments in (["shorter", gpt2], [gpt2, "shorter"]):
        assert main([str(tmp_path / arguments[0]), "--against", str(tmp_path / arguments[1])]) == 1
        out = capsys.readouterr().out
        assert "input_ids 4x16" in out
        assert "PyTorch agrees in all 5 places" in out


def test_what_hugging_face_cannot_run_is_one_line(tmp_path: Path) -> None:
    t5 = save_hugging_face(hugging_face_model(families()["t5"], seed=1), tmp_path / "t5")
    (t5 / "config.json").write_text(json.dumps(config_of(t5) | {"relative_attention_max_distance": 3}))
    with pytest.raises(UserError, match="t5: Hugging Face cannot load or run it, and there is nothing to compare with: "):
        main([str(t5)])


def test_a_body_without_a_pooler(tmp_path: Path) -> None:
    """Hugging Face's class would draw one."""
    bert = save_hugging_face(hugging_face_model(families()["bert"], "BertForMaskedLM", seed=1), tmp_path / "bert")
    convert(bert, tmp_path / "run", "run", "BertModel")
    assert main([str(tmp_path / "run")]) == 0
    assert main([str(bert), "--architecture", "BertModel"]) == 0
