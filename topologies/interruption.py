"""Signals that ask a test bed to end: SIGINT, SIGTERM and SIGHUP. Main thread only.

The first one counts; from then on none has any effect, so that an impatient user does not interrupt the cleaning up.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """In the with block the first of SIGNALS raises: SIGINT KeyboardInterrupt, the others SystemExit.

    Two, because Mininet's command line takes KeyboardInterrupt for itself.
    """
    with _handling(_end):
        yield


@contextmanager
def ctrl_c_for_commands() -> Iterator[None]:
    """Each SIGINT raises KeyboardInterrupt in the with block: on a command line it ends a command, not the whole."""
    with _handling(signal.default_int_handler, [signal.SIGINT]):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """None of SIGNALS has any effect in the with block: what is being removed is removed to the end."""
    with _handling(_ignore):
        yield


@contextmanager
def _handling(handler: signal._HANDLER, signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """What `_end` has changed meanwhile stays changed."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, former in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, former)


def _end(number: int, _: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, _ignore)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _ignore(_: int, __: FrameType | None) -> None:
    """A handler, and not SIG_IGN, which the programs that we run would inherit."""
