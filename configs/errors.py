"""Errors for the person who made the mistake: one line, no traceback."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class UserError(ValueError):
    """A mistake that the user can mend: what was found, what was expected, what to do."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'width'?``, or the choices themselves when none is near."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose one of: {', '.join(choices)}" if choices else ""


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command-line entry point: a `UserError` becomes one line on stderr and exit code 2."""
    try:
        code = command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)
