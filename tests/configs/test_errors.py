"""How a mistake reaches the person who made it."""

from __future__ import annotations

import errno
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from configs import UserError, nearest, run_command


def test_the_nearest_word_or_all_of_them() -> None:
    assert nearest("widht", ["width", "height"]) == "; did you mean 'width'?"
    assert nearest("zzz", ["width", "height"]) == "; choose one of: height, width"
    assert nearest("zzz", []) == ""


def test_a_mistake_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise UserError("no file x")

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", "error: no file x\n")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device", "weights"), ValueError("I/O error: No space left on device (os error 28)")]
)
def test_a_full_disk_is_no_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: a file cannot be written: {error}; what was saved before is whole\n"
    with pytest.raises(FileNotFoundError):
        run_command(lambda: Path("/nowhere").stat().st_size)


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


@pytest.mark.parametrize(("what", "code"), [("KeyboardInterrupt", 130), ("BrokenPipeError", 1)])
def test_ctrl_c_is_quiet_and_a_pipe_of_our_own_is_not(what: str, code: int) -> None:
    ended = run(f"def command(): raise {what}()")
    assert ended.returncode == code
    assert (ended.stderr == "") == (what == "KeyboardInterrupt")


@pytest.mark.parametrize("shown", ["print('a')", "print('a' * 200_000)", "__import__('rich').print('a')"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_the_command(shown: str, unbuffered: str) -> None:
    ended = run(f"def command(): {shown}", f"export PYTHONUNBUFFERED={unbuffered}; {{command}} | true; exit ${{PIPESTATUS[0]}}")
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(("shell", "shown"), [("PYTHONIOENCODING=ascii {command}", "a?\n"), ("{command} >&-", "")], ids=["ascii", "closed"])
def test_an_output_that_cannot_show_it_is_no_reason_to_stop(shell: str, shown: str) -> None:
    ended = run("def command(): print('a\\u00e9')", shell)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, shown, "")


def run(command: str, shell: str = "{command}") -> subprocess.CompletedProcess[str]:
    """A program with that command, as a shell runs it."""
    program = f"from time import sleep; from configs import run_command; sleep(0.2); exec({command!r}); run_command(command)"
    words = shell.replace("{command}", shlex.join([sys.executable, "-c", program]))
    return subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=60)
