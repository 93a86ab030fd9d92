"""Signals that end a test bed: the first one counts."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from topologies.interruption import SIGNALS, ctrl_c_for_commands, interruptible, uninterrupted


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Set back what an interruption leaves behind on purpose."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send_all() -> None:
    for number in SIGNALS:
        signal.raise_signal(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_only_the_first_signal_raises(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt if number is signal.SIGINT else SystemExit), interruptible():
        try:
            signal.raise_signal(number)
        finally:
            send_all()  # while things are being removed
    send_all()  # and until the process has ended


def test_the_exit_code_tells_the_signal() -> None:
    with pytest.raises(SystemExit) as ended, interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM


def test_without_a_signal_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible(), uninterrupted():
        send_all()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_on_a_command_line_ctrl_c_does_not_count() -> None:
    with pytest.raises(SystemExit), interruptible(), ctrl_c_for_commands():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    send_all()
