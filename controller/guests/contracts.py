"""From what a guest asks to a change of the channel store: rules and messages of a topology file, then its quota. Pure.

A guest's channel has its name from the VM and from the packets that it takes: so what is asked twice is one channel. It
is changed by nobody but the VM that talks on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from controller.admission.advice import offer, plain_texts
from controller.admission.guarantee import Guarantees
from controller.errors import InvalidChannel, NotAdmitted, OverQuota, RtvnicError, UnknownChannel
from controller.guests.frames import Sender
from controller.handlers.declared import GUEST
from controller.model import Channel, Host, IpAddress, IpInterface, Network, Protocol, Vm
from controller.network.selectors import Selector
from controller.store.decisions import Clerk, Decision
from controller.store.records import Change as StoreChange
from controller.store.records import Owner, Record, Snapshot
from controller.topology_file.entry import NO_LABEL, ChannelReader, entry_of, merged
from controller.units import DURATION, RATE
from guest.messages import Change, Close, Open

PROTOCOLS = {6: Protocol.TCP, 17: Protocol.UDP}
ANY = 0
"""What stands for no protocol, no port, and for a default, in a guest's request."""


@dataclass(frozen=True)
class Asker:
    """Who is to have the answer, and by which nonce it is known there."""

    sender: Sender
    port: int
    nonce: int


@dataclass(frozen=True)
class Asked:
    """A guest's request that changes channels."""

    vm: Vm
    request: Open | Change | Close
    asker: Asker


@dataclass(frozen=True)
class Ending:
    """The lease of `vm` for the channel of that label has ended."""

    vm: Vm
    channel_id: int


Errand = Asked | Ending
"""Something that the store has to decide."""


@dataclass(frozen=True)
class Settled:
    """What has become of an errand: the channel as the store has it, or why not."""

    errand: Errand
    record: Record | None = None
    error: RtvnicError | None = None


class Contracts:
    """Carries out errands at the store that `change` reaches, for `network`. Not thread-safe."""

    def __init__(self, network: Network, clerk: Clerk, change: Callable[[Decision], Snapshot]) -> None:
        self._clerk = clerk
        self._change = change
        self._reader = ChannelReader(network)
        ends: list[Vm | Host] = [*network.vms.values(), *network.hosts.values()]
        self._ends = {interface.ip: (end.name, interface) for end in ends for interface in end.addresses}

    def settle(self, errand: Errand) -> Settled:
        """Waits for the store."""
        try:
            return Settled(errand, self._carry_out(errand))
        except RtvnicError as error:
            return Settled(errand, error=error)

    def _carry_out(self, errand: Errand) -> Record | None:
        match errand:
            case Asked(vm, Open() as request):
                return self._open(vm, request)
            case Asked(vm, Change() as request):
                return self._revise(vm, request)
            case Asked(vm, Close(channel_id)) | Ending(vm, channel_id):
                self._close(vm, channel_id)
        return None

    def _open(self, vm: Vm, request: Open) -> Record:
        channel = self._asked(vm, request)
        return _at(self._change(lambda before: self._put(before, vm, channel)), channel.name)

    def _revise(self, vm: Vm, request: Change) -> Record:
        name = ""

        def decide(before: Snapshot) -> StoreChange | None:
            nonlocal name
            stored = _own(before, vm, request.channel_id).channel
            name = stored.name
            revised = self._reader.channel(name, merged(entry_of(stored), _contract(request)))
            return self._put(before, vm, replace(revised, source=stored.source, destination=stored.destination))

        return _at(self._change(decide), name)

    def _close(self, vm: Vm, channel_id: int) -> None:
        def decide(before: Snapshot) -> StoreChange | None:
            return self._clerk.remove(_own(before, vm, channel_id).channel.name, Owner.GUEST)(before)

        self._change(decide)

    def _put(self, before: Snapshot, vm: Vm, channel: Channel) -> StoreChange | None:
        stored = before.records.get(channel.name)
        if stored is not None and stored.owner is Owner.GUEST and replace(stored.channel, label=NO_LABEL) == channel:
            return None
        _require_quota(before, vm, channel)
        return self._clerk.put(channel, Owner.GUEST, refuse=partial(_refusal, channel.name))(before)

    def _asked(self, vm: Vm, request: Open) -> Channel:
        """Raises InvalidChannel."""
        source = next((each for each in vm.addresses if each.ip == request.source), None)
        if source is None:
            raise InvalidChannel([("source", f"{request.source} is no address of '{vm.name}' in the topology file")])
        listener, destination = self._end(request.destination)
        if source.network != destination.network:
            message = f"{source} and {destination} are in different networks; nothing here routes between two"
            raise InvalidChannel([("destination", message)])
        packets = Selector(source.ip, destination.ip, _protocol(request), request.src_port, request.dst_port)
        entry = {
            "from": vm.name,
            "to": listener,
            "ip_version": source.version,
            "on_miss": GUEST,
            **_contract(request),
            **_given(protocol=packets.protocol, src_port=request.src_port, dst_port=request.dst_port),
        }
        channel = self._reader.channel(_name(vm, packets), entry)
        return replace(channel, source=source.ip, destination=destination.ip)

    def _end(self, address: IpAddress) -> tuple[str, IpInterface]:
        if address not in self._ends:
            raise InvalidChannel([("destination", f"no VM or host of the topology file has the address {address}")])
        return self._ends[address]


def _protocol(request: Open) -> Protocol | None:
    if request.protocol not in (ANY, *PROTOCOLS):
        numbers = ", ".join(map(str, PROTOCOLS))
        raise InvalidChannel([("protocol", f"{request.protocol} is none of {numbers}, and not {ANY} for any")])
    return PROTOCOLS.get(request.protocol)


def _contract(request: Open | Change) -> dict[str, Any]:
    """The keys of a file for what `request` says of rate, deadline, burst and packets."""
    needed = isinstance(request, Open)
    deadline, rate = f"{request.deadline_ns}ns", f"{request.rate_bps}bps"
    return {
        **({"deadline": deadline} if needed or request.deadline_ns else {}),
        **({"min_rate": rate} if needed or request.rate_bps else {}),
        **({"burst": f"{request.burst_bytes}B"} if request.burst_bytes else {}),
        **({"packet": f"{request.packet_bytes}B"} if request.packet_bytes else {}),
    }


def _given(**values: Any) -> Mapping[str, Any]:
    return {key: str(value) if isinstance(value, Protocol) else value for key, value in values.items() if value}


def _name(vm: Vm, packets: Selector) -> str:
    return f"{vm.name}-{hashlib.sha256(repr(tuple(map(str, packets))).encode()).hexdigest()[:8]}"


def _own(before: Snapshot, vm: Vm, channel_id: int) -> Record:
    """The channel of `vm` with that label. Raises UnknownChannel, also where it is somebody else's."""
    for record in before.records.values():
        if record.channel.label == channel_id and is_of(record, vm):
            return record
    raise UnknownChannel(f"'{vm.name}' has opened no channel {channel_id}, or its lease has ended")


def is_of(record: Record, vm: Vm) -> bool:
    """Whether `vm` has opened the channel, and so may change it."""
    return record.owner is Owner.GUEST and record.channel.talker == vm.name


def _at(after: Snapshot, name: str) -> Record:
    if name not in after.records:
        raise UnknownChannel(f"channel '{name}' has been removed meanwhile")
    return after.records[name]


def _refusal(name: str, found: Guarantees) -> NotAdmitted:
    return NotAdmitted(plain_texts(found, name), offer(found, name))


def _require_quota(before: Snapshot, vm: Vm, channel: Channel) -> None:
    """Raises OverQuota. All that the VM has opened counts."""
    quota = vm.quota
    if quota is None:
        raise OverQuota(f"'{vm.name}' has no quota in the topology file")
    others = [each.channel for each in before.records.values() if is_of(each, vm) and each.channel.name != channel.name]
    channels = [*others, channel]
    rate_bps, burst_bytes = (
        sum(each.wire_rate_bps for each in channels),
        sum(each.wire_burst_bytes for each in channels),
    )
    for is_within, what in (
        (len(channels) <= quota.channels, f"{len(channels)} channels; it may have {quota.channels} at a time"),
        (rate_bps <= quota.rate_bps, f"{RATE.format(rate_bps)} on the wire, of {RATE.format(quota.rate_bps)}"),
        (burst_bytes <= quota.burst_bytes, f"{burst_bytes:,} bytes at once, of {quota.burst_bytes:,}"),
        (
            channel.deadline_ns >= quota.deadline_ns,
            f"a deadline of {DURATION.format(channel.deadline_ns)}; {DURATION.format(quota.deadline_ns)} is the least",
        ),
    ):
        if not is_within:
            raise OverQuota(f"the quota of '{vm.name}' does not allow {what}")
