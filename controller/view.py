"""What REST says of a domain, as models with a schema. Pure: each function reads the domain once and returns.

Durations and instants are ns, rates bit/s, sizes bytes. Null means: not known (yet).
"""

from __future__ import annotations

from controller.domain import Domain
from controller.flows import is_scheduled
from controller.labels import relative_deadline_label
from controller.lifecycle import State, standing
from controller.model import Channel, DeadlineClass, Network, Protocol, Scheduler, SwitchKind
from controller.parts import Bridge, Miss
from controller.pipeline import Purpose
from controller.reports import EndReport, EndReports, Model, Role, Summary
from controller.routing import path
from controller.wiring import ports_of


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
    """A queue of a port: what Open vSwitch counts, and beside it what the shim has sent of its class."""

    switch: str
    interface: str
    queue_id: int
    deadline_class: str
    packets: int
    bytes: int
    errors: int
    shim_packets: int | None
    shim_bytes: int | None


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


def channels(domain: Domain) -> list[ChannelView]:
    """The channels with an end in the domain, in the order of the file."""
    reports = ends(domain).ends
    return [_channel(domain, channel, reports.get(channel.name)) for channel in domain.channels.values()]


def channel(domain: Domain, name: str) -> ChannelView | None:
    """The channel `name`; None if the domain has no end of it."""
    return next((view for view in channels(domain) if view.name == name), None)


def ends(domain: Domain) -> EndReports:
    """The domain's ends of channels."""
    traffic = domain.bridges[domain.name].traffic()
    books = domain.shim.statistics.get("channels", {})
    reports = {}
    for name, end in domain.ends.items():
        is_talker = end.role is Role.TALKER
        counted = traffic.get((Purpose.TALKER if is_talker else Purpose.LISTENER, end.channel.label))
        book = books.get(str(end.channel.label), {})
        reports[name] = EndReport(
            role=end.role,
            state=end.state,
            why=end.why,
            packets=counted.packets if counted else 0,
            bytes=counted.bytes if counted else 0,
            missed=0 if is_talker else book.get("missed", 0),
            bypassed=0 if is_talker else book.get("bypassed", 0),
            delay=Summary(**book.get("queueing_delay" if is_talker else "lateness", {"count": 0})),
        )
    return EndReports(domain=domain.name, ends=reports)


def classes(domain: Domain) -> list[ClassView]:
    return [_class(domain, deadline_class) for deadline_class in domain.network.classes]


def queues(domain: Domain) -> list[QueueView]:
    """Every queue that the switches of the domain have told of."""
    return [view for bridge in domain.bridges.values() for view in _queues(domain, bridge)]


def switches(domain: Domain) -> list[SwitchView]:
    return [_switch(domain.network, bridge) for bridge in domain.bridges.values()]


def shim(domain: Domain) -> ShimView:
    counters = {side: domain.shim.statistics.get(side, {}) for side in ("egress", "ingress")}
    return ShimView(is_ready=domain.shim.is_ready, why=domain.shim.why, **counters)


def peers(domain: Domain) -> list[PeerView]:
    network = domain.network
    return [
        PeerView(
            domain=name,
            address=network.hypervisors[name].controller.rest_url,
            is_reachable=peer.is_reachable,
            why=peer.why,
            channels=tuple(
                channel.name
                for channel in domain.channels.values()
                if name in (network.talker_domain(channel), network.listener_domain(channel))
            ),
        )
        for name, peer in domain.peers.items()
    ]


def misses(domain: Domain) -> list[MissView]:
    """The last misses at the listeners of the domain, oldest first."""
    return [_miss(miss) for miss in domain.misses]


def topology(domain: Domain) -> TopologyView:
    network = domain.network
    return TopologyView(
        file=str(network.file),
        domain=domain.name,
        bridges=tuple(domain.bridges),
        hypervisors=tuple(_hypervisor(network, name) for name in network.hypervisors),
        switches={name: switch.kind for name, switch in network.switches.items()},
        links=tuple(link.ends for link in network.links),
        vms=tuple(
            VmView(
                name=vm.name,
                hypervisor=vm.hypervisor,
                mac=vm.mac,
                addresses=tuple(map(str, vm.addresses)),
                interface=vm.interface,
            )
            for vm in network.vms.values()
        ),
        channels=tuple(network.channels),
    )


def health(domain: Domain) -> HealthView:
    """What keeps the domain from doing all that its file asks for."""
    problems = [
        f"the switch {bridge.name} is {standing(bridge.base.state, bridge.base.why)}"
        for bridge in domain.bridges.values()
        if bridge.base.state is not State.INSTALLED
    ]
    if domain.has_shim and not domain.shim.is_ready:
        problems.append(f"the shim of {domain.name} {domain.shim.why}")
    problems += [f"the controller of {name} {peer.why}" for name, peer in domain.peers.items() if not peer.is_reachable]
    return HealthView(domain=domain.name, is_healthy=not problems, problems=tuple(problems))


def _channel(domain: Domain, channel: Channel, own: EndReport | None) -> ChannelView:
    talker, listener = _both_ends(domain, channel, own)
    worst = max((listener, talker), key=lambda end: _BADNESS[end.state])  # of equals the one that comes first
    return ChannelView(
        name=channel.name,
        state=worst.state,
        why=worst.why,
        talker=channel.talker,
        listener=channel.listener,
        source=str(channel.source),
        destination=str(channel.destination),
        protocol=channel.protocol,
        src_port=channel.src_port,
        dst_port=channel.dst_port,
        deadline_ns=channel.deadline_ns,
        min_rate_bps=channel.rate_bps,
        burst_bytes=channel.burst_bytes,
        on_miss=channel.on_miss,
        path=path(domain.network, channel.talker, channel.listener),
        channel_label=channel.label,
        deadline_label=relative_deadline_label(channel.deadline_ns),
        deadline_class=channel.deadline_class.name,
        queue_id=channel.deadline_class.queue_id,
        tc=channel.deadline_class.queue_id,
        dscp=channel.deadline_class.dscp,
        sent=talker.packets,
        received=listener.packets,
        lost=max(0, talker.packets - listener.packets),
        missed=listener.missed,
        bypassed=listener.bypassed,
        queueing_delay=talker.delay,
        lateness=listener.delay,
    )


_BADNESS = {State.OFF: 0, State.INSTALLED: 1, State.INSTALLING: 2, State.WAITING: 3, State.REFUSED: 4}


def _both_ends(domain: Domain, channel: Channel, own: EndReport | None) -> tuple[EndReport, EndReport]:
    """The talker's and the listener's. A channel within the domain is delivered by the flow that takes it in."""
    if own is None:
        assert not is_scheduled(domain.network, channel)
        off = EndReport(role=Role.TALKER, state=State.OFF, why="an uplink on its way is first in, first out")
        return off, off
    if domain.network.is_local(channel):
        return own, own
    other = domain.remote_end(channel)
    return (own, other) if own.role is Role.TALKER else (other, own)


def _class(domain: Domain, deadline_class: DeadlineClass) -> ClassView:
    books = domain.shim.statistics.get("classes", {}).get(str(deadline_class.queue_id), {})
    return ClassView(
        domain=domain.name,
        name=deadline_class.name,
        queue_id=deadline_class.queue_id,
        tc=deadline_class.queue_id,
        dscp=deadline_class.dscp,
        above_ns=deadline_class.above_ns,
        up_to_ns=deadline_class.up_to_ns,
        channels=tuple(each.name for each in domain.channels.values() if each.deadline_class == deadline_class),
        sent=books.get("packets", 0),
        received=books.get("received_packets", 0),
        missed=books.get("missed", 0),
        bypassed=books.get("bypassed", 0),
        queueing_delay=Summary(**books.get("queueing_delay", {"count": 0})),
        lateness=Summary(**books.get("lateness", {"count": 0})),
    )


def _queues(domain: Domain, bridge: Bridge) -> list[QueueView]:
    interfaces = {port.number: port.interface for port in ports_of(domain.network, bridge.name)}
    names = {each.queue_id: each.name for each in domain.network.classes} | {0: "best-effort"}
    by_class = domain.shim.statistics.get("classes", {}) if domain.has_shim and bridge.name == domain.name else None
    views = []
    for queue in sorted(bridge.queues, key=lambda queue: (queue.port, queue.queue_id)):
        books = None if by_class is None else by_class.get(str(queue.queue_id), {})
        views.append(
            QueueView(
                switch=bridge.name,
                interface=interfaces.get(queue.port, str(queue.port)),
                queue_id=queue.queue_id,
                deadline_class=names.get(queue.queue_id, ""),
                packets=queue.traffic.packets,
                bytes=queue.traffic.bytes,
                errors=queue.errors,
                shim_packets=None if books is None else books.get("packets", 0),
                shim_bytes=None if books is None else books.get("bytes", 0),
            )
        )
    return views


def _switch(network: Network, bridge: Bridge) -> SwitchView:
    dropped = {purpose.name.lower(): 0 for purpose in Purpose if purpose.is_drop}
    for (purpose, _), traffic in bridge.traffic().items():
        if purpose.is_drop:
            dropped[purpose.name.lower()] += traffic.packets
    return SwitchView(
        name=bridge.name,
        kind=SwitchKind.OVS,
        datapath_id=f"{network.datapath_id(bridge.name):016x}",
        is_connected=bridge.is_connected,
        state=bridge.base.state,
        why=bridge.base.why,
        flows=len(bridge.flows),
        dropped=dropped,
    )


def _miss(miss: Miss) -> MissView:
    return MissView(channel=miss.channel, lateness_ns=miss.lateness_ns, at_ns=miss.at_ns)


def _hypervisor(network: Network, name: str) -> HypervisorView:
    hypervisor = network.hypervisors[name]
    return HypervisorView(
        name=name,
        switch=hypervisor.uplink.switch,
        interface=hypervisor.uplink.interface,
        rate_bps=hypervisor.uplink.rate_bps,
        be_slack_ns=hypervisor.uplink.be_slack_ns,
        scheduler=hypervisor.uplink.scheduler,
        vms=tuple(vm.name for vm in network.vms_of(name)),
        rest_url=hypervisor.controller.rest_url,
    )
