"""A relay between clients of a server and its socket, which keeps what was said, and can cut it off or hold it up."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

Port = tuple[str, int]
"""Host and port."""


class Relay:
    """Passes on what goes between clients at `place` and the server's socket, and keeps all that the server said.

    After `cut_at` it breaks the connection of the next request with those bytes, once the server has answered it.
    From `hold` to `release` nothing comes through, also not that a connection has ended: as on a cable that is cut.
    """

    def __init__(self, place: Path | Port, target: str | Port) -> None:
        self.remote = f"unix:{place}"
        self.seen = b""
        self.cuts = 0
        self._target = target
        self._cut_at: bytes | None = None
        self._is_open = threading.Event()
        self._is_open.set()
        self._listener = socket.socket(socket.AF_UNIX if isinstance(place, Path) else socket.AF_INET)
        self._listener.bind(str(place) if isinstance(place, Path) else place)
        self._listener.listen()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            _shut(each)
            each.close()
        self.release()

    def hold(self) -> None:
        self._is_open.clear()

    def release(self) -> None:
        self._is_open.set()

    def cut_at(self, request: bytes) -> None:
        self._cut_at = request

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._is_open.wait()
            upstream = socket.socket(self._listener.family)
            self._sockets += [client, upstream]
            try:
                upstream.connect(self._target)
            except OSError:
                _shut(client)
                continue
            is_cut = threading.Event()
            threading.Thread(target=self._up, args=(client, upstream, is_cut), daemon=True).start()
            threading.Thread(target=self._down, args=(client, upstream, is_cut), daemon=True).start()

    def _up(self, client: socket.socket, upstream: socket.socket, is_cut: threading.Event) -> None:
        while data := self._receive(client):
            if self._cut_at is not None and self._cut_at in data:
                self._cut_at = None
                is_cut.set()
            _send(upstream, data)
        _shut(upstream)

    def _down(self, client: socket.socket, upstream: socket.socket, is_cut: threading.Event) -> None:
        while data := self._receive(upstream):
            if is_cut.is_set():
                self.cuts += 1
                break
            self.seen += data
            _send(client, data)
        _shut(client)
        _shut(upstream)

    def _receive(self, connection: socket.socket) -> bytes:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(1 << 16)
        self._is_open.wait()
        return data


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        _shut(connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
