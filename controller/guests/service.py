"""Answers guests: who asks, what is done at once, what the store has to decide, who is called up.

Sans-IO: it is handed frames, and returns frames to send and errands for the store; `controller.guests.link` has the
threads, of which one alone touches it. `look` asks the domain what talks from a VM.

Guarantee: a VM is answered about channels that talk from it and no others, whatever it says that it is: the port by
which a frame came in names it. What it has the store do, it pays for from a budget. What is asked again with the same
nonce is done once. A channel that is opened again before its lease ends stays. Leases and subscriptions do not outlive
the controller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from controller.errors import NotAdmitted, RtvnicError, UnknownChannel
from controller.guests import answers, frames
from controller.guests.books import GuestBook
from controller.guests.contracts import Asked, Asker, Ending, Errand, Settled
from controller.guests.guest import Emit, Guest
from controller.guests.leases import LEASE_MAX_S, Leases
from controller.guests.reading import Talking
from controller.guests.subscriptions import ALL, SUBSCRIPTIONS_MAX, tells_guests
from controller.model import Channel, Network
from controller.network.wiring import port_to
from controller.peering.messages import MissReport
from guest.messages import (
    CHANNELS_MAX,
    Answer,
    BadMessage,
    Change,
    Close,
    List,
    Listed,
    Open,
    Renew,
    Status,
    Subscribe,
    decoded_request,
)

REFUSAL_COST = 10
"""What admission refuses takes the time of many errands: it looks for what would do."""

Look = Callable[[str], Mapping[int, Talking]]
"""By channel label, what talks from the VM of that name."""


Deed = Emit | Errand


class Service:
    """The service of the domain `name` of `network`, for those of its VMs that have a quota.

    What others had opened while they had one ends with its lease.
    """

    def __init__(self, network: Network, name: str, look: Look) -> None:
        self._look = look
        self._vms = {vm.name: vm for vm in network.vms_of(name)}
        guests = [Guest(vm, port_to(network, name, vm.name).number) for vm in self._vms.values() if vm.quota]
        self._by_port = {guest.port: guest for guest in guests}
        self._by_name = {guest.vm.name: guest for guest in guests}
        self._leases = Leases()

    def hear(self, port: int, frame: bytes, now_ns: int) -> list[Deed]:
        """What is to be done about a frame that came in by `port`."""
        guest = self._by_port.get(port)
        if guest is None:
            return []
        try:
            asked = frames.read(frame)
            if not guest.is_own(asked.sender):
                raise frames.BadFrame("from another's address")
            if isinstance(asked, frames.AddressAsked):
                return [Emit(port, frames.here_it_is(asked.sender))]
            request, nonce = decoded_request(asked.payload)
        except (frames.BadFrame, BadMessage):
            guest.count("malformed")
            return []
        guest.count("requests")
        asker = Asker(asked.sender, asked.port, nonce)
        if isinstance(request, Open | Change | Close):
            return self._take(guest, Asked(guest.vm, request, asker), now_ns)
        return [guest.reply(asker, self._answer(guest, asker, request, now_ns))]

    def put_off(self, errand: Errand, now_ns: int) -> list[Deed]:
        """There is no room for `errand`, which was returned just now."""
        if isinstance(errand, Ending):
            self._leases.retry(errand.vm.name, errand.channel_id, now_ns)
            return []
        guest = self._by_name[errand.vm.name]
        guest.forget(errand.asker)
        return [guest.reply(errand.asker, answers.busy("this VM's last requests are not done yet"))]

    def settle(self, settled: Settled, now_ns: int) -> list[Deed]:
        """What is to be done now that the store has decided."""
        errand, error = settled.errand, settled.error
        if isinstance(errand, Ending):
            self._ended(errand, error, now_ns)
            return []
        guest = self._by_name[errand.vm.name]
        guest.forget(errand.asker)
        if isinstance(error, NotAdmitted):
            guest.budget.take(REFUSAL_COST, now_ns)
        answer = self._outcome(guest, errand.request, settled, now_ns)
        reply = guest.reply(errand.asker, answer)
        if answer.status != Status.BUSY:
            guest.conclude(errand.asker, reply, now_ns)
        return [reply]

    def call_up(self, channel: Channel, report: MissReport, now_ns: int) -> list[Deed]:
        """Tell of misses on `channel`, of which its talker may hear, to those who want to."""
        guest = self._by_name[channel.talker]
        wanting = guest.subscriptions.wanting(channel.label, now_ns)
        guest.count("call_ups", len(wanting))
        return [guest.emit(asker, answers.missed(channel, report)) for asker in wanting]

    def tick(self, opened: Mapping[int, Channel], now_ns: int) -> list[Deed]:
        """Once a second: `opened` are the guests' channels that the domain knows of.

        A lease ends while no errand of its VM is under way: what was asked before has renewed it or not, and what is
        asked later comes to the store behind the end.
        """
        self._leases.follow(opened, now_ns)
        for guest in self._by_name.values():
            guest.subscriptions.expire(now_ns)
        idle = self._vms.keys() - {name for name, guest in self._by_name.items() if guest.is_waiting}
        return [Ending(self._vms[vm], label) for vm, label in self._leases.take_ended(idle, now_ns)]

    def books(self, crowded_out: Mapping[str, int], call_ups_dropped: Mapping[str, int]) -> dict[str, GuestBook]:
        """Of each VM; so many of its frames, and reports of its misses, found too many waiting."""
        return {
            name: replace(
                guest.book,
                crowded_out=crowded_out.get(name, 0),
                call_ups_dropped=call_ups_dropped.get(name, 0),
                subscriptions=len(guest.subscriptions),
            )
            for name, guest in self._by_name.items()
        }

    def name_at(self, port: int) -> str | None:
        """The VM at `port`, if it may ask. Any thread."""
        guest = self._by_port.get(port)
        return guest.vm.name if guest else None

    def may_hear_of(self, channel: Channel) -> bool:
        """Whether misses on `channel` are for a VM of this domain to hear of. Any thread."""
        return channel.talker in self._by_name and tells_guests(channel)

    # What the store decides

    def _take(self, guest: Guest, errand: Asked, now_ns: int) -> list[Deed]:
        """Have the store do what was not asked just now; what was asked so gets the same answer."""
        if (known := guest.recall(errand.asker, now_ns)) is not None:
            return [known.answer] if known.answer else []
        if isinstance(errand.request, Open) and not _is_lease(errand.request.lease_s):
            return [guest.reply(errand.asker, answers.no_lease())]
        if guest.budget.wait_ns(now_ns) or not guest.remember(errand.asker, now_ns):
            return [guest.reply(errand.asker, answers.busy("this VM has asked for too much in a short time"))]
        guest.budget.take(1, now_ns)
        return [errand]

    def _outcome(self, guest: Guest, request: Open | Change | Close, settled: Settled, now_ns: int) -> Answer:
        if settled.error is not None:
            return answers.refusal(settled.error)
        vm = guest.vm.name
        if isinstance(request, Close):
            self._leases.end(vm, request.channel_id, now_ns)
            return answers.plain(Status.DONE, request.channel_id)
        assert settled.record is not None
        channel = settled.record.channel
        if isinstance(request, Open):
            self._leases.begin(vm, channel.label, request.lease_s, now_ns)
        self._leases.follow_one(channel.label, channel, now_ns)
        return answers.standing(channel, self._known(channel), self._leases.left_s(channel.label, now_ns))

    def _known(self, channel: Channel) -> Talking | None:
        """How `channel` stands, if the domain has heard of it as it is now, and has the time to say so."""
        try:
            known = self._look(channel.talker).get(channel.label)
        except TimeoutError:
            return None
        return known if known is not None and known.channel == channel else None

    def _ended(self, errand: Ending, error: RtvnicError | None, now_ns: int) -> None:
        """The channel whose lease has ended is gone, or the store is to be told again."""
        if error is None or isinstance(error, UnknownChannel):
            self._leases.end(errand.vm.name, errand.channel_id, now_ns)
        else:
            self._leases.retry(errand.vm.name, errand.channel_id, now_ns)

    # What is answered at once

    def _answer(self, guest: Guest, asker: Asker, request: Renew | List | Subscribe, now_ns: int) -> Answer | Listed:
        match request:
            case Renew():
                return self._renew(guest.vm.name, request, now_ns)
            case List():
                return self._list(guest.vm.name, request, now_ns)
            case Subscribe():
                return self._subscribe(guest, asker, request, now_ns)

    def _renew(self, vm: str, request: Renew, now_ns: int) -> Answer:
        label, known = request.channel_id, self._talking(vm, now_ns).get(request.channel_id)
        if not self._leases.is_of(vm, label):
            return answers.unknown(label)
        if not _is_lease(request.lease_s):
            return answers.no_lease()
        self._leases.renew(label, request.lease_s, now_ns)
        if known is None:  # the store has it, and the domain is about to hear of it
            return replace(answers.plain(Status.DONE, label), lease_s=request.lease_s)
        return answers.standing(known.channel, known, request.lease_s)

    def _list(self, vm: str, request: List, now_ns: int) -> Listed:
        found = self._talking(vm, now_ns)
        labels = sorted(label for label in found if label > request.after_id)[:CHANNELS_MAX]
        return Listed(tuple(answers.listed(found[label], self._leases.left_s(label, now_ns)) for label in labels))

    def _talking(self, vm: str, now_ns: int) -> Mapping[int, Talking]:
        """What talks from the VM; what it has opened has a lease from now on, if it has none yet."""
        found = self._look(vm)
        for label, known in found.items():
            if known.is_guests:
                self._leases.follow_one(label, known.channel, now_ns)
        return found

    def _subscribe(self, guest: Guest, asker: Asker, request: Subscribe, now_ns: int) -> Answer:
        label, lease_s = request.channel_id, request.lease_s
        if not lease_s:
            guest.subscriptions.remove(asker, label)
            return answers.plain(Status.DONE, label)
        if not _is_lease(lease_s):
            return answers.no_lease()
        if (obstacle := self._unheard(guest.vm.name, label)) is not None:
            return obstacle
        if not guest.subscriptions.add(asker, label, lease_s, now_ns):
            why = f"a VM may have {SUBSCRIPTIONS_MAX} subscriptions; end one"
            return answers.plain(Status.OVER_QUOTA, label, why)
        return answers.plain(Status.DONE, label)

    def _unheard(self, vm: str, label: int) -> Answer | None:
        """Why nobody in the VM would ever hear of misses on the channel."""
        if label == ALL or self._leases.is_of(vm, label):
            return None
        known = self._look(vm).get(label)
        if known is None:
            return answers.unknown(label)
        if tells_guests(known.channel):
            return None
        return answers.plain(Status.INVALID, label, f"the on_miss of channel '{known.channel.name}' lacks 'guest'")


def _is_lease(lease_s: int) -> bool:
    return 1 <= lease_s <= LEASE_MAX_S
