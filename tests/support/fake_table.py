"""OpenFlow in memory: a switch that takes our entries and says where a packet would go, and a network of them.

It knows only what our entries use, and is stricter than a switch: what a switch would leave to chance (two flows of
equal priority), or would do silently (a table miss, a field that the packet does not have), is an error here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address
from typing import Any

from controller.domain.events import Contents
from controller.guests.entries import link_local
from controller.model import Channel, Host, Network, Protocol, SwitchKind, Vm
from controller.network.labels import TTL_RELATIVE, TTL_STAMPED
from controller.network.wiring import LIVENESS_PORT, UPLINK_PORT, PortRole, port_to, ports_of
from controller.openflow.counts import Traffic
from controller.openflow.flows import base_entries, listener_entries, talker_entries
from controller.openflow.pipeline import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    PORT_NORMAL,
    VLAN_NONE,
    Action,
    AnyMeter,
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    MatchValue,
    Meter,
    MeterWithdrawal,
    Output,
    PacketMeter,
    PopMpls,
    Purpose,
    PushMpls,
    ReparseGroup,
    SetField,
    SetMplsTtl,
    SetQueue,
    Table,
    ToController,
    ToGroup,
    Withdrawal,
    is_ours,
)

BROADCAST = "ff:ff:ff:ff:ff:ff"
UDP, TCP, ICMP, ICMPV6 = 17, 6, 1, 58
STAMP = 0xABCDE
"""The absolute deadline that the fake shim writes."""

VLAN_PRESENT = 0x1000
FIRST_TABLE = 0
HOPS_MAX = 32


class AmbiguousError(AssertionError):
    """Two flows of one table and priority match the same packet: a switch would choose either."""


class TableMissError(AssertionError):
    """No flow of a table matches: the packet would be gone without being counted."""


class RefusedError(AssertionError):
    """An entry or an action that a switch would answer with an error."""


class LoopError(AssertionError):
    """A packet that is still under way after HOPS_MAX hops."""


@dataclass(frozen=True)
class Label:
    """An MPLS label. The bottom-of-stack bit is that of its place: set in the last of a packet's labels only."""

    label: int
    tc: int = 0
    ttl: int = 64


@dataclass(frozen=True)
class Packet:
    """A frame. `eth_type` is that of its content, below any `labels` (outermost first). Of ARP, `source` is the SPA,
    `destination` the TPA."""

    eth_src: str
    eth_dst: str
    eth_type: int = ETH_IPV4
    vlan: int | None = None
    source: str = ""
    destination: str = ""
    arp_sha: str = ""
    ip_proto: int = UDP
    src_port: int = 40000
    dst_port: int = 40001
    dscp: int = 0
    icmpv6_type: int | None = None
    nd_target: str = ""
    labels: tuple[Label, ...] = ()

    def fields(self, in_port: int) -> dict[str, MatchValue]:
        """What a flow can match, by OXM name. Nothing below a label can be seen."""
        found: dict[str, MatchValue] = {
            "in_port": in_port,
            "eth_src": self.eth_src,
            "eth_dst": self.eth_dst,
            "vlan_vid": VLAN_NONE if self.vlan is None else VLAN_PRESENT | self.vlan,
            "eth_type": ETH_MPLS if self.labels else self.eth_type,
        }
        if self.labels:
            outermost = self.labels[0]
            bos = int(len(self.labels) == 1)
            return found | {"mpls_label": outermost.label, "mpls_tc": outermost.tc, "mpls_bos": bos}
        if self.eth_type == ETH_ARP:
            return found | {"arp_sha": self.arp_sha, "arp_spa": self.source, "arp_tpa": self.destination}
        if self.eth_type in (ETH_IPV4, ETH_IPV6):
            return found | self._ip_fields("ipv4" if self.eth_type == ETH_IPV4 else "ipv6")
        return found

    def _ip_fields(self, family: str) -> dict[str, MatchValue]:
        found: dict[str, MatchValue] = {
            f"{family}_src": self.source,
            f"{family}_dst": self.destination,
            "ip_proto": self.ip_proto,
            "ip_dscp": self.dscp,
        }
        if self.icmpv6_type is not None:
            found |= {"icmpv6_type": self.icmpv6_type}
            found |= {"ipv6_nd_target": self.nd_target} if self.nd_target else {}
        protocol = {UDP: "udp", TCP: "tcp"}.get(self.ip_proto)
        ports: dict[str, MatchValue] = {f"{protocol}_src": self.src_port, f"{protocol}_dst": self.dst_port}
        return found | ports if protocol else found


@dataclass(frozen=True)
class Departure:
    """A packet that leaves by `port`, through the queue `queue_id` of it."""

    port: int
    packet: Packet
    queue_id: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a switch made of a packet. `dropped` is the purpose of the flow that had neither action nor next table.

    `handed_up` went to the controller.
    """

    departures: tuple[Departure, ...] = ()
    dropped: Purpose | None = None
    flows: tuple[FlowEntry, ...] = ()
    handed_up: tuple[Packet, ...] = ()

    @property
    def only(self) -> Departure:
        (departure,) = self.departures
        return departure

    @property
    def ports(self) -> list[int]:
        return sorted(departure.port for departure in self.departures)


class FakeSwitch:
    """A switch with `ports`. `down` are those that are not live, and by which nothing leaves."""

    def __init__(self, ports: Iterable[int], entries: Iterable[Entry] = ()) -> None:
        self.ports = frozenset(ports)
        self.down: set[int] = set()
        self.closed: set[int] = set()
        self.flows: dict[tuple[int, int, tuple[tuple[str, MatchValue], ...]], FlowEntry] = {}
        self.groups: dict[int, FailoverGroup | ReparseGroup] = {}
        self.meters: dict[int, AnyMeter] = {}
        self.take(entries)

    @property
    def cookies(self) -> set[int]:
        return {flow.cookie for flow in self.flows.values()}

    @property
    def contents(self) -> Contents:
        """What it says of itself, when nothing has been counted yet."""
        flows = {cookie: Traffic() for cookie in self.cookies if is_ours(cookie)}
        return Contents(flows, dict(self.groups), dict(self.meters), frozenset(self.closed))

    def take(self, entries: Iterable[Entry]) -> None:
        """Put `entries` in, one after the other, as messages of OpenFlow would. Raises RefusedError."""
        for entry in entries:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        match entry:
            case FlowEntry():
                for action in entry.actions:
                    self._check(action)
                if entry.meter_id is not None and entry.meter_id not in self.meters:
                    raise RefusedError(f"there is no meter {entry.meter_id} yet")
                self.flows[entry.table.number, entry.priority, tuple(sorted(entry.match.items()))] = entry
            case Meter() | PacketMeter():
                self.meters[entry.meter_id] = entry
            case ReparseGroup():
                self.groups[entry.group_id] = entry
            case FailoverGroup():
                for bucket in entry.buckets:
                    self._check_port(bucket.port)
                    self._check_port(bucket.watch_port)
                self.groups[entry.group_id] = entry
            case ClosedPort():
                self._check_port(entry.port)
                self.closed.add(entry.port)
            case Withdrawal():
                self.flows = {key: flow for key, flow in self.flows.items() if flow.cookie != entry.cookie}
            case MeterWithdrawal():
                self.meters.pop(entry.meter_id, None)
                self.flows = {key: flow for key, flow in self.flows.items() if flow.meter_id != entry.meter_id}

    def _check(self, action: Action) -> None:
        if isinstance(action, ToGroup) and action.group_id not in self.groups:
            raise RefusedError(f"there is no group {action.group_id} yet")
        if isinstance(action, Output) and action.port != PORT_NORMAL:
            self._check_port(action.port)

    def _check_port(self, port: int) -> None:
        if port not in self.ports:
            raise RefusedError(f"there is no port {port}")

    def forward(self, packet: Packet, in_port: int) -> Outcome:
        """Where `packet`, come in by `in_port`, goes."""
        journey = _Journey(self, in_port, packet)
        table: int | None = FIRST_TABLE
        flows: list[FlowEntry] = []
        while table is not None:
            flow = self._find(table, journey.packet.fields(in_port))
            flows.append(flow)
            for action in flow.actions:
                journey.act(action)
            if flow.goto is not None and flow.goto.number <= table:
                raise RefusedError(f"{flow} goes back from table {table}")
            next_table = flow.goto or journey.take_resubmission()
            table = None if next_table is None else next_table.number
        is_drop = not flows[-1].actions
        dropped = flows[-1].purpose if is_drop else None
        return Outcome(tuple(journey.departures), dropped, tuple(flows), tuple(journey.handed_up))

    def _find(self, table: int, fields: Mapping[str, MatchValue]) -> FlowEntry:
        found = [
            flow
            for (number, _, _), flow in self.flows.items()
            if number == table and all(_matches(fields.get(name), value) for name, value in flow.match.items())
        ]
        if not found:
            raise TableMissError(f"table {table} has no flow for {dict(fields)}")
        best = max(flow.priority for flow in found)
        first, *others = [flow for flow in found if flow.priority == best]
        if others:
            raise AmbiguousError(f"{first} and {others[0]} both match {dict(fields)}")
        return first


@dataclass
class _Journey:
    """One packet's way through the tables of one switch."""

    switch: FakeSwitch
    in_port: int
    packet: Packet
    queue_id: int = 0
    departures: list[Departure] = field(default_factory=list)
    handed_up: list[Packet] = field(default_factory=list)
    resubmitted: Table | None = None

    def act(self, action: Action) -> None:
        labels = self.packet.labels
        match action:
            case PushMpls():
                self._relabel((Label(0, 0, 0), *labels))
            case PopMpls():
                below = ETH_MPLS if labels[1:] else self.packet.eth_type
                if not labels or action.eth_type != below:
                    raise RefusedError(f"{action} on {self.packet}")
                self._relabel(labels[1:])
            case SetMplsTtl():
                self._change_outermost(ttl=action.ttl)
            case SetField(field="ip_dscp"):
                if "ip_dscp" not in self.packet.fields(self.in_port):
                    raise RefusedError(f"{action} on {self.packet}")
                self.packet = replace(self.packet, dscp=action.value)
            case SetField(field="mpls_label"):
                self._change_outermost(label=action.value)
            case SetField(field="mpls_tc"):
                self._change_outermost(tc=action.value)
            case SetQueue():
                self.queue_id = action.queue_id
            case Output():
                self._output(action.port)
            case ToController():
                self.handed_up.append(self.packet)
            case ToGroup():
                self._enter(self.switch.groups[action.group_id])
            case _:
                raise RefusedError(f"no such action: {action}")

    def take_resubmission(self) -> Table | None:
        """The table to which a group has sent the packet since the last call."""
        table, self.resubmitted = self.resubmitted, None
        return table

    def _enter(self, group: FailoverGroup | ReparseGroup) -> None:
        if isinstance(group, ReparseGroup):
            self.resubmitted = group.table
            return
        live = next((bucket for bucket in group.buckets if bucket.watch_port not in self.switch.down), None)
        if live is not None:
            before = self.packet
            for pop in live.pops:
                self.act(pop)
            self._output(live.port)
            self.packet = before

    def _relabel(self, labels: tuple[Label, ...]) -> None:
        self.packet = replace(self.packet, labels=labels)

    def _change_outermost(self, **values: int) -> None:
        if not self.packet.labels:
            raise RefusedError(f"{values} without a label")
        self._relabel((replace(self.packet.labels[0], **values), *self.packet.labels[1:]))

    def _output(self, port: int) -> None:
        out = sorted(self.switch.ports) if port == PORT_NORMAL else [port]
        for each in out:
            if each != self.in_port and each not in self.switch.down | self.switch.closed:
                self.departures.append(Departure(each, self.packet, self.queue_id))


def _matches(found: MatchValue | None, wanted: MatchValue) -> bool:
    if found is None:
        return False
    if isinstance(wanted, tuple):
        value, mask = map(_number, wanted)
        return _number(found) & mask == value
    return _number(found) == _number(wanted)


@cache
def _number(value: MatchValue) -> int:
    """A field's value as a number: addresses may be written in more than one way."""
    if isinstance(value, int):
        return value
    assert isinstance(value, str)
    is_mac = value.count(":") == 5 and all(len(part) == 2 for part in value.split(":"))
    return int(value.replace(":", ""), 16) if is_mac else int(ip_address(value))


def switch_of(network: Network, bridge: str, channels: Iterable[Channel] | None = None) -> FakeSwitch:
    """The bridge with all that it is to have: base entries, then those of `channels` (None: all of the file)."""
    switch = FakeSwitch((port.number for port in ports_of(network, bridge)), base_entries(network, bridge))
    for channel in network.channels.values() if channels is None else channels:
        if not network.is_scheduled(channel):
            continue
        if network.listener_domain(channel) == bridge and not network.is_local(channel):
            switch.take(listener_entries(network, channel))
        if network.talker_domain(channel) == bridge:
            switch.take(talker_entries(network, channel))
    return switch


@dataclass
class Delivery:
    """What became of one packet: which VMs `received` what, what left each hypervisor on its `wire`, where it was
    dropped, and what came `at_hosts`, whether it is for them or not."""

    received: list[tuple[str, Packet]] = field(default_factory=list)
    wire: list[tuple[str, Departure]] = field(default_factory=list)
    dropped: list[tuple[str, Purpose | None]] = field(default_factory=list)
    at_hosts: list[tuple[str, Packet]] = field(default_factory=list)

    @property
    def receivers(self) -> Counter[str]:
        """How many copies each VM got."""
        return Counter(vm for vm, _ in self.received)


class FakeNetwork:
    """All bridges of `network`, wired as declared. A plain switch knows no address: it floods."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.bridges = {name: switch_of(network, name) for name in network.hypervisors}
        self.bridges |= {
            name: switch_of(network, name) for name, switch in network.switches.items() if switch.kind is SwitchKind.OVS
        }

    def kill_shim(self, hypervisor: str) -> None:
        """The liveness TAP goes down, and what still enters the edf port is lost."""
        self.bridges[hypervisor].down.add(LIVENESS_PORT)

    def send(self, vm: str, packet: Packet) -> Delivery:
        """What becomes of a packet of `vm`. Raises LoopError."""
        hypervisor = self.network.vms[vm].hypervisor
        return self._spread([(hypervisor, port_to(self.network, hypervisor, vm).number, packet, 0)])

    def arrive(self, hypervisor: str, packet: Packet) -> Delivery:
        """What becomes of a packet that comes from the network by the uplink of `hypervisor`."""
        return self._spread([(hypervisor, UPLINK_PORT, packet, 0)])

    def _spread(self, start: list[tuple[str, int, Packet, int]]) -> Delivery:
        delivery = Delivery()
        under_way = deque(start)
        while under_way:
            node, in_port, packet, hops = under_way.popleft()
            if hops > HOPS_MAX:
                raise LoopError(f"{packet} is still under way at {node}")
            for departure in self._at(node, in_port, packet, delivery):
                for next_node, next_port, sent in self._across(node, departure, delivery):
                    under_way.append((next_node, next_port, sent, hops + 1))
        return delivery

    def _at(self, node: str, in_port: int, packet: Packet, delivery: Delivery) -> Iterable[Departure]:
        if node not in self.bridges:
            ports = (port.number for port in ports_of(self.network, node))
            return [Departure(port, packet) for port in ports if port != in_port]
        outcome = self.bridges[node].forward(packet, in_port)
        if not outcome.departures:
            delivery.dropped.append((node, outcome.dropped))
        return outcome.departures

    def _across(self, node: str, departure: Departure, delivery: Delivery) -> Iterator[tuple[str, int, Packet]]:
        """To the other end of the cable, if that is a switch."""
        port = {port.number: port for port in ports_of(self.network, node)}[departure.port]
        packet = departure.packet
        assert port.role is not PortRole.LIVENESS, "nothing is ever sent to the liveness port"
        if port.role is PortRole.VM:
            delivery.received.append((port.peer, packet))
            return
        if port.role is PortRole.HOST:
            delivery.at_hosts.append((port.peer, packet))
            return
        if port.role is PortRole.EDF:
            assert LIVENESS_PORT not in self.bridges[node].down, "the shim is dead"
            packet, port = self._through_shim(packet), ports_of(self.network, node)[0]
        if node in self.network.hypervisors:
            delivery.wire.append((node, replace(departure, packet=packet)))
        yield port.peer, port_to(self.network, port.peer, node).number, packet

    def _through_shim(self, packet: Packet) -> Packet:
        """What a shim makes of a packet: stamped, and plain if that is for a host."""
        labels = {each.label for each in packet.labels}
        is_for_host = any(
            channel.label in labels and channel.listener in self.network.hosts
            for channel in self.network.channels.values()
        )
        return replace(packet, labels=()) if is_for_host else stamped(packet)


def stamped(packet: Packet) -> Packet:
    """What the shim makes of a packet: a relative deadline becomes an absolute one."""
    if not packet.labels:
        return packet
    outermost, channel_label = packet.labels
    assert outermost.ttl == TTL_RELATIVE, f"{packet} is for the shim to stamp"
    return replace(packet, labels=(replace(outermost, label=STAMP, ttl=TTL_STAMPED), channel_label))


def arp(vm: Vm | Host, destination: str, eth_dst: str = BROADCAST) -> Packet:
    """An ARP request of `vm`."""
    return Packet(vm.mac, eth_dst, ETH_ARP, source=address(vm), destination=destination, arp_sha=vm.mac)


def ipv4(talker: Vm | Host, listener: Vm | Host, **fields: Any) -> Packet:
    return Packet(talker.mac, listener.mac, **{"source": address(talker), "destination": address(listener)} | fields)


def ipv6(talker: Vm | Host, listener: Vm | Host, **fields: Any) -> Packet:
    """Between the addresses that the VMs give themselves, unless `fields` names others."""
    own = {"source": str(link_local(talker.mac)), "destination": str(link_local(listener.mac))}
    return Packet(talker.mac, listener.mac, ETH_IPV6, **own | fields)


def address(vm: Vm | Host, version: int = 4) -> str:
    return next(str(interface.ip) for interface in vm.addresses if interface.version == version)


def packet_of(network: Network, channel: Channel, **fields: Any) -> Packet:
    """A packet that `channel` selects, as its talker sends it."""
    protocol = {Protocol.TCP: TCP, Protocol.UDP: UDP, None: UDP}[channel.protocol]
    ends = {"source": str(channel.source), "destination": str(channel.destination), "ip_proto": protocol}
    ports = {"src_port": channel.src_port, "dst_port": channel.dst_port}
    given = {name: port for name, port in ports.items() if port is not None}
    make: Callable[..., Packet] = ipv4 if channel.source.version == 4 else ipv6
    listener = network.vms.get(channel.listener) or network.hosts[channel.listener]
    return make(network.vms[channel.talker], listener, **ends | given | fields)
