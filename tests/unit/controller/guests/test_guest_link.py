"""The threads around the service: who floods is in nobody's way, and nobody waits for a guest."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.domains import Driver
from support.examples import example
from support.fake_store import FakeStore
from support.guest_frames import asks, says
from support.waiting import PATIENCE_S, wait_until

from controller.domain.domain import Domain
from controller.domain.events import Event, GuestsReported
from controller.guests.link import ERRANDS_MAX, FRAMES_MAX, GuestLink, Lines
from controller.handlers.turns import CHANNELS_MAX
from controller.model import Protocol
from controller.network.wiring import FIRST_VM_PORT
from controller.peering.messages import MissReport
from controller.store.decisions import Decision
from controller.store.link import told
from controller.store.records import Owner, Snapshot
from controller.units import NS_PER_MS
from guest.messages import Answer, List, Listed, Missed, Open, State, Status, Subscribe

NETWORK = example("guests")
CAMERA, SENSOR, SCREEN = (NETWORK.vms[name] for name in ("camera", "sensor", "screen"))
PORTS = {"camera": FIRST_VM_PORT, "sensor": FIRST_VM_PORT + 1}
REPORT = MissReport("video", 1, 1, 5, 5, 5, 1, 0, 0)


class Store(FakeStore):
    """It decides when `gate` is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(NETWORK)

    def change(self, decision: Decision) -> Snapshot:
        assert self.gate.wait(PATIENCE_S)
        return super().change(decision)


class Bench:
    """A link whose domain knows at once what the store has. `sent` are the frames, by port."""

    def __init__(self) -> None:
        self.store = Store()
        self.driver = Driver(NETWORK, "left")
        self.events: list[Event] = []
        self.sent: queue.Queue[tuple[int, bytes]] = queue.Queue()
        self.link = GuestLink(NETWORK, "left", self, self.store)

    def start(self) -> None:
        self.link.start(lambda port, frame: self.sent.put((port, frame)))

    def post(self, event: Event) -> None:
        self.events.append(event)

    def ask(self, question: Callable[[Domain], Any]) -> Any:
        self.driver.hear(told(self.store.now))
        return question(self.driver.domain)

    def hear(self, vm: Any, request: Any, nonce: int = 1) -> None:
        self.link.hear(PORTS[vm.name], asks(vm, request, nonce))

    def next(self) -> tuple[str, Any, int]:
        """The VM that is told something, what, and by which nonce."""
        port, frame = self.sent.get(timeout=PATIENCE_S)
        name = next(name for name, number in PORTS.items() if number == port)
        return (name, *says(frame))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def opening(vm: Any, port: int = 7000) -> Open:
    return Open(SCREEN.addresses[0].ip, vm.addresses[0].ip, 0, port, 17, 0, 0, 5 * NS_PER_MS, 500_000, 60)


def test_a_question_is_answered_and_an_errand_done(bench: Bench) -> None:
    bench.start()
    bench.hear(CAMERA, List(0))
    name, listed, nonce = bench.next()
    assert (name, nonce) == ("camera", 1)
    assert isinstance(listed, Listed) and len(listed.channels) == 1
    bench.hear(CAMERA, opening(CAMERA), 2)
    name, answer, nonce = bench.next()
    assert isinstance(answer, Answer)
    assert (name, nonce, answer.status, answer.state) == ("camera", 2, Status.DONE, State.WAITING)
    wait_until(lambda: any(isinstance(event, GuestsReported) for event in bench.events))


def test_while_the_store_is_slow_reading_goes_on_and_a_line_is_short(bench: Bench) -> None:
    bench.start()
    bench.store.gate.clear()
    for nonce in range(ERRANDS_MAX + 2):  # one is being done meanwhile
        bench.hear(CAMERA, opening(CAMERA, 7000 + nonce), nonce)
        wait_until(lambda: not bench.link._jobs._turns._waiting)
    assert [bench.next()[1].status for _ in range(1)] == [Status.BUSY]
    bench.hear(SENSOR, List(0))
    assert isinstance(bench.next()[1], Listed)
    bench.hear(SENSOR, opening(SENSOR), 9)
    wait_until(lambda: not bench.link._jobs._turns._waiting)
    bench.store.gate.set()
    names = [bench.next()[0] for _ in range(ERRANDS_MAX + 2)]
    assert names.index("sensor") <= 2, "behind the one that was being done, and one more at most"


def test_a_vm_that_floods_crowds_out_itself_alone(bench: Bench) -> None:
    for nonce in range(FRAMES_MAX + 10):
        bench.hear(CAMERA, List(0), nonce)
    bench.hear(SENSOR, List(0))
    bench.start()
    assert {bench.next()[0], bench.next()[0]} == {"camera", "sensor"}
    wait_until(lambda: bool(bench.events))
    (report, *_) = bench.events
    assert isinstance(report, GuestsReported)
    assert (report.books["camera"].crowded_out, report.books["sensor"].crowded_out) == (10, 0)


def test_call_ups_go_first(bench: Bench) -> None:
    bench.start()
    bench.hear(CAMERA, Subscribe(0, 60), 9)
    assert bench.next()[2] == 9
    bench.link.tell_misses(NETWORK.channels["video"], REPORT)
    name, missed, nonce = bench.next()
    assert (name, nonce) == ("camera", 9)
    assert isinstance(missed, Missed)


def test_of_many_reports_at_once_a_sum_is_told_and_nothing_is_lost(bench: Bench) -> None:
    """As they come from a peer that could not be reached for half a minute."""
    bench.start()
    bench.hear(CAMERA, Subscribe(0, 60), 9)
    assert bench.next()[2] == 9
    for total in range(1, 301):
        bench.link.tell_misses(NETWORK.channels["video"], replace(REPORT, total_misses=total))
    told: list[Missed] = []
    while not told or told[-1].total_misses < 300:
        told.append(bench.next()[1])
    assert sum(each.misses for each in told) == 300
    assert len(told) < 300


def test_call_ups_without_room_are_counted(bench: Bench) -> None:
    for number in range(CHANNELS_MAX + 5):
        bench.link.tell_misses(replace(NETWORK.channels["video"], name=f"video-{number}"), REPORT)
    bench.link.tell_misses(replace(NETWORK.channels["video"], name="log-only", on_miss=("log",)), REPORT)
    bench.start()
    wait_until(lambda: bool(bench.events))
    (report, *_) = bench.events
    assert isinstance(report, GuestsReported)
    assert {vm: book.call_ups_dropped for vm, book in report.books.items()} == {"camera": 5, "sensor": 0}


def test_what_goes_wrong_in_the_store_is_said_and_does_not_end_the_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start()
    with monkeypatch.context() as patch:
        patch.setattr(FakeStore, "change", lambda *_: 1 / 0)
        bench.hear(CAMERA, opening(CAMERA), 1)
        assert bench.next()[1].status == Status.BUSY
    bench.hear(CAMERA, opening(CAMERA), 2)
    assert bench.next()[1].status == Status.DONE


def test_a_domain_that_was_told_nothing_yet_answers_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.driver.domain = Domain(NETWORK, "left")
    monkeypatch.setattr(bench.driver, "hear", lambda *_: None)
    bench.start()
    bench.hear(CAMERA, List(0))
    wait_until(lambda: not bench.link._jobs._turns._waiting)
    bench.driver.domain = Driver(NETWORK, "left").domain
    bench.hear(CAMERA, List(0), 2)
    assert bench.next()[2] == 2


def test_where_no_vm_has_a_quota_nobody_is_heard_but_leases_end(bench: Bench) -> None:
    left_over = replace(NETWORK.channels["video"], name="camera-1", dst_port=7000, protocol=Protocol.UDP)
    label = bench.store.change(bench.store.clerk.put(left_over, Owner.GUEST)).records["camera-1"].channel.label
    vms = {name: replace(vm, quota=None) for name, vm in NETWORK.vms.items()}
    bench.link = GuestLink(replace(NETWORK, vms=vms), "left", bench, bench.store)
    bench.start()
    bench.hear(CAMERA, List(0))
    wait_until(lambda: bench.link._service._leases.is_of("camera", label))
    assert bench.sent.empty()


def test_what_is_urgent_goes_first() -> None:
    lines: Lines[int] = Lines(1)
    lines.put("a", 2)
    for number in range(2):
        lines.put_urgent(number)
    assert [lines.take() for _ in range(3)] == [0, 1, 2]
    assert lines.take(0) is None


def test_who_is_woken_before_it_waits_does_not_wait_once() -> None:
    lines: Lines[int] = Lines(1)
    lines.wake()
    assert lines.take() is None
    lines.put("a", 1)
    assert lines.take() == 1
