"""What each objective asks of a model: its inputs, its labels, and what it refuses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs import RunConfig, UserError, load_run_config
from configs.data import DocstringsData
from configs.objectives import ImageClassification, MaskedLM, SpanCorruption
from train.batches import IGNORED
from train.objectives import prepare
from train.objectives.masked_lm import choose
from train.objectives.span_corruption import block_length, leave_out, noise, random_spans
from train.sources.images import move, to_arrays

ROOT = Path(__file__).parents[2]
TEXT = "".join(f"line {number}: {number**2 % 97} is what comes of multiplying {number} by itself.\n" for number in range(600))
SMALL = ["model.width=32", "model.attention.num_heads=2", "model.feed_forward.width=48", "model.num_layers=1", "tokenizer.vocab_size=300"]
SMALL += ["model.vocab_size=300", "train.batch_size=6", "train.evaluation_batch_size=5", "train.cpu_threads=1"]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., RunConfig]:
    """A run that ships, made small, on a text of 600 lines."""
    (tmp_path / "text.txt").write_text(TEXT)

    def load(name: str, *changes: str) -> RunConfig:
        data = ["data.source=text", f"data.path={tmp_path / 'text.txt'}"]
        return load_run_config(ROOT / "configs" / "runs" / f"{name}.yaml", [*SMALL, *data, *changes])

    return load


class TestMaskedLM:
    def test_labels_are_the_tokens_and_only_where_they_are_hidden(self, config: Callable[..., RunConfig]) -> None:
        corpus = prepare(config("bert_stdlib", "train.block_size=42", "objective.whole_words=false"))
        assert corpus.tokenizer is not None
        first, last, mask = (corpus.tokenizer.special_id(name) for name in ("cls_token", "sep_token", "mask_token"))
        batch = corpus.train.batch(0)
        inputs_BT, labels_BT = batch.inputs["input_ids"], batch.labels
        assert inputs_BT.shape == labels_BT.shape == (6, 42)
        assert (inputs_BT[:, 0] == first).all()
        assert (inputs_BT[:, -1] == last).all()
        asked = labels_BT != IGNORED
        assert (asked.sum(1) == 6).all(), "15% of 40"
        assert not (inputs_BT[~asked] == mask).any()
        assert not asked[:, [0, -1]].any()
        # What is hidden and what is not are the text.
        words = corpus.tokenizer.decode(np.where(asked, labels_BT, inputs_BT)[0, 1:-1].tolist())
        assert words in TEXT

    def test_eight_tenths_are_masked_one_tenth_is_replaced(self, config: Callable[..., RunConfig]) -> None:
        corpus = prepare(config("bert_stdlib", "train.block_size=42", "train.batch_size=40", "objective.whole_words=false"))
        assert corpus.tokenizer is not None
        mask = corpus.tokenizer.special_id("mask_token")
        masked = replaced = total = 0
        for step in range(60):
            batch = corpus.train.batch(step)
            asked = batch.labels != IGNORED
            inputs_M, labels_M = batch.inputs["input_ids"][asked], batch.labels[asked]
            total += len(labels_M)
            masked += int((inputs_M == mask).sum())
            other_M = inputs_M[(inputs_M != mask) & (inputs_M != labels_M)]
            assert not set(other_M.tolist()) & {0, 1, 2, 3, 4}, "special tokens stand for nothing"
            replaced += len(other_M)
        # Four standard deviations of a share of 14,400 draws.
        assert masked / total == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / total) ** 0.5)
        assert replaced / total == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / total) ** 0.5 + 0.1 / 295)

    def test_words_are_hidden_whole(self, config: Callable[..., RunConfig]) -> None:
        corpus = prepare(config("bert_stdlib", "train.block_size=42", "tokenizer.vocab_size=275"))
        assert corpus.tokenizer is not None
        inside = 0
        for step in range(20):
            batch = corpus.train.batch(step)
            for inputs_T, labels_T in zip(batch.inputs["input_ids"], batch.labels, strict=True):
                asked_T = labels_T != IGNORED
                tokens_T = np.where(asked_T, labels_T, inputs_T)
                for place in range(2, 41):
                    before, piece = (corpus.tokenizer.tokenizer.id_to_token(int(token)) for token in tokens_T[place - 1 : place + 1])
                    # Letters behind letters, without the mark of a space, belong to their word.
                    if (before.removeprefix("Ġ") + piece).isascii() and (before.removeprefix("Ġ") + piece).isalpha():
                        assert asked_T[place] == asked_T[place - 1], (before, piece)
                        inside += 1
        assert inside > 100

    def test_a_word_that_would_be_too_much_is_passed_over(self) -> None:
        words_T = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3])
        starts_T = np.diff(words_T, prepend=-1) > 0
        for seed in range(30):
            chosen = choose(starts_T, words_T != 2, 0.3, np.random.default_rng(seed))
            assert 1 <= len(chosen) <= 3
            assert not (words_T[chosen] == 2).any(), "the third word is special"
            for word in set(words_T[chosen]):
                assert (words_T[chosen] == word).sum() == (words_T == word).sum()

    def test_validation_hides_the_same_each_time_whatever_its_batches(self, config: Callable[..., RunConfig]) -> None:
        rows = []
        for size in (5, 7):
            corpus = prepare(config("bert_stdlib", "train.block_size=42", f"train.evaluation_batch_size={size}"))
            batches = list(corpus.validation.batches())
            rows.append(np.concatenate([batch.inputs["input_ids"] for batch in batches]))
            assert sum(batch.targets for batch in batches) == corpus.validation.targets
        np.testing.assert_array_equal(*rows)

    def test_a_tokenizer_without_a_mask_is_refused(self, config: Callable[..., RunConfig]) -> None:
        with pytest.raises(UserError, match=r"needs a tokenizer with a mask token; set tokenizer.special_tokens.mask_token"):
            prepare(config("bert_stdlib", "tokenizer.special_tokens={pad_token: '[PAD]'}"))
        with pytest.raises(UserError, match=r"train.block_size=2 leaves no room for a token between the special tokens"):
            prepare(config("bert_stdlib", "train.block_size=2"))
        with pytest.raises(ValueError, match=r"masked=0.9 and replaced=0.2 are more than all"):
            MaskedLM(masked=0.9, replaced=0.2)

    def test_special_tokens_of_the_text_are_not_asked_for(self, config: Callable[..., RunConfig]) -> None:
        """Here the end of a document is also the end of a block, as RoBERTa has it."""
        special = "{pad_token: '[P]', unk_token: '[U]', cls_token: '[C]', sep_token: '[S]', eos_token: '[S]', mask_token: '[M]'}"
        path = Path(config("bert_stdlib").data.path)  # type: ignore[union-attr]
        for number in range(40):
            path.with_name(f"{number}.txt").write_text(f"document {number} is short.\n")
        more = [f"tokenizer.special_tokens={special}", f"data.path={path.parent}", "objective.share=0.5", "train.block_size=42"]
        corpus = prepare(config("bert_stdlib", *more))
        assert corpus.tokenizer is not None
        separator, seen = corpus.tokenizer.special_id("sep_token"), 0
        for step in range(30):
            batch = corpus.train.batch(step)
            assert not (batch.labels == separator).any()
            seen += int((batch.inputs["input_ids"][:, 1:-1] == separator).sum())
        assert seen > 10


class TestSpanCorruption:
    def test_the_figure_of_the_paper(self) -> None:
        """ "Thank you for inviting me to your party last week" (Raffel et al. 2020, figure 2), but for the last sentinel: the text
        ends there."""
        tokens_L = np.arange(10, 20)
        mask_L = np.isin(np.arange(10), [2, 3, 8])
        source, target = leave_out(tokens_L, mask_L, np.array([90, 91, 92]))
        assert source.tolist() == [10, 11, 90, 14, 15, 16, 17, 91, 19]
        assert target.tolist() == [90, 12, 13, 91, 18]

    @pytest.mark.parametrize("length", [2, 3, 10, 141, 568])
    def test_spans_are_as_many_and_as_long_as_they_should_be(self, length: int) -> None:
        objective = SpanCorruption()
        tokens, spans = noise(length, objective)
        shares = np.zeros(length)
        for seed in range(300):
            mask_L = random_spans(length, objective, np.random.default_rng(seed))
            assert (mask_L.sum(), (np.diff(mask_L.astype(int)) == 1).sum()) == (tokens, spans)
            assert not mask_L[0]
            shares += mask_L / 300
        if length == 568:
            assert (tokens, spans) == (85, 28)
            assert shares[50:-50].min() > 0.05, "every token is left out now and then"

    def test_what_is_left_of_a_block_fills_the_input(self) -> None:
        """Raffel et al. 2020: 512 tokens go in, about 114 come out."""
        objective = SpanCorruption()
        length = block_length(512, objective)
        tokens, spans = noise(length, objective)
        assert (length, length - tokens + spans + 1, tokens + spans + 1) == (568, 512, 114)
        with pytest.raises(UserError, match=r"train.block_size=2 leaves no room.*at least 3"):
            block_length(2, objective)

    def test_source_and_target_make_the_text_again(self, config: Callable[..., RunConfig]) -> None:
        corpus = prepare(config("t5_stdlib", "train.block_size=40"))
        assert corpus.tokenizer is not None
        batch = corpus.train.batch(3)
        source, target = batch.inputs["input_ids"][0].tolist(), batch.labels[0].tolist()
        assert batch.inputs["input_ids"].shape == (6, 40)
        assert source[-1] == target[-1] == 1
        np.testing.assert_array_equal(batch.inputs["decoder_input_ids"][:, 1:], batch.labels[:, :-1])
        assert (batch.inputs["decoder_input_ids"][:, 0] == 0).all()
        text = corpus.tokenizer.decode(source[:-1])
        spans = corpus.tokenizer.decode(target[:-1]).split("<extra_id_")[1:]
        for span in spans:
            number, _, words = span.partition(">")
            text = text.replace(f"<extra_id_{number}>", words)
        assert text in TEXT
        assert sum(other.targets for other in corpus.validation.batches()) == corpus.validation.targets

    def test_targets_that_the_model_has_no_room_for_are_refused(self, config: Callable[..., RunConfig]) -> None:
        with pytest.raises(UserError, match=r"have targets of \d+, and model.max_length is 128; lower objective.share"):
            prepare(config("t5_stdlib", "objective={kind: span_corruption, share: 0.7, mean_span: 20}"))

    def test_too_few_sentinels_are_refused(self, config: Callable[..., RunConfig]) -> None:
        with pytest.raises(UserError, match=r"have 7 spans, and the tokenizer has 4 sentinels; set tokenizer.sentinels=7"):
            prepare(config("t5_stdlib", "tokenizer.sentinels=4"))


def labelled(folder: Path, *changes: str) -> RunConfig:
    """A run on 60 texts of three labels."""
    rows = [("short", "a word"), ("long", "this is a much longer text " * 5), ("number", "12 34 56")] * 20
    lines = [json.dumps({"text": f"{text} {place}", "label": label}) for place, (label, text) in enumerate(rows)]
    (folder / "texts.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    data = [f"data={{source: labelled, train: {folder / 'texts.jsonl.gz'}}}", "model.head.num_labels=3", "train.batch_tokens=null"]
    return load_run_config(ROOT / "configs" / "runs" / "docstrings.yaml", [*SMALL, *data, *changes])


class TestSequenceClassification:
    def test_texts_stand_between_the_special_tokens(self, tmp_path: Path) -> None:
        corpus = prepare(labelled(tmp_path, "objective.max_length=20"))
        assert corpus.tokenizer is not None
        batch = corpus.train.batch(0)
        for ids_T, mask_T, label in zip(batch.inputs["input_ids"], batch.inputs["attention_mask"], batch.labels, strict=True):
            tokens = corpus.tokenizer.decode(ids_T[mask_T == 1].tolist())
            assert tokens.startswith("[CLS]")
            assert tokens.endswith("[SEP]")
            assert ("longer", "12", "word")[label] in tokens, "labels in the order of the alphabet"
            assert (ids_T[mask_T == 0] == 0).all()
        assert batch.inputs["input_ids"].shape[1] == 20
        assert "train: 18 of 54 texts are longer than 20 tokens and are cut" in corpus.notes
        assert sum(len(other) for other in corpus.validation.batches()) == corpus.validation.targets == 6

    def test_labels_may_be_numbers(self, tmp_path: Path) -> None:
        config = labelled(tmp_path)
        rows = ({"text": f"number {place}", "label": place % 3} for place in range(60))
        (tmp_path / "texts.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        batches = prepare(config).train
        assert {int(label) for step in range(4) for label in batches.batch(step).labels} == {0, 1, 2}

    @pytest.mark.parametrize(
        ("labels", "order"),
        [
            ("9 10 1 -2 1.5", "-2 1 1.5 9 10"),
            ("9 10 1 one", "1 10 9 one"),
        ],
    )
    def test_numbers_are_in_the_order_of_their_size_and_words_of_the_alphabet(self, tmp_path: Path, labels: str, order: str) -> None:
        from configs.data import LabelledData
        from train.sources.labelled import read_labelled

        (tmp_path / "texts.tsv").write_text("".join(f"text {place}\t{label}\n" for place in range(4) for label in labels.split()))
        assert read_labelled(LabelledData(train=str(tmp_path / "texts.tsv"), validation_fraction=0.25)).names == tuple(order.split())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (["model.head.num_labels=2"], r"have 3 labels \(long, number, short\), and model.head.num_labels is 2"),
            (["model.head.labels=[a, b, c]"], r"model.head.labels is \['a', 'b', 'c'\], and the labels are \['long', 'number', 'short'\]"),
            (["objective.max_length=2"], r"texts of 2 tokens have no room for one"),
        ],
    )
    def test_labels_that_do_not_fit_are_refused(self, tmp_path: Path, changes: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            prepare(labelled(tmp_path, *changes))

    def test_a_label_of_validation_alone_is_refused_and_empty_texts_are_counted(self, tmp_path: Path) -> None:
        (tmp_path / "more.tsv").write_text("a text\tshort\n\tlong\nanother\tnever seen\n")
        with pytest.raises(UserError, match=r"the label 'never seen' is in validation and not in training; the labels there are: long,"):
            prepare(labelled(tmp_path, f"data.validation={tmp_path / 'more.tsv'}"))
        (tmp_path / "more.tsv").write_text("a text\tshort\n\tlong\n")
        corpus = prepare(labelled(tmp_path, f"data.validation={tmp_path / 'more.tsv'}"))
        assert "validation: 1 of 2 texts are empty or have no label, and are left out" in corpus.notes

    def test_docstrings_do_not_name_their_package(self) -> None:
        from train.sources.labelled import read_labelled

        data = read_labelled(DocstringsData(packages=("asyncio", "email")))
        assert data.names == ("asyncio", "email")
        assert len(data.train) > 3 * len(data.validation) > 200
        assert not set(data.train) & set(data.validation)
        assert not any(label in text.lower() for text, label in data.train + data.validation)
        with pytest.raises(UserError, match=r"no docstrings of a package 'asincio'"):
            read_labelled(DocstringsData(packages=("asincio", "email")))


class TestImageClassification:
    def test_digits_are_split_by_class_and_moved_in_training_alone(self) -> None:
        corpus = prepare(load_run_config(ROOT / "configs" / "runs" / "digits.yaml"))
        held_out = np.concatenate([batch.labels for batch in corpus.validation.batches()])
        assert len(held_out) == corpus.validation.targets == 360
        assert set(np.bincount(held_out)) <= {35, 36, 37}
        first, again = corpus.train.batch(7), corpus.train.batch(7)
        np.testing.assert_array_equal(first.inputs["pixel_values"], again.inputs["pixel_values"])
        assert first.inputs["pixel_values"].shape == (64, 1, 8, 8)
        assert first.inputs["pixel_values"].dtype == np.float32
        whole = next(iter(corpus.validation.batches())).inputs["pixel_values"]
        assert set(np.unique((whole + 1) * 8)) <= set(range(17)), "as they were scanned"

    def test_a_whole_pixel_is_a_whole_pixel(self) -> None:
        images_BCHW = np.full((40, 1, 5, 5), -1.0, np.float32)
        images_BCHW[:, :, 2, 2] = 1.0
        moved_BCHW = move(images_BCHW, np.random.default_rng(0), ImageClassification(max_shift=1.0))
        sums_B = (moved_BCHW + 1).sum((1, 2, 3))
        np.testing.assert_allclose(sums_B, 2.0, atol=1e-5)
        assert np.abs(moved_BCHW - images_BCHW).max((1, 2, 3)).min() > 0
        flipped_BCHW = move(np.arange(40, dtype=np.float32).reshape(20, 1, 1, 2), np.random.default_rng(0), ImageClassification(flip=True))
        assert 0 < (flipped_BCHW[:, 0, 0, 0] > flipped_BCHW[:, 0, 0, 1]).sum() < 20

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("model.inputs.num_channels=3", r"the images are 1x8x8 \(channels, rows, columns\), and model.inputs says 3x8x8"),
            ("model.head.num_labels=9", r"the labels go from 0 to 9, and model.head.num_labels is 9"),
        ],
    )
    def test_another_size_and_too_few_classes_are_refused(self, change: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            prepare(load_run_config(ROOT / "configs" / "runs" / "digits.yaml", [change]))


@pytest.mark.parametrize("name", ["docstrings", "docstrings_minilm"])
def test_docstrings_are_of_packages_that_every_python_has(name: str) -> None:
    """Debian has these in packages of their own, and later versions of Python have some no more."""
    config = load_run_config(ROOT / "configs" / "runs" / f"{name}.yaml")
    assert isinstance(config.data, DocstringsData)
    assert not set(config.data.packages) & {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo", "venv"}


def test_a_palette_is_looked_up() -> None:
    """The bytes of such an image are places in its palette."""
    colors = Image.new("RGB", (4, 4), (250, 10, 20))
    images_BCHW, labels_B = to_arrays([(colors.quantize(4), 1), (colors, 0)], ("image", "label"))
    assert images_BCHW.shape == (2, 3, 4, 4)
    assert np.array_equal(images_BCHW[0], images_BCHW[1])
    assert labels_B.tolist() == [1, 0]


@pytest.mark.parametrize("name", ["bert_stdlib", "t5_stdlib", "docstrings", "dates"])
def test_who_loads_the_tokenizer_gets_what_the_model_is_given(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from train.tokenization import read_tokenizer

    corpus = prepare(load_run_config(ROOT / "configs" / "runs" / f"{name}.yaml"))
    assert corpus.tokenizer is not None
    corpus.tokenizer.save(tmp_path)
    text, theirs = "3 May 1987", AutoTokenizer.from_pretrained(str(tmp_path))
    ids = corpus.tokenizer.encode_each([text])[0].tolist()
    first, last = corpus.tokenizer.around()
    end = corpus.tokenizer.special_id("eos_token")
    assert theirs(text)["input_ids"] == ([*first, *ids, *last] if last else [*ids, end])
    assert theirs.decode(ids) == text
    again = read_tokenizer(tmp_path)
    np.testing.assert_array_equal(again.encode([text, text]), corpus.tokenizer.encode([text, text]))


def test_what_means_nothing_is_refused() -> None:
    run = ROOT / "configs" / "runs" / "bert_stdlib.yaml"
    with pytest.raises(UserError, match=r"special_tokens has 'cls'; the names are bos_token, eos_token,"):
        load_run_config(run, ["tokenizer.special_tokens={cls: '[CLS]'}"])
    with pytest.raises(UserError, match=r"cross_check continues a prompt, which objective 'masked_lm' does not learn"):
        load_run_config(run, ["train.cross_check=true"])
    with pytest.raises(UserError, match=r"tokenizer.kind 'character' needs all of the text, and data.streaming reads it piece by piece"):
        load_run_config(run, ["tokenizer={kind: character}", "data={source: text, path: x, streaming: true}"])
    with pytest.raises(UserError, match=r"pooler.kind 'first' reads the class token, and the tokenizer names none; set cls_token"):
        prepare(
            load_run_config(run.with_name("docstrings.yaml"), ["model.pooler={kind: first}", "tokenizer.special_tokens={pad_token: '[P]'}"])
        )
    with pytest.raises(UserError, match=r"pooler.kind 'end' looks for special_tokens.eos \[7\], and the tokenizer puts \[\d+\] behind"):
        prepare(load_run_config(run.with_name("docstrings.yaml"), ["model.pooler={kind: end}", "model.special_tokens={eos: [7]}"]))
    with pytest.raises(UserError, match=r"leaves a split without a class; change it"):
        prepare(load_run_config(run.with_name("digits.yaml"), ["data.validation_fraction=0.001"]))


def test_a_tokenizer_is_for_tokens() -> None:
    with pytest.raises(UserError, match=r"objective 'image_classification' takes no tokenizer"):
        load_run_config(ROOT / "configs" / "runs" / "digits.yaml", ["tokenizer={kind: character}"])
    with pytest.raises(UserError, match=r"objective 'causal_lm' needs a tokenizer, such as"):
        load_run_config(ROOT / "configs" / "runs" / "gpt2_stdlib.yaml", ["tokenizer=null"])


def write_dataset(folder: Path, rows: dict[str, list[Any]], **features: Any) -> None:
    """A local folder that `datasets` reads as it reads the hub's."""
    import datasets

    found = datasets.Dataset.from_dict(rows)
    for name, feature in features.items():
        found = found.cast_column(name, feature)
    found.to_parquet(folder / "train.parquet")


class TestHub:
    """A folder stands in for the hub: `datasets` reads both alike."""

    def test_pairs(self, tmp_path: Path) -> None:
        write_dataset(tmp_path, {"en": [f"number {n}" for n in range(50)], "de": [f"Zahl {n}" for n in range(50)]})
        data = f"data={{source: hub, name: {tmp_path}, columns: [en, de], validation_fraction: 0.2}}"
        corpus = prepare(load_run_config(ROOT / "configs" / "runs" / "dates.yaml", [data, "train.batch_tokens=300"]))
        assert corpus.notes[0].startswith("40 pairs in")
        assert corpus.validation.targets == sum(len(f"Zahl {n}") + 1 for n in range(40, 50))

    def test_labelled_texts_keep_the_order_of_their_classes(self, tmp_path: Path) -> None:
        import datasets

        label = datasets.ClassLabel(names=["pos", "neg"])
        write_dataset(tmp_path, {"text": ["good", "bad", "fine", "poor"] * 5, "label": [0, 1, 0, 1] * 5}, label=label)
        config = labelled(tmp_path, f"data={{source: hub, name: {tmp_path}, columns: [text, label]}}", "model.head.num_labels=2")
        corpus = prepare(config)
        assert corpus.tokenizer is not None
        batch = corpus.train.batch(0)
        words = [corpus.tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in batch.inputs["input_ids"]]
        assert all((word in ("good", "fine")) == (label == 0) for word, label in zip(words, batch.labels, strict=True))

    def test_numbers_are_classes_and_what_has_no_label_is_left_out(self, tmp_path: Path) -> None:
        import datasets

        write_dataset(tmp_path, {"text": [f"text {n % 12}" for n in range(48)], "label": [n % 12 for n in range(48)]})
        data = f"data={{source: hub, name: {tmp_path}, columns: [text, label], validation_fraction: 0.25}}"
        corpus = prepare(labelled(tmp_path, data, "model.head.num_labels=12"))
        assert corpus.labels == tuple(map(str, range(12)))
        write_dataset(tmp_path, {"text": ["good", "bad"] * 12, "label": [True, False] * 12})
        assert prepare(labelled(tmp_path, data, "model.head.num_labels=2")).labels == ("0", "1")
        label = datasets.ClassLabel(names=["pos", "neg"])
        write_dataset(tmp_path, {"text": ["good", "bad", "unknown"] * 8, "label": [0, 1, -1] * 8}, label=label)
        corpus = prepare(labelled(tmp_path, data, "model.head.num_labels=2"))
        assert "train: 6 of 18 texts are empty or have no label, and are left out" in corpus.notes
        assert corpus.labels == ("pos", "neg")

    def test_what_is_no_text_is_refused_by_its_row(self, tmp_path: Path) -> None:
        write_dataset(tmp_path, {"text": [None] + [5] * 20})
        for streaming in ("", ", streaming: true, validation_split: train"):
            data = f"data={{source: hub, name: {tmp_path}{streaming}}}"
            config = load_run_config(ROOT / "configs" / "runs" / "gpt2_stdlib.yaml", [*SMALL, data, "train.block_size=20"])
            with pytest.raises(UserError, match=r"column 'text' of the dataset holds int in row 1, not text"):
                prepare(config)

    def test_an_empty_cell_is_an_empty_text(self, tmp_path: Path) -> None:
        write_dataset(tmp_path, {"text": ["good", None, "bad", "poor"] * 6, "label": ["pos", "pos", "neg", "neg"] * 6})
        corpus = prepare(labelled(tmp_path, f"data={{source: hub, name: {tmp_path}, columns: [text, label]}}", "model.head.num_labels=2"))
        assert any(note.startswith("train: ") and "texts are empty or have no label" in note for note in corpus.notes)

    @pytest.mark.parametrize("labels", [[0, 1, 2], ["0", "1", "2"]], ids=["numbers", "words"])
    def test_a_label_of_validation_alone_is_refused(self, tmp_path: Path, labels: list[Any]) -> None:
        for split, kept in (("train", labels[:2]), ("validation", labels)):
            write_dataset(tmp_path, {"text": ["a text"] * 6, "label": (kept * 3)[:6]})
            (tmp_path / "train.parquet").rename(tmp_path / f"{split}.parquet" if split == "validation" else tmp_path / "kept")
        (tmp_path / "kept").rename(tmp_path / "train.parquet")
        data = f"data={{source: hub, name: {tmp_path}, columns: [text, label], validation_split: validation}}"
        with pytest.raises(UserError, match="the label '2' is in validation and not in training"):
            prepare(labelled(tmp_path, data, "model.head.num_labels=2"))

    @pytest.mark.parametrize("mistake", ["damaged", "16 bits", "of validation alone", None])
    def test_a_folder_of_images(self, tmp_path: Path, mistake: str | None) -> None:
        """Classes are called what their folders are."""
        from PIL import Image

        for split, names in (("train", ("cat", "dog")), ("validation", ("cat", "zebra" if mistake == "of validation alone" else "dog"))):
            for name in names:
                (tmp_path / split / name).mkdir(parents=True)
                for number in range(4):
                    image = Image.fromarray(np.full((4, 4, 3), 15 * number, np.uint8))
                    image = Image.fromarray(np.full((4, 4), 900, np.uint16)) if mistake == "16 bits" else image
                    image.save(tmp_path / split / name / f"{number}.png")
        if mistake == "damaged":
            (tmp_path / "train" / "cat" / "0.png").write_bytes(b"no image")
        config = load_run_config(
            ROOT / "configs" / "runs" / "digits.yaml",
            [
                f"data={{source: hub, name: {tmp_path}, columns: [image, label], validation_split: validation}}",
                "model.inputs={kind: patches, image_size: 4, patch_size: 2, num_channels: 3}",
                f"model.head.num_labels={3 if mistake == 'of validation alone' else 2}",
                "model.max_length=5",
                "train.batch_size=4",
                "objective={kind: image_classification}",
            ],
        )
        messages = {
            "damaged": "column 'image' of the dataset cannot be read: cannot identify image file",
            "16 bits": "column 'image' holds images of the types .*16; expected 8 bits a value",
            "of validation alone": "the label 'zebra' is in validation and not in training",
        }
        if mistake is None:
            assert prepare(config).labels == ("cat", "dog")
            return
        with pytest.raises(UserError, match=messages[mistake]):
            prepare(config)

    def test_images(self, tmp_path: Path) -> None:
        import datasets
        from PIL import Image

        # Rows that stand in the order of their labels, as those of a folder of images do.
        images = [Image.fromarray(np.full((4, 4, 3), 15 * n, np.uint8)) for n in range(12)]
        write_dataset(tmp_path, {"img": images, "label": [0] * 8 + [1] * 4}, img=datasets.Image())
        config = load_run_config(
            ROOT / "configs" / "runs" / "digits.yaml",
            [
                f"data={{source: hub, name: {tmp_path}, columns: [img, label], validation_fraction: 0.25}}",
                "model.inputs={kind: patches, image_size: 4, patch_size: 2, num_channels: 3}",
                "model.max_length=5",
                "train.batch_size=9",
                "objective={kind: image_classification}",
            ],
        )
        corpus = prepare(config)
        batch = next(iter(corpus.validation.batches()))
        assert batch.inputs["pixel_values"].shape == (3, 3, 4, 4)
        numbers = np.rint((batch.inputs["pixel_values"][:, 0, 0, 0] + 1) * 127.5 / 15).astype(int)
        assert batch.labels.tolist() == [0, 0, 1] == (numbers >= 8).tolist()

    def test_other_columns_are_refused(self, tmp_path: Path) -> None:
        write_dataset(tmp_path, {"text": ["a"] * 9, "label": [0] * 9})
        with pytest.raises(UserError, match=r"data.columns=\['text'\] names 1; this objective takes 2"):
            prepare(labelled(tmp_path, f"data={{source: hub, name: {tmp_path}}}"))
        with pytest.raises(UserError, match=r"no column 'lable'; set data.columns to 2 of: text, label"):
            prepare(labelled(tmp_path, f"data={{source: hub, name: {tmp_path}, columns: [text, lable]}}"))
