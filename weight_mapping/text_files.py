"""Files of text, a line each, and how far their work has come."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs import UserError

WIDTH = 24


def read_lines(path: Path) -> list[str]:
    """The lines of a file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); convert it first") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a file of text, one a line") from None


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
