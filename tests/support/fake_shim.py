"""A shim's socket without a shim: `dataplane.protocol` on a Unix socket, in threads, for a table in memory."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dataplane.errors import ShimError
from dataplane.protocol import Session, encode
from dataplane.terms import Terms

Json = dict[str, Any]


class Table:
    """What the requests are for. `room` is for how many channels; `labels_when_ready` is None until `ready`."""

    def __init__(self, room: int = 1000) -> None:
        self.rate_bps, self.be_slack_ns, self.allowance_ns = 0, 0, 0
        self.labels: set[int] = set()
        self.labels_when_ready: set[int] | None = None
        self.room = room
        self.parts: Json = {
            "egress": {"packets": 1},
            "ingress": {"packets": 2},
            "bounds_ns": {},
            "classes": {"5": {"packets": 3}},
        }

    def configure(self, rate_bps: int, be_slack_ns: int, allowance_ns: int) -> None:
        self.rate_bps, self.be_slack_ns, self.allowance_ns = rate_bps, be_slack_ns, allowance_ns

    def set_channels(self, channels: Mapping[int, Terms]) -> None:
        for label in channels:
            if len(self.labels) == self.room:
                raise ShimError(f"channel {label} does not fit: No space left on device", "remove others first")
            self.labels.add(label)

    def remove_channels(self, labels: Iterable[int]) -> None:
        self.labels -= set(labels)

    def ready(self) -> None:
        self.labels_when_ready = set(self.labels)

    def statistics(self, labels: Iterable[int]) -> Json:
        return self.parts | {"channels": {str(label): {"missed": 0} for label in sorted(labels)}}


class FakeShim:
    """Serves at `path` from its making to `close`. `answer` replaces what a session would answer to a line."""

    def __init__(
        self, path: Path, table: Table | None = None, answer: Callable[[bytes], bytes | None] | None = None
    ) -> None:
        self.table = table or Table()
        self._answer = answer
        self._clients: list[tuple[socket.socket, Session]] = []
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> FakeShim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wants_misses(self) -> bool:
        return any(session.wants_misses for _, session in self._clients)

    def tell(self, line: bytes) -> None:
        """Send `line` to every client, as an event."""
        for connection, _ in self._clients:
            connection.sendall(line)

    def miss(self, *misses: Json, counts: Iterable[Json] = ()) -> None:
        self.tell(encode({"event": "misses", "misses": list(misses), "channels": list(counts)}))

    def close(self) -> None:
        """End all connections, and be found no more."""
        self._path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection, _ in self._clients:
            connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection, _ in self._clients:
            connection.close()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append((connection, Session(self.table)))
            thread = threading.Thread(target=self._serve, args=self._clients[-1], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, session: Session) -> None:
        data = bytearray()
        try:
            while received := connection.recv(1 << 16):
                *lines, data = (data + received).split(b"\n")
                for line in lines:
                    answer = session.answer(bytes(line)) if self._answer is None else self._answer(bytes(line))
                    if answer is None:
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    connection.sendall(answer)
        except OSError:
            return


def operation(line: bytes) -> str:
    """What a request asks for."""
    return str(json.loads(line)["op"])
