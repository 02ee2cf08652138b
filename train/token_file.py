"""Tokens on disk: written as the text comes in, then mapped, so that neither text nor tokens need fit into memory. N tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from train.run_folder import cannot_be_made
from train.tokenization import TextTokenizer

FOLDER = ".tokens"
Piece = tuple[str, bool]


def tokens_on_disk(
    folder: Path, what: str, pieces: Iterable[Piece], tokenizer: TextTokenizer, words: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The ids of all pieces, int32 (N,), and True where a word begins, bool (N,), both mapped from files below `folder`.

    what: says which text it is; the files of the same text and the same tokenizer are read again. pieces: texts, and whether each begins
    a document, before which the end-of-text token comes. words: False if every token may count as a word.
    Of several processes that ask for the same files one writes them, and the others wait.
    """
    key = hashlib.sha256(json.dumps([what, tokenizer.tokenizer.to_str(), tokenizer.end_of_text, words]).encode()).hexdigest()[:16]
    paths = [folder / FOLDER / f"{key}.{kind}" for kind in ("ids", "starts")]
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(paths[0].parent, str(error)) from None
    with FileLock(folder / FOLDER / f"{key}.lock"):
        if not all(path.exists() for path in paths):
            write(paths, pieces, tokenizer, words)
    return np.memmap(paths[0], np.int32, "r"), np.memmap(paths[1], np.bool_, "r")


def write(paths: list[Path], pieces: Iterable[Piece], tokenizer: TextTokenizer, words: bool) -> None:
    """Both files under other names, and then under their own: what is there is whole."""
    parts = [path.with_name(path.name + ".part") for path in paths]
    columns = TextColumn("tokenizing"), TextColumn("{task.completed:,.0f} tokens"), TimeElapsedColumn()
    with parts[0].open("wb") as ids_file, parts[1].open("wb") as starts_file, Progress(*columns, transient=True) as progress:
        task, total = progress.add_task("", total=None), 0
        for text, begins in pieces:
            ids_N, starts_N = tokenizer.encode_words([text]) if words else (tokenizer.encode([text]), None)
            if begins and total and tokenizer.end_of_text_id is not None:
                ids_N = np.insert(ids_N, 0, tokenizer.end_of_text_id)
                starts_N = None if starts_N is None else np.insert(starts_N, 0, True)
            starts_N = np.ones(len(ids_N), np.bool_) if starts_N is None else starts_N
            ids_N.astype(np.int32).tofile(ids_file)
            starts_N.tofile(starts_file)
            total += len(ids_N)
            progress.advance(task, len(ids_N))
        if not total:
            # An empty file cannot be mapped; one token is too few for any batch, and is refused there.
            np.zeros(1, np.int32).tofile(ids_file)
            np.ones(1, np.bool_).tofile(starts_file)
    for part, path in zip(parts, paths, strict=True):
        part.replace(path)
