"""The threads of the service for guests: one answers, one waits for the store. Others hand things to them.

Guarantee: neither os-ken's threads nor the domain's ever wait for a guest. What a VM sends waits in a line of its own,
a short one, and lines take turns: a VM that floods is in nobody's way. Call-ups go before requests, at most
one in `call_ups.PERIOD_NS` for a channel.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, Protocol, TypeVar

from controller.domain.domain import Domain
from controller.domain.events import Event, GuestsReported
from controller.errors import CannotRun
from controller.guests.call_ups import CallUps
from controller.guests.contracts import Asked, Contracts, Ending, Errand, Settled
from controller.guests.guest import Emit
from controller.guests.reading import Talking, opened, talking
from controller.guests.service import Deed, Service
from controller.guests.turns import RoundRobin
from controller.model import Channel, Network
from controller.peering.messages import MissReport
from controller.store.decisions import Clerk, Decision
from controller.store.records import Snapshot
from controller.units import NS_PER_S

LOG = logging.getLogger(__name__)
FRAMES_MAX = 32
"""Of one VM that wait to be read."""

ERRANDS_MAX = 4
"""Of one VM that wait for the store."""

TICK_NS = NS_PER_S

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Loop(Protocol):
    """What is asked of a controller.domain.loop.DomainLoop."""

    def post(self, event: Event) -> None: ...
    def ask(self, question: Callable[[Domain], Answer]) -> Answer: ...


class Store(Protocol):
    """What is asked of a controller.store.link.StoreLink."""

    clerk: Clerk

    def change(self, decision: Decision) -> Snapshot: ...


class Lines(Generic[Item]):
    """A RoundRobin for threads. What is urgent goes before all lines.

    `crowded_out`: by asker, how often its line was full.
    """

    def __init__(self, most: int) -> None:
        self.crowded_out: Counter[str] = Counter()
        self._turns: RoundRobin[Item] = RoundRobin(most)
        self._urgent: deque[Item] = deque()
        self._is_woken = False
        self._change = threading.Condition()

    def put(self, asker: str, item: Item) -> bool:
        """Whether there is room for it."""
        with self._change:
            has_room = self._turns.put(asker, item)
            self.crowded_out[asker] += not has_room
            self._change.notify()
        return has_room

    def put_urgent(self, item: Item) -> None:
        with self._change:
            self._urgent.append(item)
            self._change.notify()

    def wake(self) -> None:
        """Have whoever takes next wait for nothing."""
        with self._change:
            self._is_woken = True
            self._change.notify()

    def take(self, timeout_s: float | None = None) -> Item | None:
        """The next one; None: there was none for so long, or until `wake`."""
        with self._change:
            item = self._next()
            if item is None and not self._is_woken and self._change.wait(timeout_s):
                item = self._next()
            self._is_woken = False
            return item

    def _next(self) -> Item | None:
        return self._urgent.popleft() if self._urgent else self._turns.take()


Job = Callable[[int], list[Deed]]
"""Something for the service to handle at a time of the monotonic clock."""


class GuestLink:
    """The service for the VMs of the domain `name`."""

    def __init__(self, network: Network, name: str, loop: Loop, store: Store) -> None:
        self._loop = loop
        self._service = Service(network, name, self._look)
        self._contracts = Contracts(network, store.clerk, store.change)
        self._jobs: Lines[Job] = Lines(FRAMES_MAX)
        self._errands: Lines[Errand] = Lines(ERRANDS_MAX)
        self._call_ups = CallUps()
        self._call_ups_lock = threading.Lock()
        self._send: Callable[[int, bytes], None] = lambda *_: None

    def start(self, send: Callable[[int, bytes], None]) -> None:
        """`send` sends a frame by a port of the bridge."""
        self._send = send
        threading.Thread(target=self._run, name="guests", daemon=True).start()
        threading.Thread(target=self._run_errands, name="guests' errands", daemon=True).start()

    def hear(self, port: int, frame: bytes) -> None:
        """A VM has sent `frame` to the service. Any thread; returns at once."""
        if (vm := self._service.name_at(port)) is not None:
            self._jobs.put(vm, partial(self._service.hear, port, frame))

    def tell_misses(self, channel: Channel, report: MissReport) -> None:
        """Packets of `channel`, which talks from here, were late. Any thread; returns at once."""
        if self._service.may_hear_of(channel):
            with self._call_ups_lock:
                self._call_ups.add(channel, report, time.monotonic_ns())
            self._jobs.wake()

    def _run(self) -> None:
        tick_ns = time.monotonic_ns()
        while True:
            job = self._jobs.take(self._wait_s(tick_ns))
            self._call_up()
            if job is not None:
                self._do(job)
            if time.monotonic_ns() >= tick_ns:
                tick_ns = time.monotonic_ns() + TICK_NS
                self._do(self._tick)

    def _wait_s(self, tick_ns: int) -> float:
        """Until the next tick, or call-up."""
        with self._call_ups_lock:
            due_ns = self._call_ups.due_ns
        next_ns = tick_ns if due_ns is None else min(tick_ns, due_ns)
        return max(0, next_ns - time.monotonic_ns()) / NS_PER_S

    def _call_up(self) -> None:
        """Those whose turn it is."""
        with self._call_ups_lock:
            starts = self._call_ups.take(time.monotonic_ns())
        for start in starts:
            self._do(partial(self._service.call_up, start.channel, start.report))

    def _do(self, job: Job) -> None:
        try:
            for deed in job(time.monotonic_ns()):
                self._perform(deed)
        except TimeoutError as error:
            LOG.warning("a guest is not answered: %s", error or "the domain is too busy")
        except Exception:
            LOG.exception("what a guest has asked for could not be handled")

    def _perform(self, deed: Deed) -> None:
        match deed:
            case Emit(port, frame):
                self._send(port, frame)
            case Asked() | Ending():
                if not self._errands.put(deed.vm.name, deed):
                    self._do(partial(self._service.put_off, deed))

    def _tick(self, now_ns: int) -> list[Deed]:
        with self._call_ups_lock:
            dropped = self._call_ups.dropped
        self._loop.post(GuestsReported(self._service.books(self._jobs.crowded_out, dropped)))
        return self._service.tick(self._loop.ask(opened), now_ns)

    def _look(self, vm: str) -> Mapping[int, Talking]:
        """Raises TimeoutError."""
        found = self._loop.ask(lambda domain: talking(domain, vm))
        if found is None:
            raise TimeoutError("the domain has not heard of its channels yet")
        return found

    def _run_errands(self) -> None:
        while True:
            if (errand := self._errands.take()) is not None:
                self._jobs.put_urgent(partial(self._service.settle, self._settled(errand)))

    def _settled(self, errand: Errand) -> Settled:
        try:
            return self._contracts.settle(errand)
        except Exception:
            LOG.exception("%s could not be decided", errand)
            return Settled(errand, error=CannotRun("the controller has failed", "its log says why"))
