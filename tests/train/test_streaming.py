"""A corpus that is read piece by piece gives the tokens and batches of one that is read at once."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from configs import RunConfig, UserError, load_run_config
from configs.data import HubData, TextData
from train.objectives import prepare
from train.objectives.running_text import running_text
from train.sources import stream as streams
from train.sources.stream import identity, stream
from train.tokenization import train_bpe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files, read in pieces of a few lines."""
    monkeypatch.setattr(streams, "PIECE", 200)
    for name, first in (("a", 0), ("b", 1000)):
        lines = [f"line {number} says that {number * 7 % 13} is — naïvely — enough.\n" for number in range(first, first + 300)]
        (tmp_path / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def config(folder: Path, run: str, *changes: str) -> RunConfig:
    small = [
        "tokenizer.vocab_size=300",
        "model.vocab_size=300",
        "train.block_size=30",
        "train.batch_size=4",
        f"train.output={folder / 'runs'}",
    ]
    return load_run_config(ROOT / "configs" / "runs" / f"{run}.yaml", [*small, f"data={{source: text, path: {folder}}}", *changes])


def test_the_tokens_are_those_of_the_text_read_at_once(folder: Path) -> None:
    at_once = running_text(config(folder, "gpt2_stdlib"))
    streamed = running_text(config(folder, "gpt2_stdlib", "data.streaming=true"))
    texts = [text.tokenizer.decode(text.train_N.tolist()) for text in (at_once, streamed)]
    # The border between training and validation lies between pieces.
    assert abs(len(texts[0]) - len(texts[1])) < 400
    shorter = min(map(len, texts))
    assert texts[0][:shorter] == texts[1][:shorter]
    assert texts[1].count("<|endoftext|>") == 1, "two documents"


def test_a_text_of_one_line_is_cut_where_words_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text8 is."""
    monkeypatch.setattr(streams, "PIECE", 200)
    text = " ".join(f"word{number}" for number in range(1000))
    (tmp_path / "line.txt").write_text(text, encoding="utf-8")
    data = TextData(path=str(tmp_path / "line.txt"), validation_fraction=0.5)
    train, validation = ([piece for piece, _ in stream(data, split)] for split in ("train", "validation"))
    assert "".join(train + validation) == text
    assert len("".join(train)) == pytest.approx(len(text) / 2, abs=1)
    assert all(piece.endswith(" ") for piece in train[:-1])
    assert max(map(len, train)) <= 220


@pytest.mark.parametrize("run", ["gpt2_stdlib", "bert_stdlib", "t5_stdlib"])
def test_every_objective_takes_its_batches_from_the_files(folder: Path, run: str) -> None:
    corpus = prepare(config(folder, run, "data.streaming=true"))
    assert corpus.tokenizer is not None
    inputs_BT = corpus.train.batch(3).inputs["input_ids"]
    assert inputs_BT.shape == (4, 30)
    assert "naïvely" in corpus.tokenizer.decode(inputs_BT.ravel().tolist())
    assert sum(batch.targets for batch in corpus.validation.batches()) == corpus.validation.targets


def test_all_of_the_text_is_in_one_split_and_whole(folder: Path) -> None:
    data = TextData(path=str(folder), validation_fraction=0.3, streaming=True)
    parts = {split: list(stream(data, split)) for split in ("train", "validation")}
    texts = [text for split in ("train", "validation") for text, _ in parts[split]]
    assert len(texts) > 50
    assert "".join(texts) == (folder / "a.txt").read_text(encoding="utf-8") + (folder / "b.txt").read_text(encoding="utf-8")
    assert [sum(begins for _, begins in parts[split]) for split in ("train", "validation")] == [2, 1]
    share = sum(len(text) for text, _ in parts["validation"]) / sum(map(len, texts))
    assert share == pytest.approx(0.3, abs=0.01)


def test_a_gzipped_file_gives_the_same_pieces(folder: Path) -> None:
    """The border lies in the text, and not in what it is packed into."""
    data = TextData(source="text", path=str(folder), validation_fraction=0.3)
    plain = {split: list(stream(data, split)) for split in ("train", "validation")}
    for path in folder.glob("*.txt"):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    assert {split: list(stream(data, split)) for split in plain} == plain


def test_a_damaged_gzipped_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"words " * 999)[:20])
    with pytest.raises(UserError, match=r"a.txt.gz cannot be read: Compressed file ended"):
        list(stream(TextData(source="text", path=str(tmp_path)), "train"))


def test_the_files_are_written_once_and_only_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = config(folder, "gpt2_stdlib", "data.streaming=true")
    first = running_text(changed)
    assert isinstance(first.train_N, np.memmap)
    files = sorted((folder / "runs" / ".tokens").glob("*.ids"))
    times = [file.stat().st_mtime_ns for file in files]
    running_text(changed)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert not list((folder / "runs" / ".tokens").glob("*.part"))
    # Another tokenizer has other files.
    running_text(config(folder, "gpt2_stdlib", "data.streaming=true", "tokenizer.vocab_size=290"))
    assert len(list((folder / "runs" / ".tokens").glob("*.ids"))) == 4


def test_a_file_that_has_changed_is_read_again(folder: Path) -> None:
    changed = config(folder, "gpt2_stdlib", "data.streaming=true", f"tokenizer={{kind: file, path: {folder}}}")
    train_bpe(["line says that is enough"], 300).save(folder)
    before = running_text(changed).train_N
    (folder / "a.txt").write_text("something else\n" + (folder / "a.txt").read_text(encoding="utf-8"), encoding="utf-8")
    after = running_text(changed)
    assert after.tokenizer.decode(after.train_N[:30].tolist()).startswith("something else")
    assert not np.array_equal(before[:30], after.train_N[:30])


def test_the_border_lies_within_a_piece(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PIECE", 2**20)
    data = TextData(path=str(folder), validation_fraction=0.3, streaming=True)
    sizes = [sum(len(text) for text, _ in stream(data, split)) for split in ("train", "validation")]
    assert sizes[1] / sum(sizes) == pytest.approx(0.3, abs=0.01)


def test_rows_of_a_dataset_are_documents(tmp_path: Path) -> None:
    import datasets

    for split, first in (("train", 0), ("validation", 900)):
        datasets.Dataset.from_dict({"text": [f"row {first + row} of many" for row in range(200)]}).to_parquet(tmp_path / f"{split}.parquet")
    data = f"data={{source: hub, name: {tmp_path}, streaming: true, validation_split: validation}}"
    text = running_text(config(tmp_path, "gpt2_stdlib", data))
    assert text.tokenizer.decode(text.train_N[:40].tolist()).startswith("row 0 of many<|endoftext|>row 1 of many")
    assert text.tokenizer.decode(text.validation_N.tolist()).endswith("row 1099 of many")
    before = identity(HubData(name=str(tmp_path), streaming=True, validation_split="validation"), "train")
    datasets.Dataset.from_dict({"text": ["another row"] * 7}).to_parquet(tmp_path / "train.parquet")
    assert identity(HubData(name=str(tmp_path), streaming=True, validation_split="validation"), "train") != before
    with pytest.raises(UserError, match=r"data.streaming needs data.validation_split"):
        list(stream(HubData(name=str(tmp_path), streaming=True), "validation"))


def test_what_is_no_text_is_refused(folder: Path) -> None:
    (folder / "c.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=r"c.txt is not UTF-8 .*; convert it, for example with iconv"):
        prepare(config(folder, "gpt2_stdlib", "data.streaming=true", "data.validation_fraction=0.01"))
    assert not list((folder / "runs").rglob("*.ids"))
    with pytest.raises(UserError, match=r"makes a word of every token.*set objective.whole_words=false"):
        prepare(config(folder, "bert_stdlib", "data={source: stdlib}", "tokenizer={kind: character, special_tokens: {mask_token: '[M]'}}"))
