"""The OpenFlow tables of a bridge, declared as data, and the entries that may stand in them.

An entry is our own immutable data, so that a test can ask a fake table where a packet goes;
`controller.openflow.messages` translates it for the wire. An entry that contradicts its table's declaration cannot be
built: ContradictionError.

Tables of a hypervisor's bridge: `ports` (what may come in where), `classify` (which channel), `forward` (Ethernet),
`listener` (received channels). Tables of an ovs switch: `ports` and `forward`. The edf port and the uplink are one
logical port: no flow that leads to either can be reached from the uplink, or the network would loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from hashlib import blake2b

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ETH_IPV6 = 0x86DD
ETH_MPLS = 0x8847
ETH_MPLS_MULTICAST = 0x8848
VLAN_NONE = 0
"""OFPVID_NONE: the frame carries no VLAN tag."""

IP_PROTO_UDP = 17
IP_PROTO_ICMPV6 = 58
ICMPV6_ROUTER_SOLICITATION = 133
ICMPV6_ROUTER_ADVERTISEMENT = 134
ICMPV6_NEIGHBOUR_SOLICITATION = 135
ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136
ICMPV6_REDIRECT = 137
ICMPV6_MULTICAST_LISTENER = (131, 132, 143)
"""MLD: reports of both versions, and who listens no longer."""

PORT_NORMAL = 0xFFFFFFFA
"""Open vSwitch's own learning and flooding."""

MULTICAST = ("01:00:00:00:00:00", "01:00:00:00:00:00")
NEIGHBOURS_ONLY = ("01:80:c2:00:00:00", "ff:ff:ff:ff:ff:f0")
"""Group addresses that no bridge forwards (IEEE 802.1Q, table 8-1)."""

UPLINK_GROUP = 1
REPARSE_GROUP = 2
SHIM_GROUP = 3
STRIPPING_GROUPS = {4: 4, 6: 6}
"""By IP version: as UPLINK_GROUP, for a listener that knows nothing of labels."""


MatchValue = int | str | tuple[str, str]
Match = Mapping[str, MatchValue]
"""OXM field name to value, or to (value, mask)."""


class ContradictionError(ValueError):
    """An entry that its table's declaration does not allow: a mistake in this program, never in its input."""


@dataclass(frozen=True)
class PushMpls:
    """A new outermost label. Its bottom-of-stack bit is set by the switch."""


@dataclass(frozen=True)
class PopMpls:
    """The outermost label goes; `eth_type` says what comes to light."""

    eth_type: int


@dataclass(frozen=True)
class SetField:
    field: str
    value: int


@dataclass(frozen=True)
class SetMplsTtl:
    ttl: int


@dataclass(frozen=True)
class SetQueue:
    queue_id: int


@dataclass(frozen=True)
class Output:
    """To `port`, unless the packet came in there (OpenFlow never sends a packet back by itself)."""

    port: int


@dataclass(frozen=True)
class ToGroup:
    group_id: int


@dataclass(frozen=True)
class ToController:
    """To the controller, cut off after `most_bytes`. Where none is connected the packet is dropped."""

    most_bytes: int


Action = PushMpls | PopMpls | SetField | SetMplsTtl | SetQueue | Output | ToGroup | ToController


@dataclass(frozen=True)
class Table:
    """One table: the fields that its flows may match, the fields that they may set, what else they may do."""

    name: str
    number: int
    matches: frozenset[str]
    sets: frozenset[str] = frozenset()
    actions: frozenset[type[Action]] = frozenset()
    next_tables: tuple[Table, ...] = ()


LISTENER = Table(
    "listener",
    3,
    matches=frozenset({"eth_type", "eth_dst", "mpls_label", "mpls_bos"}),
    actions=frozenset({PopMpls, Output}),
)
FORWARD = Table(
    "forward",
    2,
    matches=frozenset({"in_port", "eth_dst"}),
    actions=frozenset({Output, ToGroup}),
)
CLASSIFY = Table(
    "classify",
    1,
    matches=frozenset(
        {"in_port", "eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"}
        | {"udp_src", "udp_dst", "tcp_src", "tcp_dst"}
    ),
    sets=frozenset({"ip_dscp", "mpls_label", "mpls_tc"}),
    actions=frozenset({PushMpls, SetMplsTtl, SetQueue, Output, ToGroup}),
    next_tables=(FORWARD,),
)
PORTS = Table(
    "ports",
    0,
    matches=frozenset(
        {"in_port", "eth_type", "vlan_vid", "eth_src", "eth_dst", "mpls_bos", "ip_proto"}
        | {"arp_sha", "arp_spa", "arp_tpa", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"}
        | {"udp_dst", "icmpv6_type", "ipv6_nd_target"}
    ),
    actions=frozenset({PopMpls, ToGroup, ToController}),
    next_tables=(CLASSIFY, FORWARD),
)
SWITCH_FORWARD = Table(
    "forward",
    1,
    matches=frozenset({"eth_dst", "eth_type", "mpls_tc"}),
    actions=frozenset({SetQueue, Output}),
)
SWITCH_PORTS = Table(
    "ports",
    0,
    matches=frozenset({"in_port", "eth_type"}),
    sets=frozenset({"ip_dscp"}),
    next_tables=(SWITCH_FORWARD,),
)

_PREREQUISITES: Mapping[str, tuple[str, frozenset[int]]] = {
    "arp_sha": ("eth_type", frozenset({ETH_ARP})),
    "arp_spa": ("eth_type", frozenset({ETH_ARP})),
    "arp_tpa": ("eth_type", frozenset({ETH_ARP})),
    "ipv4_src": ("eth_type", frozenset({ETH_IPV4})),
    "ipv4_dst": ("eth_type", frozenset({ETH_IPV4})),
    "ipv6_src": ("eth_type", frozenset({ETH_IPV6})),
    "ipv6_dst": ("eth_type", frozenset({ETH_IPV6})),
    "ip_proto": ("eth_type", frozenset({ETH_IPV4, ETH_IPV6})),
    "icmpv6_type": ("ip_proto", frozenset({IP_PROTO_ICMPV6})),
    "ipv6_nd_target": (
        "icmpv6_type",
        frozenset({ICMPV6_NEIGHBOUR_SOLICITATION, ICMPV6_NEIGHBOUR_ADVERTISEMENT}),
    ),
    "mpls_label": ("eth_type", frozenset({ETH_MPLS})),
    "mpls_tc": ("eth_type", frozenset({ETH_MPLS})),
    "mpls_bos": ("eth_type", frozenset({ETH_MPLS})),
    "tcp_src": ("ip_proto", frozenset({6})),
    "tcp_dst": ("ip_proto", frozenset({6})),
    "udp_src": ("ip_proto", frozenset({17})),
    "udp_dst": ("ip_proto", frozenset({17})),
}
"""What must be matched too before a field means anything (OpenFlow 1.3, table 11)."""


class Purpose(IntEnum):
    """What a flow is for: a byte of its cookie. Drops are counted under their cause."""

    FORWARDING = 1
    TALKER = 2
    LISTENER = 3
    GUEST = 4
    """To the controller, with the port that it came in by for its subject."""

    SPOOFED = 16
    ONE_LABEL = 17
    TAGGED = 18
    UNKNOWN_CHANNEL = 19
    UNKNOWN_DESTINATION = 20
    UNKNOWN_PORT = 21
    BLOCKED_PORT = 22
    NEIGHBOURS_ONLY = 23

    @property
    def is_drop(self) -> bool:
        return self >= Purpose.SPOOFED


_COOKIE_MARK = 0x5254
COOKIE_MARK = _COOKIE_MARK << 48
COOKIE_MARK_MASK = 0xFFFF << 48
_DIGEST_BYTES = 5
_SUBJECT_MASK = (1 << 20) - 1


@dataclass(frozen=True)
class FlowEntry:
    """One flow. `subject` tells flows of one purpose apart: a channel's label, or a port number; none for forwarding.

    What exceeds the meter `meter_id` is dropped before any action. No action and no next table means drop.
    """

    table: Table
    priority: int
    match: Match
    purpose: Purpose
    subject: int = 0
    actions: tuple[Action, ...] = ()
    goto: Table | None = None
    meter_id: int | None = None

    def __post_init__(self) -> None:
        _refuse_unless(set(self.match) <= self.table.matches, self, "matches a field that the table does not declare")
        _refuse_unless(all(map(self._is_declared, self.actions)), self, "has an action that the table does not declare")
        _refuse_unless(self.goto is None or self.goto in self.table.next_tables, self, "goes to a table out of order")
        _refuse_unless(all(map(self._is_meaningful, self.match)), self, "matches a field without its prerequisite")

    @cached_property
    def cookie(self) -> int:
        """Mark (16 bits), purpose (8), subject (20) and a digest (20) that changes with anything in the entry.

        Forwarding has no subject and a digest of 40 bits: it has thousands of flows of one purpose.
        """
        goto = self.goto and self.goto.name
        text = f"{self.table.name} {self.priority} {sorted(self.match.items())} {self.actions} {goto}"
        if self.meter_id is not None:
            text += f" {self.meter_id}"
        digest = int.from_bytes(blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest())
        subject = 0 if self.purpose is Purpose.FORWARDING else self.subject << 20
        return COOKIE_MARK | self.purpose << 40 | subject | digest & _digest_mask(self.purpose)

    def _is_declared(self, action: Action) -> bool:
        if isinstance(action, SetField):
            return action.field in self.table.sets
        return type(action) in self.table.actions

    def _is_meaningful(self, field: str) -> bool:
        needed, values = _PREREQUISITES.get(field, (field, None))
        return values is None or self.match.get(needed) in values


@dataclass(frozen=True)
class Bucket:
    """One way out of a fast-failover group, in use while `watch_port` is up and no earlier one is.

    Before it leaves, the packet loses a label for each of `pops`.
    """

    watch_port: int
    port: int
    pops: tuple[PopMpls, ...] = ()


@dataclass(frozen=True)
class FailoverGroup:
    """A fast-failover group."""

    group_id: int
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True)
class ReparseGroup:
    """A way to `table` on which the switch reads the packet afresh.

    Open vSwitch's fast path remembers what a packet looked like when it came in. Told to look below a label that it has
    just popped, it remembers the popped one too, and here that differs from packet to packet: each would take the slow
    path, and be overtaken by those that do not.
    """

    group_id: int
    table: Table


@dataclass(frozen=True)
class Meter:
    """Lets `rate_kbps` pass, and `burst_kbits` at once, counted in frames without labels. Drops what exceeds that."""

    meter_id: int
    rate_kbps: int
    burst_kbits: int


@dataclass(frozen=True)
class PacketMeter:
    """Lets `packets_per_s` pass, and `burst` of them at once. Drops what exceeds that."""

    meter_id: int
    packets_per_s: int
    burst: int


@dataclass(frozen=True)
class ClosedPort:
    """Nothing leaves by this port, floods included."""

    port: int


@dataclass(frozen=True)
class Withdrawal:
    """The flows with exactly this cookie go."""

    cookie: int


@dataclass(frozen=True)
class MeterWithdrawal:
    """The meter goes, and with it the flows that it polices."""

    meter_id: int


Group = FailoverGroup | ReparseGroup
AnyMeter = Meter | PacketMeter
Entry = FlowEntry | Group | AnyMeter | ClosedPort | Withdrawal | MeterWithdrawal


def is_ours(cookie: int) -> bool:
    return cookie & COOKIE_MARK_MASK == COOKIE_MARK


def purpose_and_subject(cookie: int) -> tuple[Purpose, int]:
    """What one of our cookies says. Raises ValueError for a purpose that this version does not know."""
    return Purpose(cookie >> 40 & 0xFF), without_digest(cookie) >> 20 & _SUBJECT_MASK


def without_digest(cookie: int) -> int:
    """What is the same for a flow and for another that takes its place: purpose and subject."""
    return cookie & ~_digest_mask(cookie >> 40 & 0xFF)


def _digest_mask(purpose: int) -> int:
    return (1 << (40 if purpose == Purpose.FORWARDING else 20)) - 1


def _refuse_unless(allowed: bool, entry: FlowEntry, why: str) -> None:
    if not allowed:
        raise ContradictionError(
            f"a flow of table {entry.table.name} {why}: match {dict(entry.match)}, actions {entry.actions}"
        )
