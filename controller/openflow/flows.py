"""From the declared network to the entries of its bridges: what every bridge has, and what each channel adds.

Pure. Follow a channel's packet: `ports` lets it in, the talker flow of `classify` labels it and sends it to the uplink
group; at the other end `ports` pops the deadline label, the listener flow of `listener` pops the channel label.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from controller.guests.entries import own_addresses, service_entries
from controller.model import (
    ETHERNET_BYTES,
    VM_MTU,
    Bypass,
    Channel,
    Excess,
    Hypervisor,
    IpAddress,
    Network,
    Protocol,
    Scheduler,
    Vm,
)
from controller.network.labels import TTL_CHANNEL, TTL_RELATIVE, relative_deadline_label
from controller.network.routing import blocked_ports, port_by_mac
from controller.network.wiring import EDF_PORT, LIVENESS_PORT, UPLINK_PORT, PortRole, port_to, ports_of
from controller.openflow.pipeline import (
    CLASSIFY,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MULTICAST,
    FORWARD,
    ICMPV6_MULTICAST_LISTENER,
    ICMPV6_NEIGHBOUR_ADVERTISEMENT,
    ICMPV6_NEIGHBOUR_SOLICITATION,
    ICMPV6_REDIRECT,
    ICMPV6_ROUTER_ADVERTISEMENT,
    ICMPV6_ROUTER_SOLICITATION,
    IP_PROTO_ICMPV6,
    LISTENER,
    MULTICAST,
    NEIGHBOURS_ONLY,
    PORT_NORMAL,
    PORTS,
    REPARSE_GROUP,
    SHIM_GROUP,
    STRIPPING_GROUPS,
    SWITCH_FORWARD,
    SWITCH_PORTS,
    UPLINK_GROUP,
    VLAN_NONE,
    Action,
    Bucket,
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    Match,
    MatchValue,
    Meter,
    Output,
    PopMpls,
    Purpose,
    PushMpls,
    ReparseGroup,
    SetField,
    SetMplsTtl,
    SetQueue,
    ToGroup,
)

_IP_PROTOCOLS = {Protocol.TCP: 6, Protocol.UDP: 17}
_CHANNEL_PRIORITY = 100
_CLEAR_DSCP = (SetField("ip_dscp", 0),)
METER_MAX = (1 << 32) - 1
"""The highest rate and burst that OpenFlow can say: 4 Tbit/s, more than any switch forwards."""


def base_entries(network: Network, bridge: str) -> tuple[Entry, ...]:
    """What a hypervisor's bridge or an ovs switch needs before any channel; a group before the flows that use it."""
    if bridge in network.hypervisors:
        return tuple(_hypervisor_entries(network, network.hypervisors[bridge]))
    return tuple(_switch_entries(network, bridge))


def talker_entries(network: Network, channel: Channel) -> tuple[Entry, ...]:
    """The channel's meter, if it has one, and its flows at the talker's bridge: mark, label and send.

    A local channel is marked and delivered.
    """
    hypervisor = network.talker_domain(channel)
    in_port = port_to(network, hypervisor, channel.talker).number
    if network.is_local(channel):
        actions = (*_mark(channel), Output(port_to(network, hypervisor, channel.listener).number))
    else:
        labels = _label(channel) if _is_labelled(network, channel) else ()
        queue = SetQueue(channel.deadline_class.queue_id)
        actions = (*_mark(channel), *labels, queue, _to_uplink(network, hypervisor, channel))
    meters = _meters(network, channel)
    flows = (
        FlowEntry(
            CLASSIFY,
            _CHANNEL_PRIORITY + _specificity(channel),
            {"in_port": in_port, **selector},
            Purpose.TALKER,
            channel.label,
            actions,
            meter_id=meters[0].meter_id if meters else None,
        )
        for selector in _selectors(channel)
    )
    return (*meters, *flows)


def listener_entries(network: Network, channel: Channel) -> tuple[FlowEntry, ...]:
    """The channel's flow at the listener's bridge: deliver a plain packet to the listener. A host has no bridge."""
    if channel.listener in network.hosts:
        return ()
    port = port_to(network, network.listener_domain(channel), channel.listener).number
    match: Match = {
        "eth_type": ETH_MPLS,
        "eth_dst": network.vms[channel.listener].mac,
        "mpls_label": channel.label,
        "mpls_bos": 1,
    }
    actions = (PopMpls(_eth_type(channel.destination)), Output(port))
    return (FlowEntry(LISTENER, _CHANNEL_PRIORITY, match, Purpose.LISTENER, channel.label, actions),)


def _meters(network: Network, channel: Channel) -> tuple[Meter, ...]:
    """None, or the one that holds the channel to its rate and burst. Its number is the channel's label.

    Class queues cannot postpone: behind them every channel has one. It counts frames, while contracts count what these
    take of the wire; a full frame passes always. So less than a full packet passes beyond what admission counts on.
    """
    is_queued = network.hypervisors[network.talker_domain(channel)].uplink.scheduler is Scheduler.QUEUES
    if channel.excess is not Excess.DROP and (not is_queued or network.is_local(channel)):
        return ()
    rate_bps = -(-channel.rate_bps * channel.frame_bytes // channel.packet_bytes)
    burst_bytes = -(-channel.wire_burst_bytes * channel.frame_bytes // channel.wire_bytes)
    settings = (min(-(-bits // 1000), METER_MAX) for bits in (rate_bps, 8 * max(burst_bytes, VM_MTU + ETHERNET_BYTES)))
    return (Meter(channel.label, *settings),)


def _is_labelled(network: Network, channel: Channel) -> bool:
    """Somebody takes the labels off again: the listener's controller, or the shim for a host."""
    has_shim = network.hypervisors[network.talker_domain(channel)].uplink.scheduler is Scheduler.EDF
    return has_shim or channel.listener not in network.hosts


def _to_uplink(network: Network, hypervisor: str, channel: Channel | None = None) -> Action:
    """The way out; for a channel, with what is to be done without a shim."""
    if network.hypervisors[hypervisor].uplink.scheduler is not Scheduler.EDF:
        return Output(UPLINK_PORT)
    if channel is not None and channel.on_bypass is Bypass.BLOCK:
        return ToGroup(SHIM_GROUP)
    if channel is not None and channel.listener in network.hosts:
        return ToGroup(STRIPPING_GROUPS[channel.source.version])
    return ToGroup(UPLINK_GROUP)


def _uplink_groups() -> Iterator[FailoverGroup]:
    shim = Bucket(LIVENESS_PORT, EDF_PORT)
    yield FailoverGroup(UPLINK_GROUP, (shim, Bucket(UPLINK_PORT, UPLINK_PORT)))
    yield FailoverGroup(SHIM_GROUP, (shim,))
    for version, group_id in STRIPPING_GROUPS.items():
        pops = (PopMpls(ETH_MPLS), PopMpls(ETH_IPV4 if version == 4 else ETH_IPV6))
        yield FailoverGroup(group_id, (shim, Bucket(UPLINK_PORT, UPLINK_PORT, pops)))


def _mark(channel: Channel) -> tuple[Action, ...]:
    return (SetField("ip_dscp", channel.deadline_class.dscp),)


def _label(channel: Channel) -> tuple[Action, ...]:
    """The channel label first, so that the deadline label is the outermost."""
    tc = SetField("mpls_tc", channel.deadline_class.queue_id)
    deadline = relative_deadline_label(channel.deadline_ns)
    return (
        PushMpls(),
        SetField("mpls_label", channel.label),
        tc,
        SetMplsTtl(TTL_CHANNEL),
        PushMpls(),
        SetField("mpls_label", deadline),
        tc,
        SetMplsTtl(TTL_RELATIVE),
    )


def _eth_type(address: IpAddress) -> int:
    return ETH_IPV4 if address.version == 4 else ETH_IPV6


def _specificity(channel: Channel) -> int:
    """The more a channel says about its packets, the sooner its flow is tried."""
    return (channel.protocol is not None) + 2 * (channel.src_port is not None) + 4 * (channel.dst_port is not None)


def _selectors(channel: Channel) -> Iterator[dict[str, MatchValue]]:
    """The packets of a channel. Ports without a protocol stand for the ports of both protocols."""
    family = f"ipv{channel.source.version}"
    addresses: dict[str, MatchValue] = {
        "eth_type": _eth_type(channel.source),
        f"{family}_src": str(channel.source),
        f"{family}_dst": str(channel.destination),
    }
    ports = {"src": channel.src_port, "dst": channel.dst_port}
    given = {end: port for end, port in ports.items() if port is not None}
    if channel.protocol is None and not given:
        yield addresses
        return
    for protocol in [channel.protocol] if channel.protocol else list(Protocol):
        port_fields = {f"{protocol}_{end}": port for end, port in given.items()}
        yield {**addresses, "ip_proto": _IP_PROTOCOLS[protocol], **port_fields}


def _hypervisor_entries(network: Network, hypervisor: Hypervisor) -> Iterator[Entry]:
    if hypervisor.uplink.scheduler is Scheduler.EDF:
        yield from _uplink_groups()
    yield ReparseGroup(REPARSE_GROUP, LISTENER)
    yield from _listener_defaults()
    yield from _forward_entries(network, hypervisor.name, _to_uplink(network, hypervisor.name))
    yield from _classify_defaults()
    yield from _uplink_port_entries()
    for vm in network.vms_of(hypervisor.name):
        yield from _vm_port_entries(vm, port_to(network, hypervisor.name, vm.name).number)
    yield FlowEntry(PORTS, 0, {}, Purpose.UNKNOWN_PORT)


def _vm_port_entries(vm: Vm, port: int) -> Iterator[Entry]:
    """An allow-list: untagged ARP, IPv4 and IPv6 from the VM's own addresses. The rest is dropped and counted."""
    own: dict[str, MatchValue] = {"in_port": port, "eth_src": vm.mac, "vlan_vid": VLAN_NONE}
    yield from service_entries(vm, port)
    yield from _neighbour_discovery(vm, port, own)
    for match in _own_packets(vm):
        yield FlowEntry(PORTS, 20, {**own, **match}, Purpose.FORWARDING, goto=CLASSIFY)
    yield FlowEntry(PORTS, 10, {"in_port": port}, Purpose.SPOOFED, port)


def _neighbour_discovery(vm: Vm, port: int, own: dict[str, MatchValue]) -> Iterator[FlowEntry]:
    """A VM speaks for no address but its own, and is no router (RFC 6105)."""
    message = {"in_port": port, "eth_type": ETH_IPV6, "ip_proto": IP_PROTO_ICMPV6}
    for source, target in product(_ipv6(vm), repeat=2):
        match = {**own, **message, "icmpv6_type": ICMPV6_NEIGHBOUR_ADVERTISEMENT, "ipv6_src": source}
        yield FlowEntry(PORTS, 40, {**match, "ipv6_nd_target": target}, Purpose.FORWARDING, goto=CLASSIFY)
    for kind in (ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_ROUTER_ADVERTISEMENT, ICMPV6_REDIRECT):
        yield FlowEntry(PORTS, 30, {**message, "icmpv6_type": kind}, Purpose.SPOOFED, port)


def _ipv6(vm: Vm) -> list[str]:
    return [str(address) for address in own_addresses(vm) if address.version == 6]


def _own_packets(vm: Vm) -> Iterator[dict[str, MatchValue]]:
    ipv4 = [str(interface.ip) for interface in vm.addresses if interface.version == 4]
    for address in ipv4:
        yield {"eth_type": ETH_ARP, "arp_sha": vm.mac, "arp_spa": address}
        yield {"eth_type": ETH_ARP, "arp_sha": vm.mac, "arp_spa": "0.0.0.0", "arp_tpa": address}
        yield {"eth_type": ETH_IPV4, "ipv4_src": address}
    for address in _ipv6(vm):
        yield {"eth_type": ETH_IPV6, "ipv6_src": address}
    yield from _before_it_has_an_address(vm)


def _before_it_has_an_address(vm: Vm) -> Iterator[dict[str, MatchValue]]:
    """What a host sends from the unspecified address (RFC 4862, RFC 3590).

    Who hears another ask whether an address is free gives it up (as with ARP, RFC 5227): a VM asks for its own only.
    """
    message: dict[str, MatchValue] = {"eth_type": ETH_IPV6, "ipv6_src": "::", "ip_proto": IP_PROTO_ICMPV6}
    for kind in (ICMPV6_ROUTER_SOLICITATION, *ICMPV6_MULTICAST_LISTENER):
        yield {**message, "icmpv6_type": kind}
    for target in _ipv6(vm):
        yield {**message, "icmpv6_type": ICMPV6_NEIGHBOUR_SOLICITATION, "ipv6_nd_target": target}


def _uplink_port_entries() -> Iterator[FlowEntry]:
    untagged: dict[str, MatchValue] = {"in_port": UPLINK_PORT, "vlan_vid": VLAN_NONE}
    labelled = {**untagged, "eth_type": ETH_MPLS}
    pop = (PopMpls(ETH_MPLS), ToGroup(REPARSE_GROUP))
    yield FlowEntry(PORTS, 50, {"in_port": UPLINK_PORT, "eth_dst": NEIGHBOURS_ONLY}, Purpose.NEIGHBOURS_ONLY)
    yield FlowEntry(PORTS, 40, {**labelled, "mpls_bos": 0}, Purpose.FORWARDING, actions=pop)
    yield FlowEntry(PORTS, 30, labelled, Purpose.ONE_LABEL)
    yield FlowEntry(PORTS, 30, {**untagged, "eth_type": ETH_MPLS_MULTICAST}, Purpose.ONE_LABEL)
    yield FlowEntry(PORTS, 20, untagged, Purpose.FORWARDING, goto=FORWARD)
    yield FlowEntry(PORTS, 10, {"in_port": UPLINK_PORT}, Purpose.TAGGED)


def _classify_defaults() -> Iterator[FlowEntry]:
    """What no channel selects is best effort: its DSCP is cleared, for only channels may claim one."""
    for eth_type in (ETH_IPV4, ETH_IPV6):
        yield FlowEntry(CLASSIFY, 10, {"eth_type": eth_type}, Purpose.FORWARDING, actions=_CLEAR_DSCP, goto=FORWARD)
    yield FlowEntry(CLASSIFY, 10, {"eth_type": ETH_ARP}, Purpose.FORWARDING, goto=FORWARD)


def _forward_entries(network: Network, hypervisor: str, to_uplink: Action) -> Iterator[FlowEntry]:
    vm_ports = [port for port in ports_of(network, hypervisor) if port.role is PortRole.VM]
    to_vms = tuple(Output(port.number) for port in vm_ports)
    from_uplink: Match = {"in_port": UPLINK_PORT}
    for port in vm_ports:
        to_vm: Match = {"eth_dst": network.vms[port.peer].mac}
        yield FlowEntry(FORWARD, 40, to_vm, Purpose.FORWARDING, actions=(Output(port.number),))
    yield FlowEntry(FORWARD, 30, {**from_uplink, "eth_dst": MULTICAST}, Purpose.FORWARDING, actions=to_vms)
    yield FlowEntry(FORWARD, 20, from_uplink, Purpose.UNKNOWN_DESTINATION)
    yield FlowEntry(FORWARD, 10, {"eth_dst": MULTICAST}, Purpose.FORWARDING, actions=(*to_vms, to_uplink))
    yield FlowEntry(FORWARD, 0, {}, Purpose.FORWARDING, actions=(to_uplink,))


def _listener_defaults() -> Iterator[FlowEntry]:
    yield FlowEntry(LISTENER, 0, {}, Purpose.UNKNOWN_CHANNEL)


def _switch_entries(network: Network, switch: str) -> Iterator[Entry]:
    """Declared VMs by their MAC, labelled frames in the queue of their TC; Open vSwitch learns the rest."""
    for port in blocked_ports(network, switch):
        yield ClosedPort(port.number)
        yield FlowEntry(SWITCH_PORTS, 10, {"in_port": port.number}, Purpose.BLOCKED_PORT, port.number)
    for port in ports_of(network, switch):
        if port.role is PortRole.HOST:
            yield from _host_port_entries(port.number)
    for mac, port in port_by_mac(network, switch).items():
        yield from _mac_entries(network, mac, port.number)
    yield FlowEntry(SWITCH_FORWARD, 0, {}, Purpose.FORWARDING, actions=(Output(PORT_NORMAL),))
    yield FlowEntry(SWITCH_PORTS, 0, {}, Purpose.FORWARDING, goto=SWITCH_FORWARD)


def _host_port_entries(port: int) -> Iterator[FlowEntry]:
    """A host has no business with labels, and nothing that it sends is of a channel."""
    for eth_type in (ETH_MPLS, ETH_MPLS_MULTICAST):
        yield FlowEntry(SWITCH_PORTS, 20, {"in_port": port, "eth_type": eth_type}, Purpose.SPOOFED, port)
    for eth_type in (ETH_IPV4, ETH_IPV6):
        match: Match = {"in_port": port, "eth_type": eth_type}
        yield FlowEntry(SWITCH_PORTS, 20, match, Purpose.FORWARDING, actions=_CLEAR_DSCP, goto=SWITCH_FORWARD)


def _mac_entries(network: Network, mac: str, port: int) -> Iterator[FlowEntry]:
    to_vm: dict[str, MatchValue] = {"eth_dst": mac}
    for deadline_class in network.classes:
        match = {**to_vm, "eth_type": ETH_MPLS, "mpls_tc": deadline_class.queue_id}
        actions = (SetQueue(deadline_class.queue_id), Output(port))
        yield FlowEntry(SWITCH_FORWARD, 20, match, Purpose.FORWARDING, actions=actions)
    yield FlowEntry(SWITCH_FORWARD, 10, to_vm, Purpose.FORWARDING, actions=(Output(port),))
