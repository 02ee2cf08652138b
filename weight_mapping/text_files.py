"""Files of text, a line each, and how far their work has come."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from configs import UserError

WIDTH = 24


# How a gzipped file begins, and a damaged one fails.
MAGIC = b"\x1f\x8b"
UNREADABLE = (OSError, EOFError, zlib.error)


def is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == MAGIC


def open_bytes(path: Path) -> IO[bytes]:
    """What is in a file, gzipped or not."""
    return cast(IO[bytes], gzip.open(path)) if is_gzipped(path) else path.open("rb")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, gzipped or not, without their ends."""
    try:
        with open_bytes(path) as file:
            # Windows puts a mark before the first line.
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is not there; name a file that is") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 (line {line}: {error.reason}); convert it, for example with iconv") from None
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    # Not splitlines(), which also cuts at characters that a line may have inside a sentence, such as U+2028.
    lines = text.split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


@contextmanager
def whole_file(destination: Path) -> Iterator[Path]:
    """A temporary file that takes the name `destination` when the block ends well, and vanishes when it does not."""
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", dir=destination.absolute().parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


class Progress:
    """A bar on a terminal's stderr, one line at the end elsewhere; use it in a ``with`` block."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.began = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            print(f"{self.done} lines in {time.monotonic() - self.began:.1f} s", file=sys.stderr)

    def advance(self, lines: int) -> None:
        self.done += lines
        if sys.stderr.isatty():
            filled = WIDTH * self.done // self.total
            left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
            end = "\r" if self.done < self.total else "\n"
            print(f"{'━' * filled:{WIDTH}} {self.done}/{self.total}  {left:.0f} s left ", end=end, file=sys.stderr, flush=True)
