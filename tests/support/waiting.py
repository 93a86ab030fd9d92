"""Waiting in tests: never longer than needed, and never for ever."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 20.0
"""Only a test that fails waits so long; a busy machine may take some of it."""


def wait_until(is_so: Callable[[], Any], what: str = "") -> None:
    """Return as soon as `is_so()`. Raises TimeoutError."""
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > end_s and not is_so():  # this process may have stood still since it last looked
            raise TimeoutError(what or "it never came so")
        time.sleep(0.002)


class Mailbox:
    """Takes what is posted from any thread; a test takes it out in order.

    Threads that would go on for ever are held at their next `post` once it is closed.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()
        self._is_closed = False

    def post(self, item: Any) -> None:
        if self._is_closed:
            threading.Event().wait()
        self._queue.put(item)

    def close(self) -> None:
        self._is_closed = True

    def next(self) -> Any:
        """The next item, as soon as there is one. Raises queue.Empty."""
        return self._queue.get(timeout=PATIENCE_S)

    def next_of(self, kind: type[Any]) -> Any:
        """The next item of `kind`; those before it are dropped."""
        while not isinstance(item := self.next(), kind):
            pass
        return item

    @property
    def is_empty(self) -> bool:
        return self._queue.empty()
