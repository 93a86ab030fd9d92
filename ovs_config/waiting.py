"""Bounded polling of a program or kernel that answers in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.01


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `condition` became true within `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return condition()  # this process may have stood still since it last looked
        time.sleep(POLL_S)
    return True
