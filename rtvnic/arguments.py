"""Types for argparse: what people write on a command line, as the integers that the code works with."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from controller.units import NS_PER_S, Quantity, UnitError

LONGEST_S = 86_400


def quantity(kind: Quantity) -> Callable[[str], int]:
    """A type for options such as `--rate 2Mbps`; says what is wrong with text that is no such quantity."""

    def parse(text: str) -> int:
        try:
            return kind.parse(text)
        except UnitError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def integer(allowed: range) -> Callable[[str], int]:
    """A type for numbers within `allowed`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) not in allowed:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of {allowed.start} to {allowed.stop - 1}")
        return int(text)

    return parse


def processors(text: str) -> tuple[int, ...]:
    """A type for a list of processors, such as 2,3."""
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of processors; write 2,3")
    return tuple(map(int, text.split(",")))


def seconds(text: str) -> int:
    """A type for seconds with or without decimals, up to a day; in ns."""
    try:
        value_ns = round(float(text) * NS_PER_S)
    except (ValueError, OverflowError):
        value_ns = -1
    if not 0 <= value_ns <= LONGEST_S * NS_PER_S:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds; write 10 or 0.5, up to {LONGEST_S}")
    return value_ns
