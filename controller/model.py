"""The words of the project as immutable data: what a topology file declares once it is understood.

Nothing here reads a file, a clock or a socket. Durations are integer nanoseconds (`_ns`), rates bit/s (`_bps`),
sizes bytes (`_bytes`). Mappings keep the order of the file. Build a Network with `controller.topology_file.load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from pathlib import Path

from controller.handlers.declared import Handler
from controller.units import NS_PER_S

IpAddress = IPv4Address | IPv6Address
IpInterface = IPv4Interface | IPv6Interface

LABEL_STACK_BYTES = 8
WIRE_OVERHEAD_BYTES = 24
"""Preamble 7, start 1, FCS 4 and gap 12: what a frame occupies on the wire beyond its own bytes."""

VM_MTU = 1500
ETHERNET_BYTES = 14
LEAST_FRAME_BYTES = 60
UDP_BYTES = {4: 28, 6: 48}
"""The headers of a UDP packet, by IP version."""

FULL_FRAME_BYTES = VM_MTU + ETHERNET_BYTES + WIRE_OVERHEAD_BYTES
FULL_LABELLED_FRAME_BYTES = FULL_FRAME_BYTES + LABEL_STACK_BYTES
"""A VM's largest packet on the wire, with its Ethernet header: as best effort, and on a channel."""

OPENVSWITCH = "openvswitch"
"""The name of the certificate of an Open vSwitch that has all bridges."""

SHORTEST_DEADLINE_NS = 200_000
"""What a file may ask for; a deadline label could say a little less."""

AUTO_SLACK_NS = -1
"""`be_slack: auto`, until the whole network is known."""

CHANNELS_MAX = 10_000
"""Of a network, whoever makes them: as many as a shim has room for."""

NAME_MAX = 10
"""A node's name; the kernel allows 15 characters for the interfaces derived from it (`left-shim`)."""


class Scheduler(StrEnum):
    """What orders packets at an uplink: the EDF shim, class queues, or one first-in-first-out queue (the baseline)."""

    EDF = "edf"
    QUEUES = "queues"
    FIFO = "fifo"


class SwitchKind(StrEnum):
    """A plain L2 switch (in Mininet a Linux bridge), or an Open vSwitch bridge that a controller programs."""

    PLAIN = "plain"
    OVS = "ovs"


class Protocol(StrEnum):
    UDP = "udp"
    TCP = "tcp"


class Excess(StrEnum):
    """What becomes of packets beyond a channel's rate and burst: due later, or dropped by a meter."""

    POSTPONE = "postpone"
    DROP = "drop"


class Late(StrEnum):
    """What becomes of a packet that can no longer be on time: it gives way, is dropped, or goes on as before."""

    DEMOTE = "demote"
    DROP = "drop"
    KEEP = "keep"


class Bypass(StrEnum):
    """What becomes of a channel's packets while the shim does not work: sent past it, without a guarantee, or not."""

    PASS = "pass"
    BLOCK = "block"


@dataclass(frozen=True)
class DeadlineClass:
    """The deadlines in (`above_ns`, `up_to_ns`] share one OVS queue, one MPLS TC and one DSCP.

    `queue_id` (1 to 7) is the TC too; queue 0 is best effort. All channels of a class together may ask a link for
    `limit_bps` on the wire.
    """

    name: str
    queue_id: int
    dscp: int
    above_ns: int
    up_to_ns: int
    limit_bps: int | None = None

    def takes(self, deadline_ns: int) -> bool:
        return self.above_ns < deadline_ns <= self.up_to_ns


@dataclass(frozen=True)
class Uplink:
    """A hypervisor's link to the network. Best effort goes first while all packets have `be_slack_ns` left.

    All channels together may ask for `limit_bps` of it, counted on the wire. Where `is_slack_auto`, the slack follows
    from the channels.
    """

    switch: str
    interface: str
    rate_bps: int
    be_slack_ns: int
    scheduler: Scheduler
    limit_bps: int | None = None
    is_slack_auto: bool = False


@dataclass(frozen=True)
class TlsFiles:
    """What one holder of a certificate needs, in PEM: its certificate and key, and the authority that all trust."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, directory: Path, name: str) -> TlsFiles:
        """The files of `name`, as `rtvnic pki` calls them."""
        return cls(directory / "ca-cert.pem", directory / f"{name}-cert.pem", directory / f"{name}-key.pem")


@dataclass(frozen=True)
class Endpoint:
    """Where a controller listens: OpenFlow, REST and other controllers (peering), all on `address`."""

    address: str
    openflow_port: int
    rest_port: int
    peering_port: int = 0

    @property
    def is_distant(self) -> bool:
        """Whether other machines can reach it: then REST needs TLS."""
        return not ip_address(self.address).is_loopback

    @property
    def rest_url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.is_distant else 'http'}://{host}:{self.rest_port}"


@dataclass(frozen=True)
class Hypervisor:
    """One physical machine: an OVS bridge of the same name, an uplink, a controller (its domain has its name too).

    `allowance_ns` is what it may take beyond what its link takes: until its shim runs, and in Open vSwitch.
    """

    name: str
    datapath_id: int
    uplink: Uplink
    controller: Endpoint
    allowance_ns: int = 0


@dataclass(frozen=True)
class Switch:
    """A switch between hypervisors. `domain` names the controller of an OVS one; it is empty for a plain one."""

    name: str
    kind: SwitchKind
    datapath_id: int
    domain: str


@dataclass(frozen=True)
class Link:
    """A cable between two switches, of one rate each way."""

    ends: tuple[str, str]
    rate_bps: int


@dataclass(frozen=True)
class Quota:
    """What a VM may ask for by itself: so many channels, and for all of them a rate and a burst on the wire.

    None of them has a shorter deadline than `deadline_ns`.
    """

    channels: int
    rate_bps: int
    burst_bytes: int
    deadline_ns: int


@dataclass(frozen=True)
class Vm:
    """A virtual machine with one NIC. `interface` is its port on the hypervisor's side. Without quota it may ask for
    nothing."""

    name: str
    hypervisor: str
    mac: str
    addresses: tuple[IpInterface, ...]
    interface: str
    quota: Quota | None = None


@dataclass(frozen=True)
class Host:
    """A machine at a switch, without Open vSwitch and a controller: it knows nothing of labels. One NIC."""

    name: str
    switch: str
    mac: str
    addresses: tuple[IpInterface, ...]
    rate_bps: int


@dataclass(frozen=True)
class Channel:
    """A real-time channel, one direction, from a VM to a VM or a host. `label` is its channel label; ports are None for
    "any".

    `source` and `destination` are the VMs' addresses that select it, both of one IP version. `rate_bps` counts the
    payload of UDP packets with `packet_bytes` each; `burst_bytes` counts on the wire.
    """

    name: str
    label: int
    talker: str
    listener: str
    source: IpAddress
    destination: IpAddress
    protocol: Protocol | None
    src_port: int | None
    dst_port: int | None
    deadline_ns: int
    rate_bps: int
    burst_bytes: int
    deadline_class: DeadlineClass
    packet_bytes: int
    on_miss: tuple[str, ...]
    excess: Excess = Excess.POSTPONE
    late: Late = Late.DEMOTE
    on_bypass: Bypass = Bypass.PASS

    @cached_property
    def frame_bytes(self) -> int:
        """Of its packets, as its talker sends them."""
        return max(self.packet_bytes + UDP_BYTES[self.source.version] + ETHERNET_BYTES, LEAST_FRAME_BYTES)

    @cached_property
    def wire_bytes(self) -> int:
        """Of its packets on a link, with all that is around them."""
        return self.frame_bytes + LABEL_STACK_BYTES + WIRE_OVERHEAD_BYTES

    @cached_property
    def wire_rate_bps(self) -> int:
        """What its rate takes of a link, in packets of its size."""
        return -(-self.rate_bps * self.wire_bytes // self.packet_bytes)

    @cached_property
    def wire_burst_bytes(self) -> int:
        """What it may send of a link at once: a full packet at least."""
        return max(self.burst_bytes, FULL_LABELLED_FRAME_BYTES)

    @cached_property
    def waiting_packets(self) -> int:
        """How many packets of its size may wait at once: its burst, and what comes until they are due; rounded up."""
        wire_bits = 8 * (self.frame_bytes + LABEL_STACK_BYTES + WIRE_OVERHEAD_BYTES)
        waiting_bits = 8 * self.wire_burst_bytes + self.wire_rate_bps * self.deadline_ns // NS_PER_S
        return -(-waiting_bits // wire_bits)


@dataclass(frozen=True)
class Network:
    """A whole topology file. Every name that one part mentions exists in the part that declares it."""

    file: Path
    hypervisors: Mapping[str, Hypervisor]
    switches: Mapping[str, Switch]
    links: tuple[Link, ...]
    vms: Mapping[str, Vm]
    hosts: Mapping[str, Host]
    classes: tuple[DeadlineClass, ...]
    channels: Mapping[str, Channel]
    tls_directory: Path | None = None
    handlers: Mapping[str, Handler] = field(default_factory=dict)

    def controller_tls(self, domain: str) -> TlsFiles | None:
        """Of the controller of `domain`; None: OpenFlow without TLS."""
        return TlsFiles.of(self.tls_directory, f"controller-{domain}") if self.tls_directory else None

    def switch_tls(self, bridge: str) -> TlsFiles | None:
        """Of the Open vSwitch of a machine that has `bridge` alone."""
        return TlsFiles.of(self.tls_directory, f"switch-{bridge}") if self.tls_directory else None

    def openvswitch_tls(self) -> TlsFiles | None:
        """Of an Open vSwitch that has all bridges, as a test bed's has."""
        return TlsFiles.of(self.tls_directory, OPENVSWITCH) if self.tls_directory else None

    def vms_of(self, hypervisor: str) -> tuple[Vm, ...]:
        return tuple(vm for vm in self.vms.values() if vm.hypervisor == hypervisor)

    def beyond_machine(self, domain: str) -> tuple[str, ...]:
        """The domains whose controllers are on other machines than that of `domain`, as their addresses say."""
        address = self.hypervisors[domain].controller.address
        endpoints = {name: each.controller for name, each in self.hypervisors.items()}
        return tuple(name for name, each in endpoints.items() if each.is_distant and each.address != address)

    def bridges_of(self, domain: str) -> tuple[str, ...]:
        """The OVS bridges that the controller of `domain` programs, its hypervisor's first."""
        return (domain, *(switch.name for switch in self.switches.values() if switch.domain == domain))

    def with_slacks(self, slacks_ns: Mapping[str, int]) -> Network:
        """A copy in which the uplinks of the hypervisors that are named have these best-effort slacks."""
        hypervisors = {
            name: replace(hypervisor, uplink=replace(hypervisor.uplink, be_slack_ns=slacks_ns[name]))
            for name, hypervisor in self.hypervisors.items()
            if name in slacks_ns and slacks_ns[name] != hypervisor.uplink.be_slack_ns
        }
        return replace(self, hypervisors={**self.hypervisors, **hypervisors}) if hypervisors else self

    def with_scheduler(self, scheduler: Scheduler) -> Network:
        """A copy in which every uplink has `scheduler`."""
        hypervisors = {
            name: replace(hypervisor, uplink=replace(hypervisor.uplink, scheduler=scheduler))
            for name, hypervisor in self.hypervisors.items()
        }
        return replace(self, hypervisors=hypervisors)

    def datapath_id(self, bridge: str) -> int:
        """Of a hypervisor's bridge, or of a switch."""
        return (self.hypervisors.get(bridge) or self.switches[bridge]).datapath_id

    def talker_domain(self, channel: Channel) -> str:
        return self.vms[channel.talker].hypervisor

    def listener_domain(self, channel: Channel) -> str:
        """Empty where a host listens."""
        return "" if channel.listener in self.hosts else self.vms[channel.listener].hypervisor

    def domains(self, channel: Channel) -> tuple[str, ...]:
        """The talker's and the listener's, those that there are; twice the same for a local channel."""
        return tuple(filter(None, (self.talker_domain(channel), self.listener_domain(channel))))

    def is_scheduled(self, channel: Channel) -> bool:
        """Neither end's uplink is first in, first out: such a baseline has neither labels nor channel flows."""
        return all(self.hypervisors[end].uplink.scheduler is not Scheduler.FIFO for end in self.domains(channel))

    def is_local(self, channel: Channel) -> bool:
        """Both ends on one hypervisor: the channel crosses no uplink and carries no labels."""
        return self.talker_domain(channel) == self.listener_domain(channel)
