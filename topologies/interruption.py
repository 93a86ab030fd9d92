"""Signals that ask a test bed to end: SIGINT, SIGTERM and SIGHUP all raise KeyboardInterrupt, once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Each of SIGNALS raises KeyboardInterrupt in the with block; only from the main thread."""
    with _handling(_interrupt):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """None of SIGNALS has any effect in the with block: what is being removed is removed to the end."""
    with _handling(_ignore):
        yield


@contextmanager
def _handling(handler: signal._HANDLER) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore(_: int, __: FrameType | None) -> None:
    """A handler, and not SIG_IGN, which the programs that we run would inherit."""
