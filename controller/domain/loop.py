"""The one thread that owns a domain: takes its events in turn, passes on its commands, answers questions about it.

Everybody else reaches the domain by the queue: `post` for events, `ask` for a reading of its state. A full queue makes
them wait, and so, by way of TCP, whoever sends more than the domain can take. The domain's own thread waits for nobody.
Of what the store tells of its channels, each time all of them, only the last is handled: many changes cost as one.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from controller.domain.domain import Domain
from controller.domain.events import ChannelsTold, Command, Event, Tick
from controller.units import NS_PER_S

LOG = logging.getLogger(__name__)
TICK_NS = NS_PER_S
EVENTS_MAX = 10_000
ANSWER_TIMEOUT_S = 5.0

Answer = TypeVar("Answer")


class DomainLoop:
    """Runs `domain` in a thread of its own; `perform` carries out its commands there and must not block."""

    def __init__(self, domain: Domain, perform: Callable[[Command], None]) -> None:
        self._domain = domain
        self._perform = perform
        self._queue: queue.Queue[Event | Callable[[], None]] = queue.Queue(EVENTS_MAX)
        self._last_told: Event | None = None
        self._thread = threading.Thread(target=self._run, name="domain", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def post(self, event: Event) -> None:
        """Have the domain handle `event`. Any thread but its own; returns at once unless the queue is full.

        Not ChannelsTold after which another one was posted in time; one thread at a time posts these.
        """
        if isinstance(event, ChannelsTold):
            self._last_told = event
        self._queue.put(event)

    def ask(self, question: Callable[[Domain], Answer]) -> Answer:
        """What `question` finds in the domain, between two events. Any thread but its own. Raises TimeoutError."""
        future: Future[Answer] = Future()

        def answer() -> None:
            try:
                future.set_result(question(self._domain))
            except Exception as error:
                future.set_exception(error)

        try:
            self._queue.put(answer, timeout=ANSWER_TIMEOUT_S)
        except queue.Full:
            raise TimeoutError from None
        return future.result(ANSWER_TIMEOUT_S)

    def _run(self) -> None:
        tick_ns = time.monotonic_ns()
        while True:
            now_ns = time.monotonic_ns()
            if now_ns >= tick_ns:
                tick_ns = now_ns + TICK_NS
                self._handle(Tick(time.time_ns()))
            try:
                item = self._queue.get(timeout=(tick_ns - now_ns) / NS_PER_S if tick_ns > now_ns else 0)
            except queue.Empty:
                continue
            if callable(item):
                item()
            elif not isinstance(item, ChannelsTold) or item is self._last_told:
                self._handle(item)

    def _handle(self, event: Event) -> None:
        try:
            for command in self._domain.handle(event, time.monotonic_ns()):
                self._perform(command)
        except Exception:
            LOG.exception("%s could not be handled", event)
