"""Serves a shim on a Unix socket (mode 0600) and sends misses to those who subscribed.

One thread, the caller's, in `Server.wait`. Whoever leaves too much unread is cut off, so memory is bounded. Misses are
summed up (`dataplane.misses`); what the core's ring cannot hold until it is emptied again is counted there.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dataplane.errors import ShimError
from dataplane.misses import MissBook
from dataplane.protocol import LINE_BYTES_MAX, Session, encode
from dataplane.shim import Shim

CLIENTS_MAX = 16
UNREAD_BYTES_MAX = 4 * LINE_BYTES_MAX
RECEIVE_BYTES = 1 << 16
BATCH_MISSES_MAX = 4096
"""As many as the core's ring holds."""

DRAIN_PERIOD_NS = 5_000_000
"""The core's ring is emptied so often at most: it holds what comes in that time, and one wake-up serves many misses."""


class Client:
    """One connection: bytes that came and are not yet a line, answers and events that are not yet sent."""

    def __init__(self, connection: socket.socket, session: Session) -> None:
        self.connection = connection
        self.session = session
        self.unsent = bytearray()
        self._partial = bytearray()

    def receive(self) -> bool:
        """Read, and answer what is complete, as long as the answers are read.

        Returns False if there is nothing more to expect from the other side.
        """
        data = self.connection.recv(RECEIVE_BYTES)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self.unsent += self.session.answer(bytes(line))
            if not self.send():
                return False
        return bool(data) and len(self._partial) <= LINE_BYTES_MAX

    def send(self) -> bool:
        """Send what the other side takes. Returns False if it leaves too much unread."""
        if self.unsent:
            with contextlib.suppress(BlockingIOError):
                del self.unsent[: self.connection.send(self.unsent)]
        return len(self.unsent) <= UNREAD_BYTES_MAX


class Server:
    """Waits for everything that the shim's process reacts to. `close` ends all connections and removes the socket."""

    def __init__(self, shim: Shim) -> None:
        self._shim = shim
        self._selector = selectors.DefaultSelector()
        self._clients: list[Client] = []
        self._listener: socket.socket | None = None
        self._has_misses = False
        self._next_drain_ns = 0
        self._book = MissBook(shim.counted(shim.labels), time.monotonic_ns())
        self.watch(shim, self._on_event)
        if shim.guard is not None:
            self.watch(shim.guard, _on_guard_dead)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self, file: Any, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` from `wait` whenever `file` (a descriptor, or what has a fileno) is readable."""
        self._selector.register(file, selectors.EVENT_READ, on_readable)

    def listen(self, path: Path) -> None:
        """Accept clients at `path`, root's own. Raises ShimError if another shim does so already."""
        self._listener = _bind(path)
        self.watch(self._listener, self._on_connection)

    def wait(self, timeout_s: float | None) -> None:
        """React to what is ready, or wait for it up to `timeout_s` (None: for ever). Raises ShimError if it fails."""
        for key, _ in self._selector.select(self._patience_s(timeout_s)):
            key.data()
        now_ns = time.monotonic_ns()
        if self._has_misses and now_ns >= self._next_drain_ns:
            self._take_misses(now_ns)
        if due := self._book.due(now_ns):
            self._send_misses(due, now_ns)

    def _patience_s(self, timeout_s: float | None) -> float | None:
        """How long there is nothing to do but to answer, and at most `timeout_s`."""
        drain_ns, due_ns = self._next_drain_ns if self._has_misses else None, self._book.next_due_ns()
        waits_ns = [max(at_ns - time.monotonic_ns(), 0) for at_ns in (drain_ns, due_ns) if at_ns is not None]
        return min([wait_ns / 1e9 for wait_ns in waits_ns] + ([] if timeout_s is None else [timeout_s]), default=None)

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        if self._listener is not None:
            Path(self._listener.getsockname()).unlink(missing_ok=True)
            self._listener.close()
        self._selector.close()

    def _on_event(self) -> None:
        """From now on the ring is looked at in time, without an event for each miss, until nothing is in it."""
        self._selector.unregister(self._shim)
        self._has_misses = True

    def _take_misses(self, now_ns: int) -> None:
        self._shim.acknowledge()
        misses = self._shim.take_misses(BATCH_MISSES_MAX)
        self._next_drain_ns = now_ns + DRAIN_PERIOD_NS
        self._has_misses = bool(misses)
        self._book.add(misses)
        if not self._has_misses:
            self.watch(self._shim, self._on_event)

    def _on_removal(self, labels: Iterable[int]) -> None:
        self._book.add(self._shim.take_misses(BATCH_MISSES_MAX))  # or theirs would be their successors'
        self._book.forget(labels)

    def _send_misses(self, labels: list[int], now_ns: int) -> None:
        event = encode(self._book.tell(self._shim.counted(labels), now_ns))
        for client in [client for client in self._clients if client.session.wants_misses]:
            client.unsent += event
            self._flush(client)

    def _on_connection(self) -> None:
        assert self._listener is not None
        connection, _ = self._listener.accept()
        if len(self._clients) == CLIENTS_MAX:
            connection.close()
            return
        connection.setblocking(False)
        client = Client(connection, Session(self._shim, self._on_removal))
        self._clients.append(client)
        self.watch(connection, lambda: self._on_ready(client))

    def _on_ready(self, client: Client) -> None:
        try:
            is_alive = client.receive()
        except BlockingIOError:
            is_alive = True
        except OSError:
            is_alive = False
        self._flush(client)
        if not is_alive:
            self._drop(client)

    def _flush(self, client: Client) -> None:
        """Send what can be sent now; for the rest, wait until the client reads."""
        try:
            keep = client.send()
        except OSError:
            keep = False
        if not keep:
            self._drop(client)
        elif client in self._clients:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
            key = self._selector.get_key(client.connection)
            self._selector.modify(client.connection, events, key.data)

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.connection)
            client.connection.close()


def _on_guard_dead() -> None:
    raise ShimError("the shim's guard has died, and packets go past the shim", "start it again")


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_served(path):
            raise ShimError(f"another shim serves {path}", "stop that one, or choose another --socket")
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen()
    except (OSError, ShimError) as error:
        listener.close()
        if isinstance(error, ShimError):
            raise
        raise ShimError(f"cannot listen at {path}: {error.strerror or error}", "choose another --socket") from error
    return listener


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
