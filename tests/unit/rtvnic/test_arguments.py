"""Types of command-line options."""

import argparse

import pytest

from controller.units import RATE
from rtvnic.arguments import integer, quantity, seconds


def test_what_is_right_becomes_an_integer() -> None:
    assert quantity(RATE)("2Mbps") == 2_000_000
    assert integer(range(1, 10))("9") == 9
    assert seconds("0.5") == 500_000_000


@pytest.mark.parametrize("text", ["0", "10", "-1", "1.5", "ten", ""])
def test_an_integer_says_what_is_allowed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a number of 1 to 9"):
        integer(range(1, 10))(text)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e9", "soon"])
def test_no_number_of_seconds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds"):
        seconds(text)


def test_a_quantity_keeps_the_message_of_its_kind() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'2' has no unit"):
        quantity(RATE)("2")
