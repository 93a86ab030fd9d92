"""Quantities: exact in, readable out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.units import DURATION, RATE, SIZE, Quantity, UnitError, ms


@pytest.mark.parametrize(
    ("kind", "text", "amount"),
    [
        (DURATION, "5ms", 5_000_000),
        (DURATION, "0.1ms", 100_000),
        (DURATION, " 500 us ", 500_000),
        (DURATION, "1.9ns", 1),
        (DURATION, "2s", 2_000_000_000),
        (RATE, "2Mbps", 2_000_000),
        (RATE, "1.544Mbps", 1_544_000),
        (RATE, "10Gbps", 10**10),
        (SIZE, "64kB", 64_000),
        (SIZE, "64KiB", 65_536),
    ],
)
def test_parse(kind: Quantity, text: str, amount: int) -> None:
    assert kind.parse(text) == amount


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (DURATION, "5", "'5' has no unit; write 5ms or 500us"),
        (DURATION, "5m", "'5m' has an unknown unit 'm'; allowed: ns, us, ms, s"),
        (DURATION, "5MS", "'5MS' has an unknown unit 'MS'; allowed: ns, us, ms, s"),
        (DURATION, "-5ms", "'-5ms' is not a duration; write 5ms or 500us"),
        (DURATION, ".5ms", "'.5ms' is not a duration; write 5ms or 500us"),
        (DURATION, "", "'' is not a duration; write 5ms or 500us"),
        (RATE, "2MBps", "'2MBps' has an unknown unit 'MBps'; allowed: bps, kbps, Mbps, Gbps"),
        (RATE, "fast", "'fast' is not a rate; write 2Mbps or 500kbps"),
        (SIZE, "9" * 13 + "B", f"'{'9' * 13}B' is not a size; write 64kB or 1500B"),
    ],
)
def test_refuses(kind: Quantity, text: str, message: str) -> None:
    with pytest.raises(UnitError) as refused:
        kind.parse(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("kind", "amount", "text"),
    [
        (DURATION, 5_000_000, "5ms"),
        (DURATION, 1_500, "1.5us"),
        (DURATION, 0, "0ns"),
        (DURATION, -2_000_000, "-2ms"),
        (RATE, 100_000_000, "100Mbps"),
        (RATE, 1_234_567, "1.235Mbps"),
        (SIZE, 1_048_576, "1MiB"),
        (SIZE, 3_092, "3.092kB"),
    ],
)
def test_format(kind: Quantity, amount: int, text: str) -> None:
    assert kind.format(amount) == text


@given(st.sampled_from([DURATION, RATE, SIZE]), st.integers(0, 10**12))
def test_what_is_formatted_parses_to_four_digits(kind: Quantity, amount: int) -> None:
    assert kind.parse(kind.format(amount)) == pytest.approx(amount, rel=1e-3)


@given(st.sampled_from([DURATION, RATE, SIZE]), st.text())
def test_any_text_is_an_amount_or_a_unit_error(kind: Quantity, text: str) -> None:
    try:
        assert kind.parse(text) >= 0
    except UnitError as error:
        assert text in str(error)


def test_ms() -> None:
    assert ms(2_499_600) == "2.500"
