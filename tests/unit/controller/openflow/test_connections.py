"""Which connection gives way, how messages are cut from a stream, and how often the log hears of it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from bench.openflow_frames import ECHO_REQUEST, GENUINE, message
from controller.openflow import connections
from controller.openflow.connections import Complaints, Connections, FrameReader
from controller.openflow.frames import BadFrame

PAST_S = 0.0


class Pair:
    """A connection and its other side."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.far.settimeout(10)

    @property
    def is_hung_up_on(self) -> bool:
        self.far.setblocking(False)
        try:
            return self.far.recv(1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [Pair() for _ in range(5)]
    yield made
    for pair in made:
        pair.close()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Connections:
    monkeypatch.setattr(connections, "UNSETTLED_MAX", 3)
    monkeypatch.setattr(connections, "UNSETTLED_PER_ADDRESS_MAX", 2)
    return Connections()


def enter(few: Connections, pairs: list[Pair], *addresses: str) -> list[bool]:
    return [few.enter(pair.near, address) for pair, address in zip(pairs, addresses, strict=False)]


def hung_up_on(pairs: list[Pair]) -> list[int]:
    return [number for number, pair in enumerate(pairs) if pair.is_hung_up_on]


def test_the_oldest_of_the_same_address_gives_way(few: Connections, pairs: list[Pair]) -> None:
    assert enter(few, pairs, "b", "a", "a", "a") == [False, False, False, True]
    assert hung_up_on(pairs) == [1]


def test_the_oldest_of_all_gives_way(few: Connections, pairs: list[Pair]) -> None:
    assert enter(few, pairs, "a", "b", "c", "d") == [False, False, False, True]
    assert hung_up_on(pairs) == [0]


def test_a_switchs_connection_never_gives_way(few: Connections, pairs: list[Pair]) -> None:
    enter(few, pairs, "a")
    few.settle(pairs[0].near, 7)
    assert enter(few, pairs[1:], "a", "a", "a", "a") == [False, False, True, True]
    assert hung_up_on(pairs) == [1, 2]


def test_a_switch_has_one_connection(few: Connections, pairs: list[Pair]) -> None:
    enter(few, pairs, "a", "b", "c")
    for number, datapath_id in ((0, 7), (1, 8), (2, 7)):
        few.settle(pairs[number].near, datapath_id)
    assert hung_up_on(pairs) == [0]


def test_what_has_left_counts_no_more(few: Connections, pairs: list[Pair]) -> None:
    enter(few, pairs, "a", "a")
    few.leave(pairs[0].near)
    assert enter(few, pairs[2:], "a") == [False]
    few.settle(pairs[0].near, 7)
    assert hung_up_on(pairs) == []


def test_messages_are_cut_from_whatever_pieces_come(pairs: list[Pair]) -> None:
    said, pair = list(GENUINE.values())[:10], pairs[0]
    reader, found, stream = FrameReader(pair.near), [], b"".join(said)
    for at in range(0, len(stream), 7):
        pair.far.sendall(stream[at : at + 7])
    pair.far.shutdown(socket.SHUT_WR)
    while frame := reader.next(None):
        found.append(frame)
    assert found == said


def test_a_peek_takes_nothing(pairs: list[Pair]) -> None:
    pairs[0].far.sendall(GENUINE["hello"])
    reader = FrameReader(pairs[0].near)
    assert reader.peek(None) == reader.next(None) == GENUINE["hello"]


def test_who_drips_is_out_of_time_all_the_same(pairs: list[Pair]) -> None:
    pairs[0].far.sendall(message(ECHO_REQUEST, bytes(100))[:50])
    with pytest.raises(TimeoutError, match="in time"):
        FrameReader(pairs[0].near).next(time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        FrameReader(pairs[0].near).next(PAST_S)


def test_a_bad_header_is_not_waited_for(pairs: list[Pair]) -> None:
    pairs[0].far.sendall(struct.pack("!BBHI", 4, 99, 1000, 0))
    with pytest.raises(BadFrame, match="type 99"):
        FrameReader(pairs[0].near).next(None)


def test_the_log_hears_once_a_second_and_how_many_there_were(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    for now_s in (5.0, 5.1, 5.9, 6.0):
        complaints.add("192.0.2.1", "why", now_s)
    assert [record.getMessage() for record in caplog.records] == [
        "the connection from 192.0.2.1 was closed: why",
        "the connection from 192.0.2.1 was closed: why (2 more were closed since the last one told of)",
    ]
