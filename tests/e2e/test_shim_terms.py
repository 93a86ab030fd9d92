"""What becomes of packets beyond a channel's contract or its deadline, in a shim between real interfaces. Needs root.

The wire carries 100 kbit/s, so that what is sent in one go waits long enough to be told apart on any machine. Best
effort goes only when nothing real-time waits.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.frames import (
    ETHERTYPE_IP,
    ETHERTYPE_MPLS,
    channel_of,
    deadline_label_of,
    frame,
    label_entry,
    labelled,
)
from support.shim_lab import ShimClient, ShimLab

from controller.network.labels import relative_deadline_label

MS = 1_000_000
TICK_NS = 10_000
LABELS = (1 << 20) - 16
LATE, TIMELY = 1001, 1002
TERMS: dict[str, Any] = {"rate_bps": 0, "burst_bytes": 0, "downstream_ns": 0}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ShimLab]:
    with ShimLab(f"dp-{os.getpid()}", tmp_path) as shim_lab:
        shim_lab.start("--rate", "100kbps", "--be-slack", "5s")
        yield shim_lab


@pytest.fixture
def app(lab: ShimLab) -> Iterator[socket.socket]:
    with lab.tap("app") as tap:
        yield tap


@pytest.fixture
def far(lab: ShimLab) -> Iterator[socket.socket]:
    with lab.tap("far") as tap:
        yield tap


@pytest.fixture
def client(lab: ShimLab) -> Iterator[ShimClient]:
    with ShimClient(lab.socket_path) as shim_client:
        yield shim_client


def occupy_wire(app: socket.socket, far: socket.socket) -> None:
    """For the next 123 ms."""
    app.send(frame(ETHERTYPE_IP, length=1514))
    far.recv(2048)


def channels(tap: socket.socket, count: int) -> list[int]:
    return [channel_of(tap.recv(2048)) for _ in range(count)]


def from_stamp_to_stamp_ns(before: int, after: int) -> int:
    """Stamps wrap every ten seconds."""
    return (after - before) % LABELS * TICK_NS


def sent_books(client: ShimClient, label: int) -> dict[str, int]:
    books: dict[str, int] = client.ask("statistics", labels=[label])["channels"][str(label)]
    return books


def test_excess_is_due_when_the_contract_would_have_allowed_it(
    client: ShimClient, app: socket.socket, far: socket.socket
) -> None:
    """A frame of 100 bytes has 124 on the wire: 9.92 ms at 100 kbit/s. The burst has room for one."""
    client.ask("channels", set=[TERMS | {"label": 4711, "rate_bps": 100_000, "burst_bytes": 124}])
    occupy_wire(app, far)
    for _ in range(4):
        app.send(labelled(relative_deadline_label(500 * MS), 4711, length=100))
    stamps = [deadline_label_of(far.recv(2048)) for _ in range(4)]
    steps_ns = [from_stamp_to_stamp_ns(before, after) for before, after in pairwise(stamps)]
    assert all(9_920_000 - TICK_NS <= step <= 9_920_000 + TICK_NS for step in steps_ns)
    books = sent_books(client, 4711)
    assert (books["sent_packets"], books["postponed"], books["excess_dropped"]) == (4, 3, 0)


def test_excess_waits_for_the_neighbours_and_stays_in_order(
    client: ShimClient, app: socket.socket, far: socket.socket
) -> None:
    greedy, modest = 16, 17
    client.ask("channels", set=[TERMS | {"label": greedy, "rate_bps": 100_000, "burst_bytes": 124}])
    client.ask("channels", set=[TERMS | {"label": modest, "rate_bps": 100_000, "burst_bytes": 124}])
    occupy_wire(app, far)
    deadline = relative_deadline_label(500 * MS)
    for number in range(4):
        app.send(labelled(deadline, greedy, length=100)[:-1] + bytes([number]))
    app.send(labelled(deadline + 100, modest, length=100))
    received = [far.recv(2048) for _ in range(5)]
    assert [channel_of(data) for data in received] == [greedy, modest, greedy, greedy, greedy]
    assert [data[-1] for data in received if channel_of(data) == greedy] == [0, 1, 2, 3]


def test_a_channel_that_is_due_earlier_from_now_on_stays_in_order(
    client: ShimClient, app: socket.socket, far: socket.socket
) -> None:
    occupy_wire(app, far)
    for downstream_ns, numbers in ((0, range(3)), (300 * MS, range(3, 6))):
        client.ask("channels", set=[TERMS | {"label": 4711, "downstream_ns": downstream_ns}])
        for number in numbers:
            app.send(labelled(relative_deadline_label(500 * MS), 4711, length=100)[:-1] + bytes([number]))
        time.sleep(0.02)  # they are taken in meanwhile
    assert [far.recv(2048)[-1] for _ in range(6)] == [0, 1, 2, 3, 4, 5]


def test_what_would_wait_too_long_for_its_contract_is_dropped(
    client: ShimClient, app: socket.socket, far: socket.socket
) -> None:
    """99.2 ms for each frame beyond the first."""
    client.ask("channels", set=[TERMS | {"label": 4711, "rate_bps": 10_000, "burst_bytes": 124}])
    occupy_wire(app, far)
    for _ in range(4):
        app.send(labelled(relative_deadline_label(500 * MS), 4711, length=100))
    app.send(labelled(relative_deadline_label(4000 * MS), 4712))
    assert channels(far, 3) == [4711, 4711, 4712]
    books = sent_books(client, 4711)
    assert (books["sent_packets"], books["postponed"], books["excess_dropped"]) == (2, 1, 2)
    assert client.ask("statistics")["egress"]["excess_dropped"] == 2


def test_every_contract_starts_afresh_when_nothing_waits(
    client: ShimClient, app: socket.socket, far: socket.socket
) -> None:
    client.ask("channels", set=[TERMS | {"label": 4711, "rate_bps": 1000, "burst_bytes": 124}])
    for _ in range(5):
        app.send(labelled(relative_deadline_label(500 * MS), 4711, length=100))
        far.recv(2048)
    books = sent_books(client, 4711)
    assert (books["sent_packets"], books["postponed"], books["excess_dropped"]) == (5, 0, 0)


def test_excess_of_a_shaped_channel_waits_on_a_free_link_too(
    client: ShimClient, app: socket.socket, far: socket.socket
) -> None:
    """Two frames beyond the burst: 49.6 ms each by the contract, 9.92 ms on the wire."""
    terms = TERMS | {"label": 4711, "rate_bps": 20_000, "burst_bytes": 124, "is_shaped": True}
    client.ask("channels", set=[terms])
    began_ns = time.monotonic_ns()
    for number in range(3):
        app.send(labelled(relative_deadline_label(500 * MS), 4711, length=100)[:-1] + bytes([number]))
    assert [far.recv(2048)[-1] for _ in range(3)] == [0, 1, 2]
    assert time.monotonic_ns() - began_ns >= 99_200_000
    books = sent_books(client, 4711)
    assert (books["sent_packets"], books["excess_dropped"]) == (3, 0)


@pytest.mark.parametrize(
    ("late", "order", "counted"),
    [
        ("demote", [TIMELY, LATE], "demoted"),
        ("keep", [LATE, TIMELY], "late_departures"),
        ("drop", [TIMELY], "late_dropped"),
    ],
)
def test_what_can_no_longer_be_on_time(
    client: ShimClient, app: socket.socket, far: socket.socket, late: str, order: list[int], counted: str
) -> None:
    client.ask("channels", set=[TERMS | {"label": label, "late": late} for label in (LATE, TIMELY)])
    occupy_wire(app, far)
    app.send(labelled(relative_deadline_label(60 * MS), LATE))
    app.send(labelled(relative_deadline_label(4000 * MS), TIMELY))
    assert channels(far, len(order)) == order
    egress = client.ask("statistics")["egress"]
    assert egress[counted] == 1
    if late != "keep":
        assert sent_books(client, LATE)[counted] == 1
        assert sent_books(client, TIMELY)[counted] == 0


def test_a_deadline_is_shorter_here_by_what_the_path_needs_later(
    client: ShimClient, app: socket.socket, far: socket.socket
) -> None:
    far_away, near = 16, 17
    client.ask("channels", set=[TERMS | {"label": far_away, "downstream_ns": 500 * MS}, TERMS | {"label": near}])
    occupy_wire(app, far)
    app.send(labelled(relative_deadline_label(1000 * MS), near))
    app.send(labelled(relative_deadline_label(1400 * MS), far_away))
    first, second = far.recv(2048), far.recv(2048)
    assert (channel_of(first), channel_of(second)) == (far_away, near)
    difference_ns = from_stamp_to_stamp_ns(deadline_label_of(second), deadline_label_of(first))
    assert 400 * MS <= difference_ns < 1400 * MS, "the stamp is for the other end"


@pytest.mark.parametrize(("version", "ethertype"), [(4, 0x0800), (6, 0x86DD)])
def test_labels_are_stripped_for_an_end_that_knows_nothing_of_them(
    client: ShimClient, app: socket.socket, far: socket.socket, version: int, ethertype: int
) -> None:
    client.ask("channels", set=[TERMS | {"label": 4711, "strips_labels": True}])
    payload = bytes([version << 4]) + bytes(range(100))
    stack = label_entry(relative_deadline_label(500 * MS), ttl=255) + label_entry(4711, is_bottom=True)
    app.send(frame(ETHERTYPE_MPLS, stack + payload))
    assert far.recv(2048) == frame(ethertype, payload)
    books = sent_books(client, 4711)
    assert (books["sent_packets"], books["sent_bytes"]) == (1, 14 + len(payload))
