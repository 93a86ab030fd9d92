"""Ports: their numbers, names, and what is at the other end."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.network.wiring import Port, PortRole, port_to, ports_of, shim_interface
from controller.topology_file.load import parse

NETWORK = parse(
    b"""
version: 1
hypervisors:
  left: {uplink: {rate: 1Gbps, switch: core, interface: eth1}}
  right: {uplink: {rate: 1Gbps, switch: edge, scheduler: fifo}}
switches: {core: plain, edge: ovs}
links: [[core, edge]]
vms:
  a: {hypervisor: left, ip: 10.0.0.1}
  b: {hypervisor: right, ip: 10.0.0.2}
  c: {hypervisor: left, ip: 10.0.0.3, interface: tap7}
""",
    Path("net.yaml"),
)


def test_a_hypervisor_has_its_uplink_the_shims_ports_and_its_vms() -> None:
    assert ports_of(NETWORK, "left") == (
        Port("eth1", 1, PortRole.UPLINK, "core"),
        Port("left-edf", 2, PortRole.EDF, ""),
        Port("left-live", 3, PortRole.LIVENESS, ""),
        Port("a-port", 10, PortRole.VM, "a"),
        Port("tap7", 11, PortRole.VM, "c"),
    )


def test_without_edf_there_are_no_ports_of_a_shim() -> None:
    assert ports_of(NETWORK, "right") == (
        Port("right-up", 1, PortRole.UPLINK, "edge"),
        Port("b-port", 10, PortRole.VM, "b"),
    )


def test_a_switch_has_its_hypervisors_and_then_its_links() -> None:
    assert ports_of(NETWORK, "core") == (
        Port("core-1", 1, PortRole.TRUNK, "left"),
        Port("core-2", 2, PortRole.TRUNK, "edge"),
    )
    assert [port.peer for port in ports_of(NETWORK, "edge")] == ["right", "core"]


def test_port_to() -> None:
    assert port_to(NETWORK, "edge", "core").number == 2
    assert port_to(NETWORK, "left", "core").interface == "eth1"
    with pytest.raises(KeyError, match="core has no port to right"):
        port_to(NETWORK, "core", "right")


def test_derived_interfaces_fit_the_kernel() -> None:
    assert len(shim_interface("a" * 10)) <= 15
