"""Tells systemd how this process stands: ready, reloading, alive, ending. Silent where nobody has asked.

sd_notify(3) without its library: datagrams to the socket that $NOTIFY_SOCKET names. Guarantee: nothing here raises or
blocks for longer than TIMEOUT_S, whoever listens. Any thread; `keep_alive` starts one of its own.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

LOG = logging.getLogger(__name__)

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"
TIMEOUT_S = 1.0
BEATS = 3
"""Signs of life in the time after which systemd takes the process for dead."""

US_PER_S = 1_000_000
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Of the environment. They are for one process: whoever starts another leaves them out."""


def tell(state: str) -> None:
    """Send `state`, lines of NAME=VALUE."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # a name of the kernel's, not of a file
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(TIMEOUT_S)
        sender.sendto(state.encode(), address)


def reloading() -> str:
    """The state that says so from now on, until READY."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def period_s() -> float | None:
    """How often this process is to say ALIVE; None if nobody waits for it."""
    limit_us = os.environ.get("WATCHDOG_USEC", "")
    is_for_us = os.environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
    return int(limit_us) / US_PER_S / BEATS if is_for_us and limit_us.isdecimal() and int(limit_us) else None


def keep_alive(is_alive: Callable[[], bool]) -> None:
    """Say ALIVE from now on whenever `is_alive()`, if anybody waits for it. Returns at once.

    `is_alive` runs in a thread of its own; where it raises TimeoutError or does not return, nothing is said.
    """
    beat_s = period_s()
    if beat_s is not None:
        threading.Thread(target=_beat, args=(is_alive, beat_s), name="watchdog", daemon=True).start()


def _beat(is_alive: Callable[[], bool], beat_s: float) -> None:
    while True:
        if _turns(is_alive):
            tell(ALIVE)
        else:
            LOG.error("it does not react; systemd hears nothing of it until it does")
        time.sleep(beat_s)


def _turns(is_alive: Callable[[], bool]) -> bool:
    try:
        return is_alive()
    except TimeoutError:
        return False
