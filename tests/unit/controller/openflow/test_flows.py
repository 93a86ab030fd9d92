"""Where packets go: every network of the examples, with every packet that tells its flows apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import product
from pathlib import Path

import pytest
from support.examples import all_networks, example
from support.fake_table import (
    BROADCAST,
    ICMP,
    ICMPV6,
    STAMP,
    TCP,
    UDP,
    FakeNetwork,
    FakeSwitch,
    Label,
    Packet,
    address,
    arp,
    ipv4,
    ipv6,
    packet_of,
    switch_of,
)
from support.networks import FAST, SLOW, channel, two_hypervisors

from controller.guests.entries import link_local
from controller.model import Bypass, Channel, Excess, Network, Protocol, Scheduler, Switch, SwitchKind, Vm
from controller.network.labels import TTL_CHANNEL, TTL_RELATIVE, TTL_STAMPED, relative_deadline_label
from controller.network.wiring import EDF_PORT, UPLINK_PORT, port_to
from controller.openflow.flows import base_entries, listener_entries, talker_entries
from controller.openflow.pipeline import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS_MULTICAST,
    UPLINK_GROUP,
    FailoverGroup,
    Meter,
    Output,
    Purpose,
    ToGroup,
)
from controller.topology_file.load import parse

NETWORKS = {
    f"{name}-{scheduler}": network for scheduler in Scheduler for name, network in all_networks(scheduler).items()
}
SCHEDULED = {name: network for name, network in NETWORKS.items() if name.endswith(f"-{Scheduler.EDF}")}
LLDP = 0x88CC
ALL_NODES = "33:33:00:00:00:01"
STAMPED = Label(STAMP, 5, TTL_STAMPED)
VIDEO = Label(17, 5, TTL_CHANNEL)


def to_vms(network: Network) -> list[Channel]:
    return [channel for channel in network.channels.values() if channel.listener in network.vms]


each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
each_channel = pytest.mark.parametrize(
    ("network", "channel"),
    [(network, each) for network in SCHEDULED.values() for each in to_vms(network)],
    ids=[f"{name}-{each.name}" for name, network in SCHEDULED.items() for each in to_vms(network)],
)


def pairs(network: Network) -> Iterator[tuple[Vm, Vm]]:
    vms = network.vms.values()
    return ((talker, listener) for talker in vms for listener in vms if talker is not listener)


def addresses(vm: Vm, version: int) -> list[str]:
    return [str(interface.ip) for interface in vm.addresses if interface.version == version]


def on_one_hypervisor() -> Network:
    """`two_hypervisors` with a third VM on `left`, and the channel `near` to it."""
    network = two_hypervisors()
    first = network.vms["vm1"]
    third = replace(
        first, name="vm3", mac="02:00:00:00:00:03", addresses=network.vms["vm2"].addresses, interface="vm3-nic"
    )
    near = channel("near", first, third, 19, FAST)
    vms = {"vm1": first, "vm3": third}
    return replace(network, vms=vms, channels={"near": near})


# Any VM with any other


@each_network
def test_a_broadcast_reaches_every_other_vm_once(network: Network) -> None:
    fabric = FakeNetwork(network)
    for talker, listener in pairs(network):
        delivery = fabric.send(talker.name, arp(talker, address(listener)))
        assert delivery.receivers == dict.fromkeys(set(network.vms) - {talker.name}, 1)


@each_network
def test_an_ipv6_multicast_reaches_every_other_vm_once(network: Network) -> None:
    fabric = FakeNetwork(network)
    for talker, listener in pairs(network):
        packet = ipv6(talker, listener, destination="ff02::1", ip_proto=ICMPV6)
        delivery = fabric.send(talker.name, replace(packet, eth_dst=ALL_NODES))
        assert delivery.receivers == dict.fromkeys(set(network.vms) - {talker.name}, 1)


@each_network
def test_a_unicast_reaches_its_destination_once_and_nobody_else(network: Network) -> None:
    fabric = FakeNetwork(network)
    for talker, listener in pairs(network):
        v6 = [{"source": one, "destination": two} for one in addresses(talker, 6) for two in addresses(listener, 6)]
        packets = [
            arp(talker, address(listener), eth_dst=listener.mac),
            *(ipv4(talker, listener, ip_proto=protocol) for protocol in (UDP, TCP, ICMP)),
            *(ipv6(talker, listener, ip_proto=protocol, **ends) for protocol in (UDP, ICMPV6) for ends in [{}, *v6]),
        ]
        for packet in packets:
            delivery = fabric.send(talker.name, packet)
            assert delivery.receivers == {listener.name: 1}
            assert not delivery.received[0][1].labels


@each_network
def test_a_packet_for_nobody_known_is_heard_by_nobody_and_ends(network: Network) -> None:
    fabric = FakeNetwork(network)
    for vm in network.vms.values():
        packet = replace(ipv4(vm, vm), eth_dst="02:99:99:99:99:99")
        delivery = fabric.send(vm.name, packet)
        assert not delivery.received
        assert {purpose for node, purpose in delivery.dropped if node in network.hypervisors} <= {
            Purpose.UNKNOWN_DESTINATION
        }


@each_network
def test_a_vm_hears_nothing_of_what_it_sends_to_itself(network: Network) -> None:
    fabric = FakeNetwork(network)
    assert not any(fabric.send(vm.name, ipv4(vm, vm)).received for vm in network.vms.values())


@each_network
def test_what_no_channel_selects_has_its_dscp_cleared(network: Network) -> None:
    fabric = FakeNetwork(replace(network, channels={}))
    for talker, listener in pairs(network):
        for packet in (ipv4(talker, listener, dscp=46), ipv6(talker, listener, dscp=46)):
            ((_, received),) = fabric.send(talker.name, packet).received
            assert received.dscp == 0


# What a VM may not send


def advertisement(vm: Vm, source: str, target: str) -> Packet:
    """A neighbour advertisement of `vm`."""
    return ipv6(vm, vm, source=source, ip_proto=ICMPV6, icmpv6_type=136, nd_target=target)


def forbidden(vm: Vm) -> dict[str, Packet]:
    own = ipv4(vm, vm)
    other = "02:99:99:99:99:99"
    return {
        "another's MAC": replace(own, eth_src=other),
        "another's IPv4 address": replace(own, source="10.99.0.1"),
        "no IPv4 address": replace(own, source="0.0.0.0"),
        "another's IPv6 address": ipv6(vm, vm, source="fd99::1"),
        "no IPv6 address, and not ICMPv6": ipv6(vm, vm, source="::"),
        "ARP for another's address": replace(arp(vm, "10.99.0.2"), source="10.99.0.1"),
        "ARP for another's MAC": replace(arp(vm, "10.99.0.2"), arp_sha=other),
        "ARP from another's MAC": replace(arp(vm, "10.99.0.2"), eth_src=other),
        "an advertisement of another's address": advertisement(vm, str(link_local(vm.mac)), "fd99::1"),
        "an advertisement from another's address": advertisement(vm, "fd99::1", str(link_local(vm.mac))),
        "a router's advertisement": ipv6(vm, vm, ip_proto=ICMPV6, icmpv6_type=134),
        "a redirection": ipv6(vm, vm, ip_proto=ICMPV6, icmpv6_type=137),
        "a VLAN tag": replace(own, vlan=7),
        "VLAN 0, for its priority": replace(own, vlan=0),
        "one label": replace(own, labels=(Label(17),)),
        "a channel's labels": replace(own, labels=(Label(500, 5, TTL_RELATIVE), Label(17, 5))),
        "labels behind a VLAN tag": replace(own, vlan=7, labels=(Label(500), Label(17))),
        "LLDP": Packet(vm.mac, BROADCAST, LLDP),
    }


@each_network
def test_what_is_not_a_vms_own_is_dropped_and_counted(network: Network) -> None:
    fabric = FakeNetwork(network)
    for vm in network.vms.values():
        for what, packet in forbidden(vm).items():
            delivery = fabric.send(vm.name, packet)
            assert not delivery.received and not delivery.wire, what
            assert delivery.dropped == [(vm.hypervisor, Purpose.SPOOFED)], what


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_vm_may_ask_whether_an_address_is_free(scheduler: Scheduler) -> None:
    network = two_hypervisors(scheduler)
    vm = network.vms["vm1"]
    probe = replace(arp(vm, "10.0.0.1"), source="0.0.0.0")
    solicitation = replace(ipv6(vm, vm, source="::", ip_proto=ICMPV6), eth_dst="33:33:ff:00:00:01")
    for packet in (probe, solicitation):
        assert FakeNetwork(network).send("vm1", packet).receivers == {"vm2": 1}


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_vm_may_tell_where_its_own_addresses_are(scheduler: Scheduler) -> None:
    network = two_hypervisors(scheduler)
    vm, other = network.vms.values()
    own = [str(link_local(vm.mac)), "fd00::1"]
    for source, target in product(own, repeat=2):
        packet = replace(advertisement(vm, source, target), eth_dst=other.mac)
        assert FakeNetwork(network).send("vm1", packet).receivers == {"vm2": 1}


def test_the_address_that_a_host_gives_itself() -> None:
    assert link_local("02:00:00:00:00:01") == ip_address("fe80::ff:fe00:1")
    assert link_local("a4:5e:60:c9:12:ef") == ip_address("fe80::a65e:60ff:fec9:12ef")


@pytest.mark.parametrize("port", [EDF_PORT, 3, 99])
def test_what_comes_by_a_port_that_nothing_comes_by_is_counted(port: int) -> None:
    network = two_hypervisors()
    packet = ipv4(network.vms["vm1"], network.vms["vm2"])
    outcome = switch_of(network, "left").forward(packet, port)
    assert (outcome.departures, outcome.dropped) == ((), Purpose.UNKNOWN_PORT)


# What comes by the uplink


def arriving(network: Network) -> Iterator[Packet]:
    """Of every kind that there is, to every VM and to all."""
    for talker, listener in pairs(network):
        for packet in (ipv4(talker, listener), ipv6(talker, listener), arp(talker, address(listener))):
            for eth_dst in (listener.mac, BROADCAST, ALL_NODES, "02:99:99:99:99:99"):
                plain = replace(packet, eth_dst=eth_dst)
                yield plain
                yield replace(plain, vlan=7)
                yield replace(plain, eth_type=LLDP)
                yield replace(plain, eth_type=ETH_MPLS_MULTICAST)
                if plain.eth_type == ETH_IPV4:
                    yield from (replace(plain, labels=labels) for labels in labels_of(network))


def labels_of(network: Network) -> list[tuple[Label, ...]]:
    known = [Label(each.label, 5) for each in network.channels.values() if each.source.version == 4]
    channel_labels = [Label(99), *known]
    return [(Label(17),), *((STAMPED, each) for each in channel_labels), (STAMPED, STAMPED, *known[:1])]


@each_network
def test_what_came_by_the_uplink_goes_to_vms_only(network: Network) -> None:
    """The switch itself never sends a packet back by the port that it came by, but it would by the edf port."""
    for name in network.hypervisors:
        bridge = switch_of(network, name)
        to_vms = {port_to(network, name, vm.name).number for vm in network.vms_of(name)}
        for packet in arriving(network):
            outcome = bridge.forward(packet, UPLINK_PORT)
            actions = [action for flow in outcome.flows for action in flow.actions]
            assert ToGroup(UPLINK_GROUP) not in actions
            assert {action.port for action in actions if isinstance(action, Output)} <= to_vms
            assert len(outcome.ports) == len(set(outcome.ports))


def at_right(packet: Packet, network: Network | None = None) -> tuple[dict[str, int], Purpose | None]:
    delivery = FakeNetwork(network or two_hypervisors(kind=SwitchKind.PLAIN)).arrive("right", packet)
    ((_, dropped),) = delivery.dropped or [("", None)]
    return dict(delivery.receivers), dropped


@pytest.mark.parametrize(
    ("changes", "purpose"),
    [
        ({"labels": (VIDEO,)}, Purpose.ONE_LABEL),
        ({"eth_type": ETH_MPLS_MULTICAST}, Purpose.ONE_LABEL),
        ({"eth_dst": "01:80:c2:00:00:0e"}, Purpose.NEIGHBOURS_ONLY),
        ({"eth_dst": "01:80:c2:00:00:00", "labels": (STAMPED, VIDEO)}, Purpose.NEIGHBOURS_ONLY),
        ({"labels": (STAMPED, replace(VIDEO, label=4711))}, Purpose.UNKNOWN_CHANNEL),
        ({"labels": (STAMPED, STAMPED, VIDEO)}, Purpose.UNKNOWN_CHANNEL),
        ({"labels": (STAMPED, VIDEO, VIDEO)}, Purpose.UNKNOWN_CHANNEL),
        ({"labels": (STAMPED, VIDEO), "eth_dst": "02:00:00:00:00:01"}, Purpose.UNKNOWN_CHANNEL),
        ({"labels": (STAMPED, VIDEO), "eth_dst": BROADCAST}, Purpose.UNKNOWN_CHANNEL),
        ({"vlan": 7}, Purpose.TAGGED),
        ({"vlan": 0}, Purpose.TAGGED),
        ({"vlan": 7, "labels": (STAMPED, VIDEO)}, Purpose.TAGGED),
        ({"eth_dst": "02:00:00:00:00:01"}, Purpose.UNKNOWN_DESTINATION),
    ],
)
def test_what_is_refused_from_the_network_is_counted_under_its_cause(
    changes: dict[str, object], purpose: Purpose
) -> None:
    network = two_hypervisors()
    packet = ipv4(network.vms["vm1"], network.vms["vm2"])
    assert at_right(packet) == ({"vm2": 1}, None)
    assert at_right(replace(packet, **changes)) == ({}, purpose)


def test_a_frame_without_a_stamp_came_past_a_dead_shim_and_is_delivered() -> None:
    network = two_hypervisors()
    packet = ipv4(network.vms["vm1"], network.vms["vm2"], labels=(Label(500, 5, TTL_RELATIVE), VIDEO))
    assert at_right(packet) == ({"vm2": 1}, None)


def test_a_local_channels_label_is_not_taken_from_the_network() -> None:
    network = on_one_hypervisor()
    packet = ipv4(network.vms["vm1"], network.vms["vm3"], labels=(STAMPED, replace(VIDEO, label=19)))
    delivery = FakeNetwork(network).arrive("left", packet)
    assert (delivery.received, delivery.dropped) == ([], [("left", Purpose.UNKNOWN_CHANNEL)])


# Channels


def expected_labels(channel: Channel) -> tuple[Label, Label]:
    tc = channel.deadline_class.queue_id
    return (
        Label(relative_deadline_label(channel.deadline_ns), tc, TTL_RELATIVE),
        Label(channel.label, tc, TTL_CHANNEL),
    )


@each_channel
def test_a_channels_packet_leaves_for_the_shim_with_two_labels(network: Network, channel: Channel) -> None:
    hypervisor = network.talker_domain(channel)
    in_port = port_to(network, hypervisor, channel.talker).number
    departure = switch_of(network, hypervisor).forward(packet_of(network, channel), in_port).only
    assert departure.port == EDF_PORT
    assert departure.queue_id == channel.deadline_class.queue_id
    assert departure.packet.labels == expected_labels(channel)
    assert departure.packet.dscp == channel.deadline_class.dscp


@each_channel
def test_on_the_wire_its_deadline_is_stamped_and_the_listener_gets_it_plain(network: Network, channel: Channel) -> None:
    packet = packet_of(network, channel, dscp=11)
    delivery = FakeNetwork(network).send(channel.talker, packet)
    ((hypervisor, sent),) = delivery.wire
    deadline, channel_label = expected_labels(channel)
    assert hypervisor == network.talker_domain(channel)
    assert sent.packet.labels == (replace(deadline, label=STAMP, ttl=TTL_STAMPED), channel_label)
    assert delivery.received == [(channel.listener, replace(packet, dscp=channel.deadline_class.dscp))]


@each_channel
def test_past_a_dead_shim_it_leaves_by_the_uplink_in_its_queue(network: Network, channel: Channel) -> None:
    fabric = FakeNetwork(network)
    fabric.kill_shim(network.talker_domain(channel))
    packet = packet_of(network, channel)
    delivery = fabric.send(channel.talker, packet)
    ((_, sent),) = delivery.wire
    assert (sent.port, sent.queue_id) == (UPLINK_PORT, channel.deadline_class.queue_id)
    assert sent.packet.labels == expected_labels(channel)
    assert delivery.received == [(channel.listener, replace(packet, dscp=channel.deadline_class.dscp))]


@each_channel
def test_a_channel_that_wants_no_bypass_waits_for_the_shim(network: Network, channel: Channel) -> None:
    strict = replace(channel, on_bypass=Bypass.BLOCK)
    fabric = FakeNetwork(replace(network, channels=network.channels | {channel.name: strict}))
    packet = packet_of(network, channel)
    assert fabric.send(channel.talker, packet).receivers == {channel.listener: 1}
    fabric.kill_shim(network.talker_domain(channel))
    delivery = fabric.send(channel.talker, packet)
    assert (delivery.wire, delivery.received) == ([], [])


@each_channel
def test_class_queues_alone_need_no_shim(network: Network, channel: Channel) -> None:
    fabric = FakeNetwork(network.with_scheduler(Scheduler.QUEUES))
    packet = packet_of(network, channel)
    delivery = fabric.send(channel.talker, packet)
    ((_, sent),) = delivery.wire
    assert (sent.port, sent.queue_id) == (UPLINK_PORT, channel.deadline_class.queue_id)
    assert sent.packet.labels == expected_labels(channel)
    assert delivery.received == [(channel.listener, replace(packet, dscp=channel.deadline_class.dscp))]


def test_a_channel_whose_excess_is_dropped_has_a_meter_of_its_own() -> None:
    """1,514 bytes of frame for 1,472 of payload, and 60 for 18: rounded up to kbit/s."""
    full = selecting("full", 20, excess=Excess.DROP, protocol=Protocol.UDP, rate_bps=1_472_000, burst_bytes=4000)
    small = selecting("small", 21, excess=Excess.DROP, dst_port=80, rate_bps=18_000, packet_bytes=18)
    network = with_channels(full, selecting("free", 22), small)
    meters = {name: talker_entries(network, network.channels[name]) for name in network.channels}
    assert meters["full"][0] == Meter(20, rate_kbps=1514, burst_kbits=32)
    assert meters["small"][0] == Meter(21, rate_kbps=60, burst_kbits=24)
    assert [getattr(entry, "meter_id", None) for entry in meters["full"]] == [20, 20]
    assert [getattr(entry, "meter_id", None) for entry in meters["small"]] == [21, 21, 21]
    assert [getattr(entry, "meter_id", None) for entry in meters["free"]] == [None]
    switch_of(network, "left")


@pytest.mark.parametrize("network", SCHEDULED.values(), ids=SCHEDULED)
def test_best_effort_survives_dead_shims_too(network: Network) -> None:
    fabric = FakeNetwork(network)
    for name in network.hypervisors:
        fabric.kill_shim(name)
    for talker, listener in pairs(network):
        assert fabric.send(talker.name, ipv6(talker, listener)).receivers == {listener.name: 1}
        assert set(fabric.send(talker.name, arp(talker, "10.0.0.9")).receivers) == set(network.vms) - {talker.name}


@each_channel
def test_only_the_talker_speaks_on_a_channel(network: Network, channel: Channel) -> None:
    """Another VM that claims the talker's address is stopped; the way back is another channel."""
    fabric = FakeNetwork(network)
    packet = packet_of(network, channel)
    for vm in network.vms.values():
        if vm.name != channel.talker:
            assert fabric.send(vm.name, packet).dropped == [(vm.hypervisor, Purpose.SPOOFED)]


@each_channel
def test_an_ovs_switch_on_the_way_uses_the_queue_of_the_class(network: Network, channel: Channel) -> None:
    labels = expected_labels(channel)
    packet = packet_of(network, channel, labels=labels)
    queue_id = channel.deadline_class.queue_id
    for name, switch in network.switches.items():
        if switch.kind is SwitchKind.OVS:
            # in by a port that is not its own way to the listener
            outcome = switch_of(network, name).forward(packet, in_port=98)
            assert [departure.queue_id for departure in outcome.departures] == [queue_id]
            plain = switch_of(network, name).forward(replace(packet, labels=()), in_port=98)
            assert [departure.queue_id for departure in plain.departures] == [0]


@pytest.mark.parametrize("network", all_networks(Scheduler.FIFO).values(), ids=all_networks(Scheduler.FIFO))
def test_first_in_first_out_has_no_labels_and_no_flows_of_channels(network: Network) -> None:
    fabric = FakeNetwork(network)
    for name in network.hypervisors:
        assert not any(isinstance(entry, FailoverGroup) for entry in base_entries(network, name))
        assert not {flow.purpose for flow in fabric.bridges[name].flows.values()} & {Purpose.TALKER, Purpose.LISTENER}
    for each in network.channels.values():
        delivery = fabric.send(each.talker, packet_of(network, each, dscp=46))
        ((_, sent),) = delivery.wire
        assert (sent.port, sent.queue_id, sent.packet.labels, sent.packet.dscp) == (UPLINK_PORT, 0, (), 0)


def test_one_uplink_that_is_first_in_first_out_is_enough_to_leave_a_channel_out() -> None:
    edf, fifo = two_hypervisors(), two_hypervisors(Scheduler.FIFO)
    for name in edf.hypervisors:
        mixed = replace(edf, hypervisors=edf.hypervisors | {name: fifo.hypervisors[name]})
        assert not any(mixed.is_scheduled(each) for each in mixed.channels.values())
        packet = packet_of(mixed, mixed.channels["video"])
        assert FakeNetwork(mixed).send("vm1", packet).receivers == {"vm2": 1}


# Which channel


def labels_on_the_wire(network: Network, talker: str, packet: Packet) -> list[int]:
    """The channel labels under which `packet` leaves its hypervisor; 0 for best effort."""
    wire = FakeNetwork(network).send(talker, packet).wire
    return [departure.packet.labels[1].label if departure.packet.labels else 0 for _, departure in wire]


def with_channels(*channels: Channel) -> Network:
    return replace(two_hypervisors(), channels={each.name: each for each in channels})


def selecting(name: str, label: int, **selector: object) -> Channel:
    network = two_hypervisors()
    plain = channel(name, network.vms["vm1"], network.vms["vm2"], label, SLOW)
    return replace(plain, **selector)


def test_the_more_a_channel_says_the_sooner_it_is_chosen() -> None:
    network = with_channels(
        selecting("all", 20),
        selecting("udp", 21, protocol=Protocol.UDP),
        selecting("src", 22, protocol=Protocol.UDP, src_port=7000),
        selecting("dst", 23, protocol=Protocol.UDP, dst_port=8000),
        selecting("both", 24, protocol=Protocol.UDP, src_port=7000, dst_port=8000),
        selecting("either", 25, src_port=9000),
    )
    vm1, vm2 = network.vms["vm1"], network.vms["vm2"]
    found = {
        (protocol, src, dst): labels_on_the_wire(
            network, "vm1", ipv4(vm1, vm2, ip_proto=protocol, src_port=src, dst_port=dst)
        )
        for protocol in (UDP, TCP, ICMP)
        for src in (7000, 1)
        for dst in (8000, 2)
    }
    either = ipv4(vm1, vm2, src_port=9000)
    assert labels_on_the_wire(network, "vm1", either) == [25]
    assert found == {
        (UDP, 7000, 8000): [24],
        (UDP, 7000, 2): [22],
        (UDP, 1, 8000): [23],
        (UDP, 1, 2): [21],
        **{(protocol, src, dst): [20] for protocol in (TCP, ICMP) for src in (7000, 1) for dst in (8000, 2)},
    }


def test_ports_without_a_protocol_are_those_of_both() -> None:
    network = with_channels(selecting("web", 20, dst_port=80), selecting("dns", 21, protocol=Protocol.UDP, dst_port=80))
    vm1, vm2 = network.vms["vm1"], network.vms["vm2"]
    found = [
        labels_on_the_wire(network, "vm1", ipv4(vm1, vm2, ip_proto=protocol, dst_port=port))
        for protocol, port in [(TCP, 80), (UDP, 80), (TCP, 81), (ICMP, 80)]
    ]
    assert found == [[20], [21], [0], [0]]


def test_each_example_channel_has_its_own_label_on_the_wire() -> None:
    network = example("two_hypervisors")
    for each in network.channels.values():
        assert labels_on_the_wire(network, each.talker, packet_of(network, each)) == [each.label]


def test_the_versions_of_ip_are_channels_of_their_own() -> None:
    network = example("two_hypervisors")
    sensor, plant = network.vms["sensor"], network.vms["plant"]
    v6 = {"source": address(sensor, 6), "destination": address(plant, 6)}
    telemetry, telemetry_v6 = network.channels["telemetry"], network.channels["telemetry-v6"]
    assert labels_on_the_wire(network, "sensor", ipv4(sensor, plant)) == [telemetry.label]
    assert labels_on_the_wire(network, "sensor", ipv6(sensor, plant, **v6)) == [telemetry_v6.label]
    assert labels_on_the_wire(network, "sensor", ipv6(sensor, plant)) == [0]


# A channel to a host


@pytest.mark.parametrize("name", ["record", "record-v6"])
def test_a_host_gets_a_channels_packets_plain(name: str) -> None:
    network = example("plain_host")
    channel = replace(network.channels[name], on_bypass=Bypass.PASS)
    network = replace(network, channels={name: channel})
    fabric, packet = FakeNetwork(network), packet_of(network, channel)
    marked = replace(packet, dscp=channel.deadline_class.dscp)
    assert fabric.send(channel.talker, packet).at_hosts == [("recorder", marked)]
    fabric.kill_shim("left")
    delivery = fabric.send(channel.talker, packet)
    assert delivery.at_hosts == [("recorder", marked)]
    ((_, sent),) = delivery.wire
    assert (sent.port, sent.queue_id) == (UPLINK_PORT, channel.deadline_class.queue_id)


def test_class_queues_alone_send_to_a_host_without_labels() -> None:
    network = example("plain_host").with_scheduler(Scheduler.QUEUES)
    channel = network.channels["record"]
    packet = packet_of(network, channel)
    ((_, sent),) = FakeNetwork(network).send(channel.talker, packet).wire
    assert (sent.queue_id, sent.packet) == (
        channel.deadline_class.queue_id,
        replace(packet, dscp=channel.deadline_class.dscp),
    )


def test_a_host_and_a_vm_reach_each_other() -> None:
    network = example("plain_host")
    fabric, host = FakeNetwork(network), network.hosts["recorder"]
    for vm in network.vms.values():
        back = Packet(host.mac, vm.mac, source=address(host), destination=address(vm))
        assert fabric.arrive(vm.hypervisor, back).received == [(vm.name, back)]
        assert [name for name, _ in fabric.send(vm.name, arp(vm, "10.0.0.9")).at_hosts] == ["recorder"]


@pytest.mark.parametrize("labels", [(Label(17),), (Label(500, 5), Label(17, 5))])
def test_a_host_at_an_ovs_switch_has_no_business_with_labels(labels: tuple[Label, ...]) -> None:
    network = example("plain_host")
    network = replace(network, switches={"core": Switch("core", SwitchKind.OVS, datapath_id=9, domain="left")})
    core, host = switch_of(network, "core"), network.hosts["recorder"]
    port = port_to(network, "core", "recorder").number
    plain = Packet(host.mac, network.vms["screen"].mac, source=address(host), destination="10.0.0.2")
    assert core.forward(replace(plain, labels=labels), port).dropped is Purpose.SPOOFED
    assert core.forward(plain, port).ports == [port_to(network, "core", "right").number]


# A channel within one hypervisor


def test_a_local_channel_is_marked_and_delivered_without_labels() -> None:
    network = on_one_hypervisor()
    near = network.channels["near"]
    assert network.is_local(near)
    packet = packet_of(network, near, dscp=11)
    delivery = FakeNetwork(network).send("vm1", packet)
    assert delivery.wire == []
    assert delivery.received == [("vm3", replace(packet, dscp=FAST.dscp))]


# The order of entries, and what belongs to whom


@each_network
def test_entries_can_be_sent_in_their_order(network: Network) -> None:
    """A fake switch refuses a flow to a group that it does not have."""
    for name in network.hypervisors:
        assert switch_of(network, name).flows


@each_channel
def test_the_subject_of_a_channels_flows_is_its_label(network: Network, channel: Channel) -> None:
    flows = (*talker_entries(network, channel), *listener_entries(network, channel))
    assert {flow.subject for flow in flows} == {channel.label}
    assert [flow.purpose for flow in listener_entries(network, channel)] == [Purpose.LISTENER]
    assert {flow.purpose for flow in talker_entries(network, channel)} == {Purpose.TALKER}


@each_network
def test_no_two_flows_of_a_bridge_share_a_cookie(network: Network) -> None:
    for name in [*network.hypervisors, *(each for each in network.switches if network.switches[each].domain)]:
        flows = switch_of(network, name).flows.values()
        assert len({flow.cookie for flow in flows}) == len(flows)


RING = """
version: 1
hypervisors: {left: {uplink: {rate: 1Gbps, switch: s1}}, right: {uplink: {rate: 1Gbps, switch: s2}}}
switches:
  s1: {kind: ovs, controlled_by: left}
  s2: {kind: %s}
  s3: {kind: ovs, controlled_by: left}
links: [[s1, s2], [s2, s3], [s3, s1]]
vms: {a: {hypervisor: left, ip: 10.0.0.1}, b: {hypervisor: right, ip: 10.0.0.2}, c: {hypervisor: left, ip: 10.0.0.3}}
"""


@pytest.mark.parametrize("second", ["plain", "ovs, controlled_by: right"])
def test_a_ring_does_not_loop(second: str) -> None:
    network = parse((RING % second).encode(), Path("ring.yaml"))
    fabric = FakeNetwork(network)
    for talker, listener in pairs(network):
        others = dict.fromkeys(set(network.vms) - {talker.name}, 1)
        assert fabric.send(talker.name, arp(talker, address(listener))).receivers == others
        assert fabric.send(talker.name, ipv4(talker, listener)).receivers == {listener.name: 1}
        assert not fabric.send(talker.name, replace(ipv4(talker, listener), eth_dst="02:99:99:99:99:99")).received


def test_a_closed_port_takes_nothing_and_lets_nothing_out() -> None:
    network = parse((RING % "plain").encode(), Path("ring.yaml"))
    ring = FakeNetwork(network)
    closed = {name: bridge.closed for name, bridge in ring.bridges.items() if bridge.closed}
    assert closed
    packet = ipv4(network.vms["a"], network.vms["b"])
    for name, ports in closed.items():
        for port in ports:
            outcome = ring.bridges[name].forward(packet, port)
            assert (outcome.departures, outcome.dropped) == ((), Purpose.BLOCKED_PORT)


def test_without_its_blocked_ports_the_ring_would_loop() -> None:
    """That the fake network sees loops at all."""
    network = parse((RING % "plain").encode(), Path("ring.yaml"))
    fabric = FakeNetwork(network)
    for bridge in fabric.bridges.values():
        bridge.closed.clear()
        bridge.flows = {key: flow for key, flow in bridge.flows.items() if flow.purpose is not Purpose.BLOCKED_PORT}
    with pytest.raises(AssertionError, match="still under way"):
        fabric.send("a", arp(network.vms["a"], "10.0.0.2"))


def test_ipv6_only_vms_need_no_ipv4_address() -> None:
    text = """
version: 1
hypervisors: {left: {uplink: 1Gbps}, right: {uplink: 1Gbps}}
vms: {a: {hypervisor: left, ip: "fd00::1"}, b: {hypervisor: right, ip: "fd00::2"}}
channels: {video: {from: a, to: b, deadline: 5ms, min_rate: 1Mbps}}
"""
    network = parse(text.encode(), Path("v6.yaml"))
    video = network.channels["video"]
    for protocol in (UDP, TCP):
        packet = packet_of(network, video, ip_proto=protocol)
        assert (packet.eth_type, labels_on_the_wire(network, "a", packet)) == (ETH_IPV6, [video.label])
        assert FakeNetwork(network).send("a", packet).receivers == {"b": 1}
    mac = network.vms["a"].mac
    question = Packet(mac, BROADCAST, ETH_ARP, source="10.0.0.1", arp_sha=mac)
    assert FakeNetwork(network).send("a", question).dropped == [("left", Purpose.SPOOFED)]


def test_the_fake_switch_answers_only_for_entries_that_a_switch_takes() -> None:
    network = two_hypervisors()
    (flow,) = talker_entries(network, network.channels["video"])
    with pytest.raises(AssertionError, match="no group 1"):
        FakeSwitch([1, 2, 3, 10], [flow])
    with pytest.raises(AssertionError, match="no port 10"):
        FakeSwitch([1], listener_entries(network, network.channels["video"]))
