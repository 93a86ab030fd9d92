"""A guest's quantities: the words of a topology file."""

from __future__ import annotations

import pytest

from controller import units as file_units
from guest.errors import Invalid
from guest.units import DURATION, LEASE, RATE, SIZE, Quantity


@pytest.mark.parametrize(
    ("own", "of_files"), [(DURATION, file_units.DURATION), (RATE, file_units.RATE), (SIZE, file_units.SIZE)]
)
def test_has_the_words_of_a_topology_file(own: Quantity, of_files: file_units.Quantity) -> None:
    assert (own.kind, own.units, own.example) == (of_files.kind, of_files.units, of_files.example)


@pytest.mark.parametrize(
    ("kind", "text", "amount"),
    [
        (DURATION, "5ms", 5_000_000),
        (DURATION, " 0.5 ms ", 500_000),
        (RATE, "2.5Mbps", 2_500_000),
        (SIZE, "64KiB", 65_536),
        (LEASE, "30s", 30),
    ],
)
def test_parse(kind: Quantity, text: str, amount: int) -> None:
    assert kind.parse(text) == amount
    assert kind.optional(text) == amount


def test_what_is_not_said_is_the_default() -> None:
    assert DURATION.optional(None) == 0


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (DURATION, "5", "'5' has no unit; write 5ms or 500us"),
        (DURATION, "5m", "'5m' has an unknown unit 'm'; allowed: ns, us, ms, s"),
        (DURATION, "soon", "'soon' is not a duration; write 5ms or 500us"),
        (DURATION, "0ms", "'0ms' is nothing; write 5ms or 500us"),
        (DURATION, "999999999999s", "'999999999999s' is too large; write 5ms or 500us"),
        (LEASE, "1ms", "'1ms' has an unknown unit 'ms'; allowed: s"),
        (SIZE, "5000MB", "'5000MB' is too large; write 64kB or 1500B"),
    ],
)
def test_refuses(kind: Quantity, text: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        kind.parse(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [(DURATION, 5_000_000, "5ms"), (DURATION, 712_345, "712.3us"), (RATE, 2_500_000, "2.5Mbps"), (SIZE, 0, "0")],
)
def test_format(kind: Quantity, value: int, text: str) -> None:
    assert kind.format(value) == text
