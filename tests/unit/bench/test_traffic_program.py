"""The command lines of bench.traffic, and the arithmetic of its rates."""

from __future__ import annotations

import pytest

from bench.traffic import interval_ps, main


def test_the_interval_is_exact_where_nanoseconds_are_not() -> None:
    assert interval_ps(2_000_000, 1470) == 5_880_000_000
    assert interval_ps(300_000_000, 1471) == 39_226_666


def test_no_rate_is_as_fast_as_possible() -> None:
    assert interval_ps(0, 1470) == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("send --to 10.0.0.2", "is not an address and a port"),
        ("send --to 10.0.0.2:99999", "is not an address and a port"),
        ("send --to 10.0.0.2:5004 --rate 2", "has no unit"),
        ("send --to 10.0.0.2:5004 --payload 15", "is not a number of 16 to 65507"),
        ("send --to 10.0.0.2:5004 --burst 65", "invalid choice"),
        ("send --to 10.0.0.2:5004 --seconds soon", "is not a number of seconds"),
        ("send --to 10.0.0.2:5004 --seconds -1", "is not a number of seconds"),
        ("send --to 10.0.0.2:5004 --seconds inf", "is not a number of seconds"),
        ("send --to 10.0.0.2:5004 --bind-port 0", "is not a number of 1 to 65535"),
        ("receive --port 70000", "is not a number of 1 to 65535"),
        ("receive --port 5004 --count -1", "is not a number of 1 to 100000000"),
        ("receive --port 5004 --priority 100", "invalid choice"),
        ("sink", "--port"),
    ],
)
def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str], words: str, complaint: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert complaint in capsys.readouterr().err


def test_an_address_that_nobody_has_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receive", "--port", "5004", "--address", "192.0.2.1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
