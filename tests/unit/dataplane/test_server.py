"""What a shim's server takes of those who ask, and when it tells them of misses."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from dataplane.errors import ShimError
from dataplane.misses import Counted, Miss
from dataplane.protocol import LINE_BYTES_MAX
from dataplane.server import CLIENTS_MAX, RECEIVE_BYTES, UNREAD_BYTES_MAX, Server
from dataplane.shim import Shim
from dataplane.terms import Terms


class FakeShim:
    """One whose misses, and failure, are the test's to say."""

    guard = None

    def __init__(self) -> None:
        self.labels: set[int] = set()
        self.books: dict[int, Counted] = {}
        self.misses: list[Miss] = []
        self.failure: ShimError | None = None
        self.looks = 0
        self._event = os.eventfd(0, os.EFD_NONBLOCK)

    def signal(self) -> None:
        os.eventfd_write(self._event, 1)

    def miss(self, label: int, counted: Counted) -> None:
        self.books[label] = counted
        self.misses.append(Miss(label, 1000, 1))
        self.signal()

    def fileno(self) -> int:
        return self._event

    def acknowledge(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        if self.failure is not None:
            raise self.failure

    def take_misses(self, _: int) -> list[Miss]:
        self.looks += 1
        taken, self.misses = self.misses, []
        return taken

    def counted(self, labels: Iterable[int]) -> dict[int, Counted]:
        return {label: self.books[label] for label in self.labels.intersection(labels)}

    def remove_channels(self, labels: Iterable[int]) -> None:
        self.labels -= set(labels)

    def set_channels(self, channels: Mapping[int, Terms]) -> None:
        self.labels |= channels.keys()


@pytest.fixture
def shim() -> FakeShim:
    return FakeShim()


@pytest.fixture
def server(shim: FakeShim, tmp_path: Path) -> Iterator[Server]:
    with Server(cast(Shim, shim)) as made:
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


def test_many_requests_at_once_leave_no_more_unread_than_there_is_room_for(
    server: Server, shim: FakeShim, clients: Any
) -> None:
    shim.labels = set(range(16, 10_016))
    deaf = clients()
    server.wait(10)
    (client,) = server._clients
    deaf.sendall(b'{"op": "labels"}\n' * (RECEIVE_BYTES // 17))
    server.wait(10)
    assert not server._clients
    assert UNREAD_BYTES_MAX < len(client.unsent) < UNREAD_BYTES_MAX + LINE_BYTES_MAX


# Misses

CHANNEL = {"label": 17, "rate_bps": 0, "burst_bytes": 0, "downstream_ns": 0}


def ask(server: Server, client: socket.socket, **request: Any) -> None:
    client.sendall(json.dumps(request).encode() + b"\n")
    server.wait(10)
    assert json.loads(client.recv(1000))["ok"]


@pytest.fixture
def listener(server: Server, clients: Any) -> socket.socket:
    """A client that is told of the misses of the channel 17."""
    client: socket.socket = clients()
    server.wait(10)
    ask(server, client, op="subscribe", to=["misses"])
    ask(server, client, op="channels", set=[CHANNEL])
    return client


def heard(client: socket.socket) -> list[tuple[int, int, int]]:
    channels = json.loads(client.recv(10_000))["channels"]
    return [(each["label"], each["misses"], each["packets"]) for each in channels]


def test_the_first_miss_is_told_at_once(server: Server, shim: FakeShim, listener: socket.socket) -> None:
    shim.miss(17, Counted(1000, 1))
    server.wait(10)
    assert heard(listener) == [(17, 1, 1000)]


@pytest.mark.parametrize("misses", [1, 2])
def test_the_books_of_a_channel_go_with_it(
    server: Server, shim: FakeShim, listener: socket.socket, misses: int
) -> None:
    shim.miss(17, Counted(1000, 1))
    server.wait(10)
    assert heard(listener) == [(17, 1, 1000)]
    shim.misses.append(Miss(17, 1000, 1))  # of the former channel, and not taken yet
    ask(server, listener, op="channels", remove=[17], set=[CHANNEL])
    assert server._book.next_due_ns() is None
    shim.miss(17, Counted(20, misses))
    while shim.misses:
        server.wait(10)
    assert heard(listener) == [(17, misses, 20)]


def test_many_misses_do_not_wake_it_one_by_one(
    server: Server, shim: FakeShim, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataplane.server.DRAIN_PERIOD_NS", 3600 * 10**9)
    shim.miss(17, Counted(1000, 1))
    server.wait(10)
    assert heard(listener) == [(17, 1, 1000)]
    shim.miss(17, Counted(1001, 2))
    assert not server._selector.select(0)


def test_what_comes_after_all_was_taken_wakes_it_again(server: Server, shim: FakeShim, listener: socket.socket) -> None:
    for number in (1, 2):
        shim.miss(17, Counted(number, number))
        while shim.misses:
            server.wait(10)
        looks = shim.looks
        server.wait(1)
        server.wait(0)
        assert shim.looks == looks + 1, "it has found nothing, and looks no more"


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_failure_is_noticed_among_misses_too(server: Server, shim: FakeShim, is_busy: bool) -> None:
    if is_busy:
        shim.labels.add(17)
        shim.miss(17, Counted(1, 1))
        server.wait(10)
    shim.failure = ShimError("it has failed", "start it again")
    shim.signal()
    with pytest.raises(ShimError):
        for _ in range(2):
            server.wait(10)
