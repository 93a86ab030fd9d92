"""A small HTTP server with fixed answers, on the loopback or at a Unix socket, in place of a controller's REST API."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

NOT_FOUND = (404, b"{}")
UNAUTHORIZED = (401, b"{}")


class UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would look for the name of a host


class FakeRest:
    """Serves from its making to `close`, at the Unix socket `path` if that is given. `answers` may change at any time:
    path to (status, content).

    Where there are `tokens`, it answers only who shows one of them.
    """

    def __init__(self, answers: dict[str, tuple[int, bytes]] | None = None, path: Path | None = None) -> None:
        self.answers = answers or {}
        self.tokens: set[str] = set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                is_known = (
                    not fake.tokens or self.headers.get("Authorization", "").removeprefix("Bearer ") in fake.tokens
                )
                status, content = fake.answers.get(self.path, NOT_FOUND) if is_known else UNAUTHORIZED
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(ConnectionError):  # it was too long for the client
                    self.wfile.write(content)

            do_POST = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None: ...

        self._server = UnixServer(str(path), Handler) if path else ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeRest:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def say(self, path: str, content: Any, status: int = 200) -> None:
        """Answer a GET of `path` with `content` as JSON."""
        self.answers[path] = (status, json.dumps(content).encode())


def unused_port() -> int:
    """A port at which nobody listens, at least not yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def taken_port(address: str = "127.0.0.1") -> Iterator[int]:
    """Somebody listens there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        yield listener.getsockname()[1]
