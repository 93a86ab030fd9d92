"""Who asks a shim for what is held to limits: how many clients there are, and how long a line may be."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from dataplane.protocol import LINE_BYTES_MAX
from dataplane.server import CLIENTS_MAX, Server
from dataplane.shim import Shim


class SilentShim:
    """One that has nothing to tell."""

    guard = None

    def __init__(self) -> None:
        self.labels: set[int] = set()
        self._event = os.eventfd(0)

    def fileno(self) -> int:
        return self._event

    def counted(self, _: set[int]) -> dict[int, Any]:
        return {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(cast(Shim, SilentShim())) as made:
        made.listen(tmp_path / "shim.sock")
        yield made


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Any]:
    """Connects one more at each call."""
    with ExitStack() as stack:

        def connect() -> socket.socket:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(tmp_path / "shim.sock"))
            client.settimeout(10)
            return client

        yield connect


def test_one_client_too_many_is_turned_away_and_the_others_are_served(server: Server, clients: Any) -> None:
    first, *_ = [clients() for _ in range(CLIENTS_MAX)]
    for _ in range(CLIENTS_MAX):
        server.wait(10)
    last = clients()
    server.wait(10)
    assert last.recv(1) == b""
    first.sendall(b'{"op": "labels"}\n')
    server.wait(10)
    assert b'"ok":true' in first.recv(1000)


def test_a_line_without_an_end_is_hung_up_on(server: Server, clients: Any) -> None:
    client = clients()
    server.wait(10)
    client.setblocking(False)
    sent = 0
    while sent <= LINE_BYTES_MAX and server._clients:
        sent += client.send(b"x" * (1 << 16))
        server.wait(10)
    while server._clients:
        server.wait(10)
    client.settimeout(10)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            client.sendall(b"x" * (1 << 16))
