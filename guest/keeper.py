"""The thread that keeps a channel: renews its lease, and hands on its call-ups."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence

from guest.client import Service, readable
from guest.messages import Answer, Change, Missed, Open
from guest.route import Way
from guest.session import Session, Standing

CallUp = Callable[[Missed], object]

_log = logging.getLogger(__name__)


class Keeper:
    """Turns a Session in a thread of its own, with a socket of its own, from `start` to `stop`.

    `call_ups` are called in that thread; one that raises is logged, and nothing else comes of it. The session belongs
    to whoever holds the lock.
    """

    def __init__(self, session: Session, way: Way, call_ups: Sequence[CallUp]) -> None:
        self._session = session
        self._call_ups = call_ups
        self._service = Service(way)
        self._lock = threading.Lock()
        self._bell, self._ringer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="rtvnic channel", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when no call-up is under way any more, unless it is one that stops the keeper."""
        self._ringer.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def standing(self) -> Standing:
        with self._lock:
            return self._session.standing

    @property
    def contract(self) -> Open:
        with self._lock:
            return self._session.contract

    @property
    def total_misses(self) -> int:
        with self._lock:
            return self._session.total_misses

    def note(self, change: Change, answer: Answer) -> None:
        """The controller has answered `change` with yes."""
        with self._lock:
            self._session.change(change, answer)

    def _run(self) -> None:
        with self._service, self._bell:
            while self._wait():
                heard = self._service.receive()
                missed = self._hear(heard) if heard is not None else None
                if missed is not None:
                    self._tell(missed)
            self._service.send(self._farewell())

    def _wait(self) -> bool:
        """Send what is due, and wait until something is heard or due. Is the keeper to go on?"""
        with self._lock:
            due = self._session.turn(time.monotonic_ns())
            wake_ns = self._session.wake_ns
        for datagram in due:
            self._service.send(datagram)
        return self._bell.fileno() not in readable((self._service.fileno(), self._bell.fileno()), wake_ns)

    def _hear(self, datagram: bytes) -> Missed | None:
        with self._lock:
            return self._session.hear(datagram, time.monotonic_ns())

    def _farewell(self) -> bytes:
        with self._lock:
            return self._session.farewell()

    def _tell(self, missed: Missed) -> None:
        for call_up in self._call_ups:
            try:
                call_up(missed)
            except BaseException:  # sys.exit() would end this thread alone, and so the channel
                _log.exception("a callback for misses of channel %d has failed", missed.channel_id)
