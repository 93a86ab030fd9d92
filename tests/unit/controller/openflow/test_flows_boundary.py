"""What is not taken, from VMs and from the network, and under which cause it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import product

import pytest
from support.fake_table import BROADCAST, ICMPV6, FakeNetwork, Label, Packet, address, arp, ipv4, ipv6, switch_of
from support.flow_networks import ALL_NODES, LLDP, STAMPED, VIDEO, each_network, on_one_hypervisor, pairs
from support.networks import two_hypervisors

from controller.guests.entries import link_local
from controller.model import Network, Scheduler, SwitchKind, Vm
from controller.network.labels import TTL_RELATIVE
from controller.network.wiring import EDF_PORT, UPLINK_PORT, port_to
from controller.openflow.pipeline import ETH_IPV4, ETH_MPLS_MULTICAST, UPLINK_GROUP, Output, Purpose, ToGroup

# What a VM may not send


def advertisement(vm: Vm, source: str, target: str) -> Packet:
    """A neighbour advertisement of `vm`."""
    return ipv6(vm, vm, source=source, ip_proto=ICMPV6, icmpv6_type=136, nd_target=target)


def solicitation(vm: Vm, target: str) -> Packet:
    """`vm` asks whether the address `target` is free."""
    return ipv6(vm, vm, source="::", ip_proto=ICMPV6, icmpv6_type=135, nd_target=target)


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
        "a question whether another's IPv4 address is free": replace(arp(vm, "10.99.0.1"), source="0.0.0.0"),
        "ARP for another's MAC": replace(arp(vm, "10.99.0.2"), arp_sha=other),
        "ARP from another's MAC": replace(arp(vm, "10.99.0.2"), eth_src=other),
        "a question whether another's IPv6 address is free": solicitation(vm, "fd99::1"),
        "an echo from no IPv6 address": ipv6(vm, vm, source="::", ip_proto=ICMPV6, icmpv6_type=128),
        "a fragment from no IPv6 address": ipv6(vm, vm, source="::", ip_proto=ICMPV6, icmpv6_type=0),
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
def test_a_vm_may_ask_whether_its_own_addresses_are_free(scheduler: Scheduler) -> None:
    network = two_hypervisors(scheduler)
    vm = network.vms["vm1"]
    probe = replace(arp(vm, "10.0.0.1"), source="0.0.0.0")
    for packet in (probe, solicitation(vm, "fd00::1"), solicitation(vm, str(link_local(vm.mac)))):
        assert FakeNetwork(network).send("vm1", replace(packet, eth_dst=BROADCAST)).receivers == {"vm2": 1}


@pytest.mark.parametrize("kind", [131, 132, 133, 143])
def test_a_vm_without_an_address_may_ask_for_routers_and_join_groups(kind: int) -> None:
    network = two_hypervisors()
    vm = network.vms["vm1"]
    packet = ipv6(vm, vm, source="::", ip_proto=ICMPV6, icmpv6_type=kind)
    assert FakeNetwork(network).send("vm1", replace(packet, eth_dst=ALL_NODES)).receivers == {"vm2": 1}


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
