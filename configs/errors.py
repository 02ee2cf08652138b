"""Errors for the person who made the mistake: one line, no traceback."""

from __future__ import annotations

import difflib
import errno
import io
import os
import select
import sys
from collections.abc import Callable, Iterable

# 128 and the number of the signal, SIGINT and SIGPIPE.
INTERRUPTED, UNREAD = 130, 141
# A full disk, or one that is only read.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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
    """Run a command-line entry point: a `UserError` becomes one line on stderr and exit code 2; Ctrl-C, and a reader of the output that
    has gone, end it without a word and with the exit codes that shells have for them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that a terminal's encoding has not is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    try:
        code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        if not has_lost_its_reader():
            raise
        sys.exit(UNREAD)
    except SystemExit as error:
        # rich ends a program whose reader has gone by itself, with 1.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        sys.exit(UNREAD)
    except Exception as error:
        # By what the system calls it: not all libraries raise an OSError.
        if not any(os.strerror(code) in str(error) for code in UNWRITABLE):
            raise
        print(f"error: a file cannot be written: {' '.join(str(error).split())}; what was saved before is whole", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)


def has_lost_its_reader() -> bool:
    """Whether stdout is a pipe that nobody reads any more. What it holds back is thrown away: Python would try again at its end."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    is_lost = any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    if is_lost:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return is_lost
