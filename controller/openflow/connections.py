"""The OpenFlow connections that are open: how many there may be, and which gives way.

A connection is *settled* once it is that of a switch of the topology file; it then takes the place of that switch's
former one. So there are at most as many settled ones as switches, and the limits are for the others: a new connection
never finds them full, for the oldest that is not settled is hung up on. A real switch needs milliseconds to settle.

Threads: the porter's, one for each connection, and os-ken's; a lock guards the table.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from controller.openflow import frames

LOG = logging.getLogger(__name__)
UNSETTLED_MAX = 128
UNSETTLED_PER_ADDRESS_MAX = 64
RECEIVE_BYTES = 1 << 16
SEND_TIMEOUT_S = 5.0
"""The same socket sends: a switch that takes nothing for so long is gone."""

COMPLAINTS_EVERY_S = 1.0


class Wire(Protocol):
    """What is used of a socket; `tls.SharedTls` is another one."""

    def recv(self, size: int, /) -> bytes: ...

    def settimeout(self, seconds: float | None, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...


@dataclass
class _Open:
    connection: socket.socket
    address: str
    datapath_id: int | None = None

    def hang_up(self) -> None:
        with suppress(OSError):  # the other side was first
            self.connection.shutdown(socket.SHUT_RDWR)


class Connections:
    """All open connections, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _Open] = {}

    def enter(self, connection: socket.socket, address: str) -> bool:
        """A new connection from `address`. Hangs up on what has to give way to it, and says whether it had to."""
        with self._lock:
            unsettled = [each for each in self._open.values() if each.datapath_id is None]
            neighbours = [each for each in unsettled if each.address == address]
            crowd = neighbours if len(neighbours) >= UNSETTLED_PER_ADDRESS_MAX else unsettled
            is_full = crowd is neighbours or len(unsettled) >= UNSETTLED_MAX
            if is_full:
                self._drop(crowd[0])
            self._open[connection] = _Open(connection, address)
            return is_full

    def settle(self, connection: socket.socket, datapath_id: int) -> None:
        """`connection` is the one of that switch from now on. Hangs up on the former one."""
        with self._lock:
            if (entry := self._open.get(connection)) is None:
                return
            for former in [each for each in self._open.values() if each.datapath_id == datapath_id]:
                self._drop(former)
            entry.datapath_id = datapath_id

    def leave(self, connection: socket.socket) -> None:
        """`connection` has ended."""
        with self._lock:
            self._open.pop(connection, None)

    def _drop(self, entry: _Open) -> None:
        del self._open[entry.connection]
        entry.hang_up()


class FrameReader:
    """The messages that come by one connection. One thread."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._data = bytearray()

    def next(self, until_s: float | None) -> bytes:
        """The next message, as `peek` tells it, and on to the one after it."""
        frame = self.peek(until_s)
        del self._data[: len(frame)]
        return frame

    def peek(self, until_s: float | None) -> bytes:
        """The next message, whole; empty when the other side has hung up.

        `until_s` is by the monotonic clock. Raises BadFrame for a header that no switch sends, TimeoutError at
        `until_s` however much has come by then, OSError.
        """
        while (length := self._length()) > len(self._data):
            if not (received := self._receive(until_s)):
                return b""
            self._data += received
        return bytes(self._data[:length])

    def _length(self) -> int:
        """Of the next message, as far as it is known."""
        if len(self._data) < frames.HEADER_BYTES:
            return frames.HEADER_BYTES
        return frames.length_of(bytes(self._data[: frames.HEADER_BYTES]))

    def _receive(self, until_s: float | None) -> bytes:
        while True:
            left_s = SEND_TIMEOUT_S if until_s is None else until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("it did not say in time which switch it is")
            self._wire.settimeout(left_s)
            with suppress(TimeoutError):
                return self._wire.recv(RECEIVE_BYTES)


class Complaints:
    """Tells the log why connections were closed, at most once a second; of the rest only the number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_s = 0.0
        self._untold = 0

    def add(self, address: str, why: str, now_s: float) -> None:
        with self._lock:
            if now_s < self._next_s:
                self._untold += 1
                return
            more = f" ({self._untold:,} more were closed since the last one told of)" if self._untold else ""
            self._next_s, self._untold = now_s + COMPLAINTS_EVERY_S, 0
        LOG.warning("the connection from %s was closed: %s%s", address, why, more)
