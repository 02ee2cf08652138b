"""Text from each source, and one line for whatever is wrong with it."""

from __future__ import annotations

import gzip
import json
import socket

import pytest

from configs import UserError
from configs.data import HubData, StandardLibraryData, TextData
from train.sources.text import docstrings, english_documents, read_text, split, standard_library


def test_the_last_tenth_is_held_out(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(chr(97 + index % 26) for index in range(1000)), newline="")
    text = read_text(TextData(source="text", path=str(path)))
    assert [len(part) for part in text.train + text.validation] == [900, 100]
    assert text.train[0] + text.validation[0] == path.read_text()


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for name, content in {"b.txt": "second", "a.txt": "first", "c.md": "not this"}.items():
        (tmp_path / name).write_text(content)
    text = read_text(TextData(source="text", path=str(tmp_path), validation_fraction=0.3))
    assert text.train == ["first", "se"]
    assert text.validation == ["cond"]


def test_a_gzipped_file_is_read_like_any_other(tmp_path):
    """Whatever it is called; in a folder *.txt.gz are read, beside *.txt."""
    (tmp_path / "a.txt").write_text("first")
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("second")
    (tmp_path / "c.tar.gz").write_bytes(b"not this")
    text = read_text(TextData(source="text", path=str(tmp_path), validation_fraction=0.3))
    assert (text.train, text.validation) == (["first", "se"], ["cond"])
    text = read_text(TextData(source="text", path=str(tmp_path / "b.txt.gz"), validation_fraction=0.5))
    assert (text.train, text.validation) == (["sec"], ["ond"])


def test_carriage_returns_survive(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\n" * 10)
    text = read_text(TextData(source="text", path=str(tmp_path / "a.txt")))
    assert "".join(text.train + text.validation) == "one\r\ntwo\r\n" * 10


def test_split_keeps_every_character():
    text = split(["abc", "", "defgh", "ij"], 0.5)
    assert (text.train, text.validation) == (["abc", "de"], ["fgh", "ij"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not there; name a text file"),
        (b"", "is empty"),
        (b"good\xff\xfe", r"not UTF-8 \(byte 4"),
        (b"x", "leaves nothing to train on"),
        (gzip.compress(b"cut off " * 99, mtime=0)[:20], "cannot be read: Compressed file ended"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_text(TextData(source="text", path=str(path)))
    assert "\n" not in str(error.value)


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"folder without \*\.txt"):
        read_text(TextData(source="text", path=str(tmp_path)))


def test_docstrings_are_parsed_and_never_run(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""Module."""\nclass A:\n  """Class."""\n  def f(self):\n    """Method."""\nif True:\n  def g():\n    """Function."""\n1/0\n'
    )
    assert list(docstrings(path)) == ["Module.", "Class.", "Method.", "Function."]


def test_the_standard_library_gives_two_megabytes_of_english_in_a_fixed_order():
    text = read_text(StandardLibraryData())
    size = sum(map(len, text.train)), sum(map(len, text.validation))
    assert 1_500_000 < sum(size) < 4_000_000
    assert size[1] / sum(size) == pytest.approx(0.1, abs=1e-5)
    assert any('The "if" statement' in document for document in text.train + text.validation)
    assert not any("tests" in path.parts for path in standard_library())
    english_documents.cache_clear()
    assert read_text(StandardLibraryData()) == text


def test_a_dataset_that_is_not_in_the_cache_is_told_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"cannot be loaded.*use a local file: data.source=text data.path=FILE"):
        read_text(HubData(source="hub", name="someone/something"))


def test_a_hub_that_does_not_answer_is_waited_for_seconds_alone(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    waited, connect = [], socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: waited.append(timeout) or connect(address, timeout))
    with pytest.raises(UserError, match=r"is to come from the hub, and the hub cannot be reached .*use a local file"):
        read_text(HubData(source="hub", name="someone/something"))
    assert waited == [5]


def test_a_folder_stands_in_for_the_hub(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"words": f"row {index}"}) + "\n" for index in range(10)))
    text = read_text(HubData(source="hub", name=str(tmp_path), columns=("words",), validation_fraction=0.2))
    assert (text.train[0], len(text.train), text.validation) == ("row 0", 8, ["row 8", "row 9"])
    with pytest.raises(UserError, match=r"no column 'text'; set data.columns to 1 of: words"):
        read_text(HubData(source="hub", name=str(tmp_path)))
