"""How a mistake reaches the person who made it."""

from __future__ import annotations

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


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
