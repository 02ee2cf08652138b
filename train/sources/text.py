"""Where the text comes from: the standard library, local files, or the hub. Documents in a fixed order, already split."""

from __future__ import annotations

import ast
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from configs import UserError
from configs.data import Data, HubData, StandardLibraryData, TextData
from train.sources.hub import read_splits
from weight_mapping.text_files import UNREADABLE, open_bytes

TESTS = {"test", "tests", "idle_test", "_bundled"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SHUFFLE_SEED = 0


@dataclass(frozen=True)
class Text:
    """Documents to train on, and documents to validate on."""

    train: list[str]
    validation: list[str]


def read_text(data: Data) -> Text:
    """The text that the config names. Raises UserError where it is missing, empty, or no text."""
    if isinstance(data, TextData):
        text = split(read_files(Path(data.path)), data.validation_fraction)
    elif isinstance(data, HubData):
        text = read_hub(data)
    elif isinstance(data, StandardLibraryData):
        text = read_standard_library(data)
    else:
        raise UserError(f"data.source={data.source!r} holds no running text")
    if not any(text.train) or not any(text.validation):
        raise UserError(
            f"the text of data.source={data.source!r} leaves nothing to {'validate' if any(text.train) else 'train'} on; "
            f"use more text or another data.validation_fraction"
        )
    return text


def split(documents: list[str], fraction: float) -> Text:
    """The last `fraction` of all characters is held out; a document that lies across the border is cut in two."""
    left = int(sum(map(len, documents)) * (1 - fraction))
    train: list[str] = []
    validation: list[str] = []
    for document in documents:
        train.append(document[:left])
        validation.append(document[left:])
        left = max(0, left - len(document))
    return Text([part for part in train if part], [part for part in validation if part])


def text_files(path: Path) -> list[Path]:
    """A text file, or all *.txt and *.txt.gz files below a folder in the order of their names."""
    if path.is_dir():
        paths = sorted(file for file in path.rglob("*") if file.name.endswith((".txt", ".txt.gz")) and file.is_file())
        if not paths:
            raise UserError(f"data.path={path} is a folder without *.txt or *.txt.gz files; name a folder that has some, or one file")
    elif path.is_file():
        paths = [path]
    else:
        raise UserError(f"data.path={path} is not there; name a text file, gzipped or not, or a folder of *.txt files")
    return paths


def read_files(path: Path) -> list[str]:
    """Each text file, gzipped or not, as one document."""
    documents = []
    for file in text_files(path):
        try:
            with open_bytes(file) as content:
                # Windows puts a mark before the first line.
                documents.append(content.read().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is not UTF-8 (byte {error.start}: {error.reason}); convert it, for example with iconv") from None
        except UNREADABLE as error:
            raise UserError(f"{file} cannot be read: {error}") from None
    if not any(documents):
        raise UserError(f"data.path={path} is empty; name a file with text in it")
    return documents


def read_standard_library(data: StandardLibraryData) -> Text:
    """About 2 MB of English: what `help()` knows of the language, and the docstrings of the standard library.

    Shuffled by document with a seed that never changes, so that what is held out resembles what is trained on.
    """
    documents = english_documents()
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(documents))
    return split([documents[index] for index in order if documents[index].strip()], data.validation_fraction)


@cache
def english_documents() -> list[str]:
    """The topics of the language, and of each file its docstrings that no other has. Parsing all files takes seconds."""
    from pydoc_data.topics import topics

    documents = [topics[name].strip() + "\n" for name in sorted(topics)]
    seen: set[str] = set()
    for path in standard_library():
        unseen = [docstring for docstring in dict.fromkeys(docstrings(path)) if docstring not in seen]
        seen.update(unseen)
        documents.append("\n\n".join(unseen) + "\n")
    return documents


def standard_library() -> list[Path]:
    """The standard library's source files, without its tests, in the order of their names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths: list[Path] = []
    for name in sorted(sys.stdlib_module_names - TESTS):
        if (root / name).is_dir():
            paths += sorted(path for path in (root / name).rglob("*.py") if not TESTS & set(path.relative_to(root).parts))
        elif (root / f"{name}.py").is_file():
            paths.append(root / f"{name}.py")
    return paths


def docstrings(path: Path) -> Iterator[str]:
    """The docstrings of one file in the order of its lines. The file is parsed and never run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    # Definitions inside of expressions do not exist, so only statements are walked, which is ten times less than all nodes.
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield docstring
        if isinstance(node, ast.Module | ast.stmt | ast.excepthandler):
            for block in ("finalbody", "orelse", "handlers", "body"):
                waiting.extend(reversed(getattr(node, block, [])))


def read_hub(data: HubData) -> Text:
    """A dataset by its name on the hub, or a local folder that `datasets` reads. Each row is a document."""
    train, validation, _ = read_splits(data).columns(data.columns, 1, texts=1)
    return Text([text for (text,) in train], [text for (text,) in validation])
