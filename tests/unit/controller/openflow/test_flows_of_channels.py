"""Where the packets of channels go, with which labels; which channel a packet belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.examples import all_networks, example
from support.fake_datapath import FakeDatapath, on_the_wire
from support.fake_table import (
    BROADCAST,
    ICMP,
    STAMP,
    TCP,
    UDP,
    FakeNetwork,
    Label,
    Outcome,
    Packet,
    address,
    arp,
    ipv4,
    ipv6,
    packet_of,
    switch_of,
)
from support.flow_networks import SCHEDULED, each_channel, on_one_hypervisor, pairs
from support.networks import FAST, SLOW, channel, two_hypervisors

from controller.model import Bypass, Channel, Excess, Host, Network, Protocol, Scheduler, Switch, SwitchKind, Vm
from controller.network.labels import TTL_CHANNEL, TTL_RELATIVE, TTL_STAMPED, relative_deadline_label
from controller.network.wiring import EDF_PORT, UPLINK_PORT, port_to
from controller.openflow.flows import METER_MAX, base_entries, talker_entries
from controller.openflow.messages import messages
from controller.openflow.pipeline import ETH_ARP, ETH_IPV6, FailoverGroup, Meter, Purpose
from controller.topology_file.load import parse

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


def test_a_meter_says_no_more_than_openflow_can() -> None:
    """A channel between two VMs of one hypervisor has no link that it would have to fit."""
    network = two_hypervisors()
    fast = replace(network.channels["video"], rate_bps=10**11, burst_bytes=10**12, packet_bytes=1, excess=Excess.DROP)
    meter = talker_entries(network, fast)[0]
    assert meter == Meter(17, METER_MAX, METER_MAX)
    *_, changed = messages(FakeDatapath(), meter)
    assert on_the_wire(changed)


def test_a_channel_whose_excess_is_dropped_has_a_meter_of_its_own() -> None:
    """1,514 bytes of frame for 1,472 of payload, and 60 for 18: rounded up to kbit/s."""
    full = selecting("full", 20, excess=Excess.DROP, protocol=Protocol.UDP, rate_bps=1_472_000, burst_bytes=4000)
    small = selecting("small", 21, excess=Excess.DROP, dst_port=80, rate_bps=18_000, packet_bytes=18)
    network = with_channels(full, selecting("free", 22), small)
    meters = {name: talker_entries(network, network.channels[name]) for name in network.channels}
    assert meters["full"][0] == Meter(20, rate_kbps=1514, burst_kbits=32)
    assert meters["small"][0] == Meter(21, rate_kbps=60, burst_kbits=16)
    assert [getattr(entry, "meter_id", None) for entry in meters["full"]] == [20, 20]
    assert [getattr(entry, "meter_id", None) for entry in meters["small"]] == [21, 21, 21]
    assert [getattr(entry, "meter_id", None) for entry in meters["free"]] == [None]
    switch_of(network, "left")


@pytest.mark.parametrize("packet_bytes", [18, 100, 500, 1472])
@pytest.mark.parametrize("burst_bytes", [64, 1546, 3092, 15_000, 92_000])
def test_a_meter_lets_a_burst_pass_and_less_than_a_full_packet_more(packet_bytes: int, burst_bytes: int) -> None:
    """Contracts count on the wire: 8 bytes of labels and 24 of link are with each packet."""
    made = selecting("made", 20, excess=Excess.DROP, packet_bytes=packet_bytes, burst_bytes=burst_bytes)
    meter = talker_entries(with_channels(made), made)[0]
    assert isinstance(meter, Meter)
    frame_bytes, contract_bytes = max(packet_bytes + 42, 60), max(burst_bytes, 1546)
    packets = meter.burst_kbits * 125 // frame_bytes
    assert contract_bytes // (frame_bytes + 32) <= packets < (contract_bytes + 1546) / (frame_bytes + 32)
    assert meter.burst_kbits * 125 >= 1514


@each_channel
def test_behind_class_queues_every_channel_has_a_meter(network: Network, channel: Channel) -> None:
    """One that crosses no uplink is nobody's excess."""
    queued = network.with_scheduler(Scheduler.QUEUES)
    has_meter = any(isinstance(entry, Meter) for entry in talker_entries(queued, channel))
    assert has_meter != (network.is_local(channel) and channel.excess is not Excess.DROP)


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


def at_the_hosts_port(packet: Callable[[Host, Vm], Packet]) -> Outcome:
    """What an ovs switch makes of a `packet` of its host for a VM at `right`."""
    network = example("plain_host")
    network = replace(network, switches={"core": Switch("core", SwitchKind.OVS, datapath_id=9, domain="left")})
    port = port_to(network, "core", "recorder").number
    outcome = switch_of(network, "core").forward(packet(network.hosts["recorder"], network.vms["screen"]), port)
    assert set(outcome.ports) <= {port_to(network, "core", "right").number}
    return outcome


@pytest.mark.parametrize("labels", [(Label(17),), (Label(500, 5), Label(17, 5))])
def test_a_host_at_an_ovs_switch_has_no_business_with_labels(labels: tuple[Label, ...]) -> None:
    outcome = at_the_hosts_port(lambda host, vm: ipv4(host, vm, labels=labels))
    assert (outcome.departures, outcome.dropped) == ((), Purpose.SPOOFED)


@pytest.mark.parametrize("make", [ipv4, partial(ipv6, source="fd00::9", destination="fd00::2")])
def test_what_a_host_at_an_ovs_switch_sends_has_its_dscp_cleared(make: Callable[..., Packet]) -> None:
    departure = at_the_hosts_port(partial(make, dscp=46)).only
    assert (departure.packet.dscp, departure.queue_id) == (0, 0)


def test_a_host_at_an_ovs_switch_asks_for_addresses() -> None:
    assert at_the_hosts_port(lambda host, vm: arp(host, address(vm), eth_dst=vm.mac)).departures


# A channel within one hypervisor


def test_a_local_channel_is_marked_and_delivered_without_labels() -> None:
    network = on_one_hypervisor()
    near = network.channels["near"]
    assert network.is_local(near)
    packet = packet_of(network, near, dscp=11)
    delivery = FakeNetwork(network).send("vm1", packet)
    assert delivery.wire == []
    assert delivery.received == [("vm3", replace(packet, dscp=FAST.dscp))]
