"""A service for guests without a network behind it: keeps channels in a dict, and does what a test tells it to.

    python tests/support/guest_service.py ADDRESS PORT

runs it alone; then each channel that is subscribed to has missed something at once.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections import Counter
from dataclasses import dataclass, replace

from guest.messages import (
    Answer,
    Change,
    Close,
    Kind,
    List,
    Listed,
    ListedChannel,
    Missed,
    Open,
    Reply,
    Request,
    State,
    Status,
    Subscribe,
    decoded_request,
    encoded,
)
from guest.route import Way

FIRST_ID = 17
BOUND_NS = 3_200_000
MISSED = Missed(0, 2, 40, 2, 700_000, 400_000, 100_000_000, 20_000)
_STOP = b"stop"


@dataclass
class Held:
    """A channel, and how many answers still call it installing."""

    contract: Open
    answers_until_installed: int


class GuestService:
    """A thread that answers datagrams at `way`. A context manager.

    `drops` datagrams are lost on their way to it first, per kind; `refusals` are answered in place of its own answers.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        family, _, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind(where)
        self._thread = threading.Thread(target=self._run)
        self._subscribers: dict[int, tuple[tuple[str, int], int]] = {}
        self._answered: dict[int, Reply] = {}
        self.way = Way(*self._socket.getsockname()[:2])
        self.channels: dict[int, Held] = {}
        self.asked: list[Request] = []
        """Each request once, however often it came."""

        self.drops: Counter[Kind] = Counter()
        self.refusals: dict[Kind, Answer] = {}
        self.answers_until_installed = 0

    def __enter__(self) -> GuestService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(_STOP, self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def count(self, kind: type[Request]) -> int:
        return sum(isinstance(each, kind) for each in self.asked)

    def is_subscribed(self, channel_id: int) -> bool:
        return channel_id in self._subscribers

    def tell(self, missed: Missed, nonce: int | None = None) -> None:
        """To who has subscribed to its channel, with another nonce if one is given."""
        guest, own = self._subscribers[missed.channel_id if missed.channel_id in self._subscribers else 0]
        self._socket.sendto(encoded(missed, own if nonce is None else nonce), guest)

    def _run(self) -> None:
        while True:
            datagram, guest = self._socket.recvfrom(2048)
            if datagram == _STOP:
                return
            request, nonce = decoded_request(datagram)
            if self.drops[request.kind] > 0:
                self.drops[request.kind] -= 1
                continue
            if nonce not in self._answered:
                self.asked.append(request)
                self._answered[nonce] = self._reply(request)
            self._socket.sendto(encoded(self._answered[nonce], nonce), guest)
            if isinstance(request, Subscribe):
                self._note(request, guest, nonce)

    def _note(self, request: Subscribe, guest: tuple[str, int], nonce: int) -> None:
        if request.lease_s:
            self._subscribers[request.channel_id] = guest, nonce
        else:
            self._subscribers.pop(request.channel_id, None)

    def _reply(self, request: Request) -> Reply:
        if request.kind in self.refusals:
            return self.refusals[request.kind]
        if isinstance(request, Open):
            return self._standing(self._open(request))
        if isinstance(request, List):
            return Listed(tuple(self._listed(each) for each in sorted(self.channels) if each > request.after_id)[:16])
        if isinstance(request, Subscribe) and request.channel_id == 0:
            return self._done(0, State.INSTALLED, 0)
        if request.channel_id not in self.channels:
            return Answer(Status.UNKNOWN, 0, request.channel_id, 0, 0, 0, 0, "this VM has no such channel")
        if isinstance(request, Close):
            del self.channels[request.channel_id]
            return self._done(request.channel_id, State.WAITING, 0)
        if isinstance(request, Change):
            self._change(request)
        return self._standing(request.channel_id)

    def _open(self, contract: Open) -> int:
        for channel_id, held in self.channels.items():
            if replace(held.contract, lease_s=contract.lease_s) == contract:
                return channel_id
        channel_id = max(self.channels, default=FIRST_ID - 1) + 1
        self.channels[channel_id] = Held(contract, self.answers_until_installed)
        return channel_id

    def _change(self, change: Change) -> None:
        held = self.channels[change.channel_id]
        held.contract = replace(
            held.contract,
            deadline_ns=change.deadline_ns or held.contract.deadline_ns,
            rate_bps=change.rate_bps or held.contract.rate_bps,
            burst_bytes=change.burst_bytes or held.contract.burst_bytes,
        )

    def _standing(self, channel_id: int) -> Answer:
        held = self.channels[channel_id]
        if held.answers_until_installed > 0:
            held.answers_until_installed -= 1
            return self._done(channel_id, State.INSTALLING, 0)
        return self._done(channel_id, State.INSTALLED, BOUND_NS)

    def _done(self, channel_id: int, state: State, bound_ns: int) -> Answer:
        held = self.channels.get(channel_id)
        contract = (held.contract.deadline_ns, held.contract.rate_bps) if held else (0, 0)
        return Answer(Status.DONE, state, channel_id, held.contract.lease_s if held else 0, bound_ns, *contract)

    def _listed(self, channel_id: int) -> ListedChannel:
        held = self.channels[channel_id].contract
        return ListedChannel(
            channel_id, held.lease_s, State.INSTALLED, held.destination, held.source, held.src_port, held.dst_port,
            held.protocol, held.deadline_ns, held.rate_bps, held.burst_bytes,
        )  # fmt: skip


class Eager(GuestService):
    """Tells of a miss as soon as there is a subscriber."""

    def _note(self, request: Subscribe, guest: tuple[str, int], nonce: int) -> None:
        super()._note(request, guest, nonce)
        if request.lease_s:
            self.tell(replace(MISSED, channel_id=request.channel_id))


if __name__ == "__main__":
    with Eager(sys.argv[1], int(sys.argv[2])):
        print("ready", flush=True)
        sys.stdin.read()
