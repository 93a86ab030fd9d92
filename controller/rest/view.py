"""What there is to say of a domain: from its parts to what REST says. Pure; each function reads the domain once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from controller.admission.guarantee import Hop
from controller.clocks.clocks import clock_steps
from controller.domain.ends import end_report, end_reports
from controller.domain.events import Proof
from controller.domain.known import Known
from controller.domain.lifecycle import State, standing
from controller.domain.miss_reports import HeardReport
from controller.domain.parts import Bridge, Miss
from controller.domain.reports import EndReport, EndReports, Excess, Role, Summary
from controller.guests.books import GuestBook
from controller.guests.entries import meter_id
from controller.model import Channel, DeadlineClass, Network, Quota, SwitchKind, Vm
from controller.network.labels import relative_deadline_label
from controller.network.wiring import UPLINK_PORT, port_to, ports_of
from controller.openflow.pipeline import Purpose
from controller.rest.resources import (
    AdaptationView,
    ChannelView,
    ClassView,
    ClockView,
    GuestView,
    HealthView,
    HopView,
    HostView,
    HypervisorView,
    MissReportView,
    MissView,
    PeerClockView,
    PeerView,
    QueueView,
    ShimView,
    SwitchView,
    TopologyView,
    VmView,
)
from controller.store.records import Owner


def channels(domain: Known) -> list[ChannelView]:
    """The channels with an end in the domain."""
    return some_channels(domain, domain.channels)


def some_channels(domain: Known, names: Collection[str]) -> list[ChannelView]:
    """The channels `names` of the domain, in that order."""
    traffic = domain.bridges[domain.name].traffic()
    reports = {name: end_report(domain, domain.ends[name], traffic) for name in names if name in domain.ends}
    return [_channel(domain, domain.channels[name], reports.get(name)) for name in names]


def channel(domain: Known, name: str) -> ChannelView | None:
    """The channel `name`; None if the domain has no end of it."""
    return some_channels(domain, [name])[0] if name in domain.channels else None


def ends(domain: Known) -> EndReports:
    """The domain's ends of channels."""
    return EndReports(domain=domain.name, ends=end_reports(domain))


def classes(domain: Known) -> list[ClassView]:
    return [_class(domain, deadline_class) for deadline_class in domain.network.classes]


def queues(domain: Known) -> list[QueueView]:
    """Every queue that the switches of the domain have told of."""
    return [view for bridge in domain.bridges.values() for view in _queues(domain, bridge)]


def switches(domain: Known) -> list[SwitchView]:
    return [_switch(domain.network, bridge) for bridge in domain.bridges.values()]


def shim(domain: Known) -> ShimView:
    counters = {side: domain.shim.statistics.get(side, {}) for side in ("egress", "ingress")}
    shim, scheduler = domain.shim, domain.network.hypervisors[domain.name].uplink.scheduler
    return ShimView(
        is_ready=shim.is_ready,
        is_bypassed=shim.is_bypassed,
        why=shim.trouble if domain.has_shim else f"the uplink has the scheduler {scheduler}",
        since_ns=domain.wall_offset_ns + shim.since_ns,
        settings=domain.revision,
        **counters,
    )


def peers(domain: Known) -> list[PeerView]:
    network = domain.network
    return [
        PeerView(
            domain=name,
            peer_of=domain.name,
            address=network.hypervisors[name].controller.rest_url,
            session=peer.link.phase,
            is_same_host=peer.is_same_host,
            clock_difference_ns=domain.clocks.differences_ns.get(name),
            sent=peer.link.sent,
            received=peer.link.received,
            dropped=peer.link.dropped,
            refused=peer.link.refused,
            reconnects=peer.link.reconnects,
            round_trip_ns=peer.link.round_trip_ns,
            is_reachable=peer.is_reachable,
            why=peer.why,
            channels=tuple(channel.name for channel in domain.channels.values() if name in network.domains(channel)),
        )
        for name, peer in domain.peers.items()
    ]


def clock(domain: Known) -> ClockView:
    """The wall clocks by which lateness is told."""
    own = domain.clocks.own
    return ClockView(
        domain=domain.name,
        source=own.source,
        error_ns=own.error_ns,
        reference=own.reference,
        why=own.why,
        steps=None if domain.awaits_counts else clock_steps(domain.shim.statistics),
        peers=tuple(_peer_clock(domain, name) for name, peer in domain.peers.items() if not peer.is_same_host),
    )


def _peer_clock(domain: Known, name: str) -> PeerClockView:
    clock = domain.clocks.of(name)
    return PeerClockView(
        domain=name,
        source=clock.source,
        error_ns=clock.error_ns,
        reference=clock.reference,
        why=clock.why,
        difference_ns=domain.clocks.differences_ns.get(name),
    )


def misses(domain: Known) -> list[MissView]:
    """The last misses at the listeners of the domain, oldest first."""
    return [_miss(miss) for miss in domain.misses]


def miss_reports(domain: Known) -> list[MissReportView]:
    """The last miss reports on channels that talk from the domain, oldest first."""
    return [_miss_report(heard) for heard in domain.heard]


def guests(domain: Known) -> list[GuestView]:
    """The VMs of the domain that may ask for channels by themselves."""
    return [_guest(domain, vm, vm.quota) for vm in domain.network.vms_of(domain.name) if vm.quota]


def topology(domain: Known) -> TopologyView:
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
        hosts=tuple(
            HostView(name=host.name, switch=host.switch, mac=host.mac, addresses=tuple(map(str, host.addresses)))
            for host in network.hosts.values()
        ),
        channels=tuple(network.channels),
    )


def health(domain: Known) -> HealthView:
    """What keeps the domain from doing all that its file asks for."""
    problems = [
        f"the switch {bridge.name} is {standing(bridge.base.state, bridge.base.why)}"
        for bridge in domain.bridges.values()
        if bridge.base.state is not State.INSTALLED
    ]
    if domain.has_shim and domain.shim.trouble:
        problems.append(f"the shim of {domain.name} {domain.shim.trouble}")
    if domain.store_trouble:
        problems.append(f"the channel store: {domain.store_trouble}")
    problems += [problem for bridge in domain.bridges.values() for problem in _unproved(domain.network, bridge)]
    problems += [f"the controller of {name} {peer.why}" for name, peer in domain.peers.items() if not peer.is_reachable]
    problems += [f"the clock of {name} {why}" for (_, name), why in domain.clocks.troubles(domain.name).items()]
    return HealthView(domain=domain.name, is_healthy=not problems, problems=tuple(problems))


def _unproved(network: Network, bridge: Bridge) -> list[str]:
    """Queues that were tried and do not work."""
    interfaces = {port.number: port.interface for port in ports_of(network, bridge.name)}
    return [
        f"queue {queue_id} of {interfaces[port]} is {proof}"
        for (port, queue_id), proof in bridge.proofs.items()
        if proof is not Proof.PROVED
    ]


def _channel(domain: Known, channel: Channel, own: EndReport | None) -> ChannelView:
    talker, listener = _both_ends(domain, channel, own)
    excess = talker.excess
    worst = max((listener, talker), key=lambda end: BADNESS[end.state])  # of equals the one that comes first
    guarantee = domain.guarantees.by_channel.get(channel.name)
    longest_ns = None if listener.delay.max is None else channel.deadline_ns + listener.delay.max
    is_heard = channel.listener not in domain.network.hosts
    return ChannelView(
        name=channel.name,
        owner=domain.owners.get(channel.name, ""),
        version=domain.versions.get(channel.name, 0),
        state=worst.state,
        why=worst.why,
        since_ns=worst.since_ns,
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
        packet_bytes=channel.packet_bytes,
        excess=channel.excess,
        late=channel.late,
        on_bypass=channel.on_bypass,
        on_miss=channel.on_miss,
        adaptation=_adaptation(domain, channel),
        path=domain.path(channel),
        hops=tuple(map(_hop, guarantee.hops)) if guarantee else (),
        allowance_ns=guarantee.allowance_ns if guarantee else 0,
        bound_ns=guarantee.bound_ns if guarantee else None,
        longest_ns=None if domain.network.is_local(channel) else longest_ns,
        channel_label=channel.label,
        deadline_label=relative_deadline_label(channel.deadline_ns),
        deadline_class=channel.deadline_class.name,
        queue_id=channel.deadline_class.queue_id,
        tc=channel.deadline_class.queue_id,
        dscp=channel.deadline_class.dscp,
        sent=talker.packets,
        received=listener.packets if is_heard else None,
        lost=_less(talker.packets, listener.packets) if is_heard else None,
        missed=listener.missed if is_heard else None,
        within_clock_error=listener.within_clock_error if is_heard else None,
        unjudged=listener.unjudged if is_heard else None,
        bypassed=listener.bypassed if is_heard else None,
        clock_error_ns=listener.clock_error_ns if is_heard else None,
        conforming=_less(talker.packets, excess.postponed + excess.excess_dropped) if excess else None,
        **(excess.model_dump() if excess else dict.fromkeys(Excess.model_fields)),
        queueing_delay=talker.delay,
        lateness=listener.delay,
    )


def _less(count: int | None, part: int | None) -> int | None:
    """`count` without `part`, which may have been read later; None where either is not known."""
    return None if count is None or part is None else max(0, count - part)


def _adaptation(domain: Known, channel: Channel) -> AdaptationView | None:
    if not domain.is_adapting(channel):
        return None
    found = domain.adaptations.by_channel.get(channel.name)
    if found is None:
        return AdaptationView(adapted_ns=0, most_ns=None, since_ns=None)
    since_ns = domain.wall_offset_ns + found.since_ns
    return AdaptationView(adapted_ns=found.adapted_ns, most_ns=found.most_ns, since_ns=since_ns)


def _hop(hop: Hop) -> HopView:
    return HopView(at=str(hop.port), server=hop.server, bound_ns=hop.bound_ns)


BADNESS = {
    State.OFF: 0,
    State.INSTALLED: 1,
    State.DEGRADED: 2,
    State.INSTALLING: 3,
    State.WAITING: 4,
    State.REFUSED: 5,
}


def _both_ends(domain: Known, channel: Channel, own: EndReport | None) -> tuple[EndReport, EndReport]:
    """The talker's and the listener's. A channel within the domain is delivered by the flow that takes it in."""
    if own is None:
        assert not domain.network.is_scheduled(channel)
        off = EndReport(role=Role.TALKER, state=State.OFF, why="an uplink on its way is first in, first out")
        return off, off
    if domain.network.is_local(channel):
        return own, own
    if channel.listener in domain.network.hosts:
        return own, own.model_copy(update={"role": Role.LISTENER, "delay": Summary()})
    other = domain.remote_end(channel)
    return (own, other) if own.role is Role.TALKER else (other, own)


def _class(domain: Known, deadline_class: DeadlineClass) -> ClassView:
    books = domain.shim.statistics.get("classes", {}).get(str(deadline_class.queue_id), {})

    def count(name: str) -> int | None:
        return None if domain.awaits_counts else books.get(name, 0)

    return ClassView(
        domain=domain.name,
        name=deadline_class.name,
        queue_id=deadline_class.queue_id,
        tc=deadline_class.queue_id,
        dscp=deadline_class.dscp,
        above_ns=deadline_class.above_ns,
        up_to_ns=deadline_class.up_to_ns,
        channels=tuple(each.name for each in domain.channels.values() if each.deadline_class == deadline_class),
        proof=domain.bridges[domain.name].proofs.get((UPLINK_PORT, deadline_class.queue_id)),
        sent=count("packets"),
        received=count("received_packets"),
        missed=count("missed"),
        within_clock_error=count("within_clock_error"),
        unjudged=count("unjudged"),
        bypassed=count("bypassed"),
        **{name: count(name) for name in Excess.model_fields},
        queueing_delay=Summary(**books.get("queueing_delay", {"count": 0})),
        lateness=Summary(**books.get("lateness", {"count": 0})),
    )


def _queues(domain: Known, bridge: Bridge) -> list[QueueView]:
    interfaces = {port.number: port.interface for port in ports_of(domain.network, bridge.name)}
    names = {each.queue_id: each.name for each in domain.network.classes} | {0: "best-effort"}
    by_class = domain.shim.statistics.get("classes") if domain.has_shim and bridge.name == domain.name else None
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
                proof=bridge.proofs.get((queue.port, queue.queue_id)),
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
        flows=len(bridge.contents.flows),
        changes_sent=bridge.changes_sent,
        dropped=dropped,
    )


def _miss(miss: Miss) -> MissView:
    return MissView(**asdict(miss))


def _miss_report(heard: HeardReport) -> MissReportView:
    return MissReportView(domain=heard.domain, heard_at_ns=heard.heard_at_ns, **asdict(heard.report))


def _guest(domain: Known, vm: Vm, quota: Quota) -> GuestView:
    talking = (each for each in domain.channels.values() if each.talker == vm.name)
    own = [channel for channel in talking if domain.owners.get(channel.name) == Owner.GUEST]
    port = port_to(domain.network, domain.name, vm.name).number
    return GuestView(
        vm=vm.name,
        domain=domain.name,
        channels=len(own),
        channels_max=quota.channels,
        rate_bps=sum(channel.wire_rate_bps for channel in own),
        rate_max_bps=quota.rate_bps,
        burst_bytes=sum(channel.wire_burst_bytes for channel in own),
        burst_max_bytes=quota.burst_bytes,
        deadline_min_ns=quota.deadline_ns,
        metered=domain.bridges[domain.name].meters.get(meter_id(port), 0),
        **asdict(domain.guests.get(vm.name, GuestBook())),
    )


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
