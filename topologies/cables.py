"""The interfaces of a test bed: VM ports, cables and plain switches. All are marked, so that what is left can be found.

Open vSwitch's side, the bridges and what the shim needs, is `ovs_config`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from controller.errors import CannotRun
from controller.model import VM_MTU, Host, Network, SwitchKind, Vm
from controller.network.wiring import port_to, ports_of
from ovs_config import links

NO_DUPLICATE_DETECTION = 0x02
"""IFA_F_NODAD: a declared IPv6 address is used at once."""


def nic_of(end: Vm | Host) -> str:
    """The NIC of a VM or host, as it sees it."""
    return f"{end.name}-eth0"


def add_nic(ip: IPRoute, network: Network, end: Vm | Host, pid: int) -> None:
    """The NIC of `end` in the network namespace of process `pid`, and its port outside."""
    outside = end.interface if isinstance(end, Vm) else port_to(network, end.switch, end.name).interface
    peer = {"ifname": nic_of(end), "address": end.mac, "mtu": VM_MTU, "net_ns_pid": pid}
    links.add_link(ip, outside, kind="veth", mtu=VM_MTU, peer=peer)
    with links.network_of(pid), IPRoute() as inside:  # pyroute2's own way forks, and a fork of threads may hang
        configure_nic(inside, end)
    links.disable_offloads(nic_of(end), pid)


def configure_nic(inside: IPRoute, end: Vm | Host) -> None:
    """Give the NIC of `end`, whose network namespace is that of `inside`, its addresses. Raises CannotRun."""
    loopback, nic = links.index_of(inside, "lo"), links.index_of(inside, nic_of(end))
    inside.link("set", index=loopback, state="up")
    inside.link("set", index=nic, state="up")
    for address in end.addresses:
        flags = NO_DUPLICATE_DETECTION if address.version == 6 else 0
        try:
            inside.addr("add", index=nic, address=str(address.ip), prefixlen=address.network.prefixlen, flags=flags)
        except NetlinkError as error:
            cure = "if this machine has no IPv6: sysctl net.ipv6.conf.default.disable_ipv6=0"
            raise CannotRun(f"{end.name} cannot have the address {address.ip}: {error.args[-1]}", cure) from None


def add_plain_switches(ip: IPRoute, network: Network) -> None:
    """A Linux bridge for each plain switch; it carries full packets with both labels, and has no address."""
    for switch in network.switches.values():
        if switch.kind is SwitchKind.PLAIN:
            links.add_link(ip, switch.name, kind="bridge")


def add_cables(ip: IPRoute, network: Network) -> None:
    """A veth pair for each cable: from every uplink to its switch, and between switches."""
    for near, far in _cables(network):
        links.add_veth_pair(ip, near, far)
        for interface in (near, far):
            links.raise_mtu(ip, interface)


def plug_plain_switches(ip: IPRoute, network: Network) -> None:
    """The cables' ends at plain switches become their ports."""
    for switch in network.switches.values():
        if switch.kind is SwitchKind.PLAIN:
            bridge = links.index_of(ip, switch.name)
            for port in ports_of(network, switch.name):
                ip.link("set", index=links.index_of(ip, port.interface), master=bridge)
            links.raise_mtu(ip, switch.name)


def _cables(network: Network) -> Iterator[tuple[str, str]]:
    for name, hypervisor in network.hypervisors.items():
        yield hypervisor.uplink.interface, port_to(network, hypervisor.uplink.switch, name).interface
    for first, second in (link.ends for link in network.links):
        yield port_to(network, first, second).interface, port_to(network, second, first).interface
