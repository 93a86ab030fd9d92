"""The ports of every bridge: which interface, which OpenFlow number, what is at the other end.

One answer for all who ask: flows are built on these numbers, `ovs_config` requests them from Open vSwitch, and the
Mininet builder makes interfaces of these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controller.model import Hypervisor, Network, Scheduler

UPLINK_PORT = 1
EDF_PORT = 2
LIVENESS_PORT = 3
FIRST_VM_PORT = 10


class PortRole(StrEnum):
    """What a port leads to. The edf port and the uplink are one logical port: see `controller.openflow.pipeline`."""

    VM = "vm"
    UPLINK = "uplink"
    EDF = "edf"
    LIVENESS = "liveness"
    TRUNK = "trunk"
    HOST = "host"


@dataclass(frozen=True)
class Port:
    """One port of one bridge. `peer` is the node at the other end; empty for the shim's own ports."""

    interface: str
    number: int
    role: PortRole
    peer: str


def shim_interface(hypervisor: str) -> str:
    """The end of the edf veth pair that the shim reads."""
    return f"{hypervisor}-shim"


def ports_of(network: Network, node: str) -> tuple[Port, ...]:
    """The ports of a hypervisor's bridge or of a switch, in the order of their numbers."""
    if node in network.hypervisors:
        return _hypervisor_ports(network, network.hypervisors[node])
    return _switch_ports(network, node)


def port_to(network: Network, node: str, peer: str) -> Port:
    """The port of `node` whose cable ends at `peer`; the first where several do. Raises KeyError where none does."""
    for port in ports_of(network, node):
        if port.peer == peer:
            return port
    raise KeyError(f"{node} has no port to {peer}")


def _hypervisor_ports(network: Network, hypervisor: Hypervisor) -> tuple[Port, ...]:
    name, uplink = hypervisor.name, hypervisor.uplink
    ports = [Port(uplink.interface, UPLINK_PORT, PortRole.UPLINK, uplink.switch)]
    if uplink.scheduler is Scheduler.EDF:
        ports += [
            Port(f"{name}-edf", EDF_PORT, PortRole.EDF, ""),
            Port(f"{name}-live", LIVENESS_PORT, PortRole.LIVENESS, ""),
        ]
    ports += [
        Port(vm.interface, FIRST_VM_PORT + index, PortRole.VM, vm.name) for index, vm in enumerate(network.vms_of(name))
    ]
    return tuple(ports)


def _switch_ports(network: Network, switch: str) -> tuple[Port, ...]:
    neighbours = [name for name, hypervisor in network.hypervisors.items() if hypervisor.uplink.switch == switch]
    for first, second in (link.ends for link in network.links):
        neighbours += [second] * (first == switch) + [first] * (second == switch)
    neighbours += [name for name, host in network.hosts.items() if host.switch == switch]
    return tuple(
        Port(f"{switch}-{number}", number, PortRole.HOST if peer in network.hosts else PortRole.TRUNK, peer)
        for number, peer in enumerate(neighbours, start=1)
    )
