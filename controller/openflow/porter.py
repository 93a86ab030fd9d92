"""Lets OpenFlow connections in. One that says nothing costs no thread; who says nothing for too long is shown out.

One thread, `openflow`, waits for all that have said nothing yet; each that begins to speak is served in its own.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from controller.openflow.connections import Connections

LOG = logging.getLogger(__name__)
HANDSHAKE_S = 5.0
"""Within so long a connection says which switch it is: TLS, HELLO, FEATURES_REPLY and its ports."""

LOOK_S = 0.25
RETRY_S = 1.0
TOGETHER_MAX = 32

Serve = Callable[[socket.socket, Any, float], None]
"""Has a connection, its address, and until when it must be a switch's by the monotonic clock. Does not close it."""


class Porter:
    """Listens at `listener`; `complain` hears of an address, and of why a connection from there was closed."""

    def __init__(
        self, listener: socket.socket, connections: Connections, serve: Serve, complain: Callable[[Any, str], None]
    ) -> None:
        self._listener = listener
        self._connections = connections
        self._serve = serve
        self._complain = complain
        self._selector = selectors.DefaultSelector()
        self._silent: dict[socket.socket, tuple[Any, float]] = {}

    def start(self) -> None:
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="openflow", daemon=True).start()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(LOOK_S):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._begin(key.fileobj)
            self._show_out(time.monotonic())

    def _accept(self) -> None:
        try:
            for _ in range(TOGETHER_MAX):
                self._let_in(*self._listener.accept())
        except BlockingIOError:
            pass  # that were all
        except OSError as error:
            LOG.warning("a connection could not be taken: %s", error)
            time.sleep(RETRY_S)

    def _let_in(self, connection: socket.socket, address: Any) -> None:
        if self._connections.enter(connection, address[0]):
            self._complain(address, "too many that had not said which switch they are; the oldest gave way")
        self._silent[connection] = (address, time.monotonic() + HANDSHAKE_S)
        self._selector.register(connection, selectors.EVENT_READ)

    def _begin(self, connection: Any) -> None:
        """It speaks, or has hung up."""
        address, until_s = self._forget(connection)
        if not _speaks(connection):
            self._end(connection)
            return
        words = (connection, address, until_s)
        try:
            threading.Thread(target=self._converse, args=words, name=f"switch at {address}", daemon=True).start()
        except RuntimeError as error:  # the system has no room for one more
            self._end(connection)
            self._complain(address, str(error))

    def _converse(self, connection: socket.socket, address: Any, until_s: float) -> None:
        try:
            self._serve(connection, address, until_s)
        finally:
            self._end(connection)

    def _show_out(self, now_s: float) -> None:
        late = [connection for connection, (_, until_s) in self._silent.items() if until_s <= now_s]
        for connection in late:
            address, _ = self._forget(connection)
            self._end(connection)
            self._complain(address, "it said nothing")

    def _forget(self, connection: socket.socket) -> tuple[Any, float]:
        self._selector.unregister(connection)
        return self._silent.pop(connection)

    def _end(self, connection: socket.socket) -> None:
        self._connections.leave(connection)
        connection.close()


def _speaks(connection: socket.socket) -> bool:
    with suppress(OSError):
        return bool(connection.recv(1, socket.MSG_PEEK))
    return False
