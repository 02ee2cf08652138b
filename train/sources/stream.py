"""Text piece by piece, for a corpus that does not fit into memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import cast

from configs import UserError
from configs.data import HubData, TextData
from train.sources.hub import check_text, open_stream
from train.sources.text import text_files
from weight_mapping.text_files import UNREADABLE, is_gzipped, open_bytes

# Characters in a piece of a local file, and characters that a tokenizer is trained on.
PIECE = 2**20
SAMPLED = 2**26


def stream(data: TextData | HubData, split: str) -> Iterator[tuple[str, bool]]:
    """The pieces of a split, and whether each begins a document. Pieces of a file end where lines do, or words; `validation_fraction`
    counts bytes.

    Raises UserError where there is none, or where the hub's dataset has no split of its own to validate on.
    """
    if isinstance(data, HubData):
        for number, row in enumerate(open_stream(data, split)):
            yield check_text(row[data.columns[0]], data.columns[0], number), True
        return
    paths = text_files(Path(data.path))
    border = int(sum(map(size, paths)) * (1 - data.validation_fraction))
    seen = 0
    for path in paths:
        begins = True
        for piece in read_pieces(path):
            count = len(piece.encode())
            for part, is_training in parts(piece, border - seen, count):
                if part and is_training == (split == "train"):
                    yield part, begins
                    begins = False
            seen += count


def parts(piece: str, border: int, size: int) -> list[tuple[str, bool]]:
    """A piece of so many bytes, cut at the end of the line in which byte `border` lies, or at that byte; True for what is before."""
    if not 0 < border < size:
        return [(piece, border > 0)]
    end = len(piece.encode()[:border].decode("utf-8", "ignore"))
    end = piece.find("\n", end) + 1 or end
    return [(piece[:end], True), (piece[end:], False)]


def size(path: Path) -> int:
    """Bytes of text: those of a gzipped file are counted by reading it."""
    try:
        return _unpacked(path, path.stat().st_mtime_ns) if is_gzipped(path) else path.stat().st_size
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {error}") from None


@lru_cache
def _unpacked(path: Path, changed: int) -> int:
    with open_bytes(path) as file:
        return sum(map(len, iter(partial(file.read, PIECE), b"")))


def read_pieces(path: Path) -> Iterator[str]:
    try:
        with io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding="utf-8-sig", newline="") as file:
            rest = ""
            while more := file.read(PIECE):
                piece = rest + more
                # A line may be longer than a piece.
                end = piece.rfind("\n") + 1 or piece.rfind(" ") + 1 or len(piece)
                yield piece[:end]
                rest = piece[end:]
            if rest:
                yield rest
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); convert it, for example with iconv") from None
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def sample(data: TextData | HubData) -> list[str]:
    """What a tokenizer is trained on: the beginning of the training text."""
    found, size = [], 0
    for text, _ in stream(data, "train"):
        found.append(text)
        size += len(text)
        if size >= SAMPLED:
            break
    return found


def identity(data: TextData | HubData, split: str) -> str:
    """Says which text it is: another one where a file has another size or time of change, or the hub's dataset another commit."""
    if isinstance(data, TextData):
        paths = text_files(Path(data.path))
    elif Path(data.name).exists():
        paths = sorted(path for path in (Path(data.name), *Path(data.name).rglob("*")) if path.is_file())
    else:
        open_stream(data, split)
        return repr((split, data, commit(data.name)))
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return repr((split, data, files))


def commit(name: str) -> str | None:
    """The newest of a dataset on the hub, whose rows `datasets` reads; None where the hub is not to be asked."""
    from huggingface_hub import HfApi, constants

    return None if constants.HF_HUB_OFFLINE else HfApi().dataset_info(name).sha
