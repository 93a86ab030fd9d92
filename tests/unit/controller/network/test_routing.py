"""Ways on a ring: one tree, blocked at a port that a controller can block."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from controller.errors import InvalidFile
from controller.model import Host, Network
from controller.network.routing import blocked_ports, port_by_mac, shared_cables, ways
from controller.topology_file.load import parse


def ring(**kinds: str) -> Network:
    """`left` at s1, `right` at s2, and the ring s1-s2-s3; a switch is plain unless `kinds` says otherwise."""
    switches = ", ".join(f"{name}: {kinds.get(name, 'plain')}" for name in ("s1", "s2", "s3"))
    text = f"""
version: 1
hypervisors: {{left: {{uplink: {{rate: 1Gbps, switch: s1}}}}, right: {{uplink: {{rate: 1Gbps, switch: s2}}}}}}
switches: {{{switches}}}
links: [[s1, s2], [s2, s3], [s3, s1]]
vms:
  a: {{hypervisor: left, ip: 10.0.0.1}}
  b: {{hypervisor: right, ip: 10.0.0.2}}
  c: {{hypervisor: left, ip: 10.0.0.3}}
"""
    return parse(text.encode(), Path("net.yaml"))


def blocked(network: Network) -> list[tuple[str, str]]:
    return [(name, port.peer) for name in network.switches for port in blocked_ports(network, name)]


def test_one_cable_of_a_ring_is_left_out_at_both_ends() -> None:
    (first, second) = blocked(ring(s1="ovs", s2="ovs", s3="ovs"))
    assert first == second[::-1]


@pytest.mark.parametrize("ovs", ["s1", "s2", "s3"])
def test_the_cable_left_out_ends_at_an_ovs_switch(ovs: str) -> None:
    assert ovs in {name for name, _ in blocked(ring(**{ovs: "ovs"}))}


def test_nothing_can_block_a_ring_of_plain_switches() -> None:
    with pytest.raises(InvalidFile, match="s1, s2, s3 form a loop"):
        ring()


def test_a_way_follows_the_cables_in_use() -> None:
    assert ways(ring(s3="ovs")) == {
        ("left", "right"): ("left", "s1", "s2", "right"),
        ("right", "left"): ("right", "s2", "s1", "left"),
    }


@pytest.mark.parametrize("ovs", ["s1", "s2", "s3"])
def test_a_way_avoids_the_blocked_cable(ovs: str) -> None:
    network = ring(**{ovs: "ovs"})
    nodes = ways(network)["left", "right"]
    assert set(blocked(network)).isdisjoint(pairwise(nodes))
    assert (nodes[0], nodes[-1]) == ("left", "right")


def test_packets_meet_where_more_than_one_sends() -> None:
    base = ring(s3="ovs")
    assert shared_cables(base) == set()
    third = replace(base, hosts={"h": Host("h", "s2", "02:00:00:00:00:09", (), 10**9)})
    assert shared_cables(third) == {("s2", "right"), ("s2", "h"), ("s2", "s1"), ("s1", "left")}


def test_a_hypervisor_reaches_its_own_vms_by_their_ports_and_others_by_the_uplink() -> None:
    network = ring(s3="ovs")
    ports = port_by_mac(network, "left")
    assert {name: ports[vm.mac].interface for name, vm in network.vms.items()} == {
        "a": "a-port",
        "b": "left-up",
        "c": "c-port",
    }


def test_a_switch_reaches_a_vm_by_the_next_cable() -> None:
    network = ring(s3="ovs")
    ports = port_by_mac(network, "s1")
    assert {name: ports[vm.mac].peer for name, vm in network.vms.items()} == {"a": "left", "b": "s2", "c": "left"}
