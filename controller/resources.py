"""What REST says, as models with a schema; `controller.view` fills them.

Durations and instants are ns, rates bit/s, sizes bytes. Null means: not known (yet).
"""

from __future__ import annotations

from controller.events import Proof
from controller.lifecycle import State
from controller.model import Protocol, Scheduler, SwitchKind
from controller.reports import Model, Summary


class ChannelView(Model):
    """A channel: its contract, where it stands and why, how its packets are marked, and what became of them."""

    name: str
    state: State
    why: str
    talker: str
    listener: str
    source: str
    destination: str
    protocol: Protocol | None
    src_port: int | None
    dst_port: int | None
    deadline_ns: int
    min_rate_bps: int
    burst_bytes: int
    on_miss: tuple[str, ...]
    path: tuple[str, ...]
    channel_label: int
    deadline_label: int
    deadline_class: str
    queue_id: int
    tc: int
    dscp: int
    sent: int
    received: int
    lost: int
    missed: int
    bypassed: int
    queueing_delay: Summary
    lateness: Summary


class ClassView(Model):
    """A deadline class in a domain: what it takes, how its packets are marked, its channels, what the shim counted."""

    domain: str
    name: str
    queue_id: int
    tc: int
    dscp: int
    above_ns: int
    up_to_ns: int
    channels: tuple[str, ...]
    sent: int
    received: int
    missed: int
    bypassed: int
    queueing_delay: Summary
    lateness: Summary


class QueueView(Model):
    """A queue of a port: what Open vSwitch counts, and beside it what the shim has sent of its class.

    `proof`: whether frames of its class, sent to try it, came out of it.
    """

    switch: str
    interface: str
    queue_id: int
    deadline_class: str
    packets: int
    bytes: int
    errors: int
    shim_packets: int | None
    shim_bytes: int | None
    proof: Proof | None


class SwitchView(Model):
    """A bridge of the domain. `dropped`: packets by the cause for which they were refused."""

    name: str
    kind: SwitchKind
    datapath_id: str
    is_connected: bool
    state: State
    why: str
    flows: int
    dropped: dict[str, int]


class ShimView(Model):
    """The shim of the domain's uplink. Its counters are those of dataplane/core/report.h: most should be zero."""

    is_ready: bool
    why: str
    egress: dict[str, int]
    ingress: dict[str, int]


class PeerView(Model):
    """Another controller that shares channels with this one."""

    domain: str
    address: str
    is_reachable: bool
    why: str
    channels: tuple[str, ...]


class MissView(Model):
    """A packet that arrived after its deadline, on the wall clock."""

    channel: str
    lateness_ns: int
    at_ns: int


class HypervisorView(Model):
    name: str
    switch: str
    interface: str
    rate_bps: int
    be_slack_ns: int
    scheduler: Scheduler
    vms: tuple[str, ...]
    rest_url: str


class VmView(Model):
    name: str
    hypervisor: str
    mac: str
    addresses: tuple[str, ...]
    interface: str


class TopologyView(Model):
    """What the topology file declares, whole; `domain` is the part that this controller programs."""

    file: str
    domain: str
    bridges: tuple[str, ...]
    hypervisors: tuple[HypervisorView, ...]
    switches: dict[str, SwitchKind]
    links: tuple[tuple[str, str], ...]
    vms: tuple[VmView, ...]
    channels: tuple[str, ...]


class HealthView(Model):
    """`problems` is empty when all is well."""

    domain: str
    is_healthy: bool
    problems: tuple[str, ...]
