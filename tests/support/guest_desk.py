"""The service for guests of examples' `guests`: literal times, a store in memory, a domain that knows what it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from support.examples import example
from support.fake_store import FakeStore
from support.guest_frames import asks, says

from controller.domain.lifecycle import State
from controller.guests.contracts import Contracts, Errand, Settled
from controller.guests.guest import Emit
from controller.guests.reading import Talking
from controller.guests.service import Deed, Service
from controller.network.wiring import FIRST_VM_PORT
from controller.store.records import Owner, Record, Snapshot
from controller.units import NS_PER_MS
from guest.messages import Open, Request, Status

NETWORK = example("guests")
CAMERA, SENSOR, SCREEN = (NETWORK.vms[name] for name in ("camera", "sensor", "screen"))
PORTS = {vm.name: FIRST_VM_PORT + index for index, vm in enumerate(NETWORK.vms_of("left"))}
DEADLINE_NS, RATE_BPS = 5 * NS_PER_MS, 1_000_000


def opening(port: int = 7000, vm: Any = CAMERA, **changes: Any) -> Open:
    asked = Open(
        destination=SCREEN.addresses[0].ip,
        source=vm.addresses[0].ip,
        src_port=0,
        dst_port=port,
        protocol=17,
        burst_bytes=0,
        packet_bytes=0,
        deadline_ns=DEADLINE_NS,
        rate_bps=RATE_BPS,
        lease_s=60,
    )
    return replace(asked, **changes)


class Desk:
    """The service of `left` with a store that decides at once.

    The domain knows what the store has, or what it had when it was `told`; with `is_told` false nothing. Where it
    `is_busy` it does not answer.
    """

    def __init__(self) -> None:
        self.store = FakeStore(NETWORK)
        self.is_told = True
        self.told: Snapshot | None = None
        self.is_busy = False
        self.state = State.INSTALLED
        self.contracts = Contracts(NETWORK, self.store.clerk, self.store.change)
        self.service = Service(NETWORK, "left", self.look)
        self.nonce = 0

    def look(self, vm: str) -> Mapping[int, Talking]:
        if self.is_busy:
            raise TimeoutError
        return {
            record.channel.label: Talking(record.channel, record.owner is Owner.GUEST, self.state, 4_000_000)
            for record in self._known
            if record.channel.talker == vm
        }

    def deeds(self, request: Request, vm: Any = CAMERA, now_ns: int = 0, nonce: int | None = None) -> list[Deed]:
        self.nonce += 1
        return self.hear(asks(vm, request, self.nonce if nonce is None else nonce), vm, now_ns)

    def hear(self, frame: bytes, vm: Any = CAMERA, now_ns: int = 0) -> list[Deed]:
        return self.service.hear(PORTS[vm.name], frame, now_ns)

    def errand(self, request: Request, vm: Any = CAMERA, now_ns: int = 0) -> Errand:
        """What the store has to decide now."""
        (errand,) = self.deeds(request, vm, now_ns)
        assert not isinstance(errand, Emit)
        return errand

    def answers(self, settled: Iterable[Settled], now_ns: int) -> list[Any]:
        """What is answered when the service hears of decisions, in this order."""
        return [says(emit.frame)[0] for each in settled for emit in self.service.settle(each, now_ns)]

    def settled(self, deeds: list[Deed], now_ns: int) -> list[Deed]:
        """With the store's decisions in place of errands."""
        found: list[Deed] = []
        for deed in deeds:
            is_done = isinstance(deed, Emit)
            found += [deed] if is_done else self.service.settle(self.contracts.settle(deed), now_ns)
        return found

    def ask(self, request: Request, vm: Any = CAMERA, now_ns: int = 0, nonce: int | None = None) -> Any:
        (emit,) = self.settled(self.deeds(request, vm, now_ns, nonce), now_ns)
        assert isinstance(emit, Emit) and emit.port == PORTS[vm.name]
        message, said = says(emit.frame)
        assert said == (self.nonce if nonce is None else nonce)
        return message

    def ends(self, now_ns: int) -> list[Deed]:
        """The leases that the store is to hear of at a tick."""
        opened = {each.channel.label: each.channel for each in self._known if each.owner is Owner.GUEST}
        return self.service.tick(opened, now_ns)

    def tick(self, now_ns: int) -> None:
        self.settled(self.ends(now_ns), now_ns)

    @property
    def names(self) -> set[str]:
        """Of the channels that guests have opened."""
        return {name for name, each in self.store.now.records.items() if each.owner is Owner.GUEST}

    def label(self, vm: Any = CAMERA, **changes: Any) -> int:
        """Of a channel that is opened now."""
        answer = self.ask(opening(vm=vm, **changes), vm)
        assert (answer.status, answer.reason) == (Status.DONE, "")
        return int(answer.channel_id)

    @property
    def _known(self) -> Iterable[Record]:
        return (self.told or self.store.now).records.values() if self.is_told else ()
