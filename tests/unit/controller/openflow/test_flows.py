"""Where packets go: every network of the examples, with every packet that tells its flows apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.fake_table import ICMP, ICMPV6, TCP, UDP, FakeNetwork, FakeSwitch, address, arp, ipv4, ipv6, switch_of
from support.flow_networks import ALL_NODES, addresses, each_channel, each_network, pairs
from support.networks import two_hypervisors

from controller.model import Channel, Network
from controller.openflow.flows import listener_entries, talker_entries
from controller.openflow.pipeline import Purpose
from controller.topology_file.load import parse

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


def test_the_fake_switch_answers_only_for_entries_that_a_switch_takes() -> None:
    network = two_hypervisors()
    (flow,) = talker_entries(network, network.channels["video"])
    with pytest.raises(AssertionError, match="no group 1"):
        FakeSwitch([1, 2, 3, 10], [flow])
    with pytest.raises(AssertionError, match="no port 10"):
        FakeSwitch([1], listener_entries(network, network.channels["video"]))
