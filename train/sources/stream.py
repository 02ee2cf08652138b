"""Text piece by piece, for a corpus that does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from configs import UserError
from configs.data import HubData, TextData
from train.sources.hub import open_stream
from train.sources.text import text_files

# Characters in a piece of a local file, and pieces or rows that a tokenizer is trained on.
PIECE = 2**20
SAMPLED = 2_000


def stream(data: TextData | HubData, split: str) -> Iterator[tuple[str, bool]]:
    """The pieces of a split, and whether each begins a document. Pieces of a file end where lines do.

    Raises UserError where there is none, or where the hub's dataset has no split of its own to validate on.
    """
    if isinstance(data, HubData):
        for row in open_stream(data, split):
            yield row[data.columns[0]], True
        return
    paths = text_files(Path(data.path))
    border = int(sum(path.stat().st_size for path in paths) * (1 - data.validation_fraction))
    seen = 0
    for path in paths:
        begins = True
        for piece in read_pieces(path):
            start, seen = seen, seen + len(piece.encode())
            if (start < border) == (split == "train"):
                yield piece, begins
                begins = False


def read_pieces(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            while lines := file.readlines(PIECE):
                yield "".join(lines)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); convert it, for example with iconv") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def sample(data: TextData | HubData, split: str) -> list[str]:
    """What a tokenizer is trained on: the beginning of the split."""
    return [text for text, _ in islice(stream(data, split), SAMPLED)]
