"""What the program ends with: an answer, or that there is none."""

from __future__ import annotations

import pytest

from controller.errors import AnswerIsNo, CannotRun
from rtvnic import down
from rtvnic.__main__ import VERBS, main


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (AnswerIsNo("no such thing"), 1, "no such thing\n"),
        (CannotRun("it is not there", "get it"), 2, "it is not there; get it\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_is_raised_on_purpose_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    assert (ended_by(error, monkeypatch), capsys.readouterr().err) == (code, told)


def test_a_defect_is_no_answer_and_has_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """systemd does not start a controller again whose file is invalid (1), and does after all else."""
    assert ended_by(ZeroDivisionError("by nothing"), monkeypatch) == 70
    lines = capsys.readouterr().err.splitlines()
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "ZeroDivisionError: by nothing")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_its_exit_codes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    assert "Exit code: 0" in " ".join(capsys.readouterr().out.split())


def ended_by(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a verb that raises `error`."""

    def run(_: object) -> int:
        raise error

    monkeypatch.setattr(down, "run", run)
    return main(["down"])
