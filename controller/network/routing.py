"""Paths: one tree over all declared cables, so that no declared topology loops.

A loop is broken at a port of an OVS switch, which the controller can block; a loop of plain switches only is refused
when the file is read (`loops_of_plain_switches`).
"""

from __future__ import annotations

import networkx as nx

from controller.model import Network, SwitchKind
from controller.network.wiring import Port, port_to, ports_of


def spanning_tree(network: Network) -> nx.Graph[str]:
    """The cables in use. Those between plain switches come first: nothing can block them."""
    tree = nx.minimum_spanning_tree(_cables(network))
    assert isinstance(tree, nx.Graph)
    return tree


def ways(network: Network) -> dict[tuple[str, str], tuple[str, ...]]:
    """The nodes from each hypervisor to each other one and to each host, both included."""
    ends = [*network.hypervisors, *network.hosts]
    tree = spanning_tree(network)
    found = {first: nx.single_source_shortest_path(tree, first) for first in network.hypervisors}
    return {(first, last): tuple(to[last]) for first, to in found.items() for last in ends if first != last}


def shared_cables(network: Network) -> set[tuple[str, str]]:
    """The cables that more than one hypervisor or host sends by, from node to node: there packets may meet."""
    tree, root = spanning_tree(network), next(iter(network.hypervisors))
    downwards = list(nx.bfs_edges(tree, root))
    below = {node: int(node in network.hypervisors or node in network.hosts) for node in tree}
    for parent, child in reversed(downwards):
        below[parent] += below[child]
    shared = {(child, parent) for parent, child in downwards if below[child] > 1}
    return shared | {(parent, child) for parent, child in downwards if below[child] and below[root] - below[child] > 1}


def link_rate_bps(network: Network, node: str, peer: str) -> int:
    """What the cable between two nodes carries, each way."""
    for name, other in ((node, peer), (peer, node)):
        if name in network.hypervisors and network.hypervisors[name].uplink.switch == other:
            return network.hypervisors[name].uplink.rate_bps
        if name in network.hosts:
            return network.hosts[name].rate_bps
    return next(link.rate_bps for link in network.links if {node, peer} == set(link.ends))


def blocked_ports(network: Network, switch: str) -> tuple[Port, ...]:
    """The ports of an OVS switch whose cable the tree leaves out."""
    tree = spanning_tree(network)
    return tuple(port for port in ports_of(network, switch) if not tree.has_edge(switch, port.peer))


def port_by_mac(network: Network, bridge: str) -> dict[str, Port]:
    """For each declared VM and host, the port of `bridge` that leads to it. A hypervisor's own VMs are at its ports."""
    tree = spanning_tree(network)
    ends = {vm.mac: (vm.hypervisor, vm.name) for vm in network.vms.values()}
    ends |= {host.mac: (host.switch, host.name) for host in network.hosts.values()}
    ports: dict[str, Port] = {}
    for mac, (node, name) in ends.items():
        if node == bridge:
            ports[mac] = port_to(network, bridge, name)
        elif nx.has_path(tree, bridge, node):
            ports[mac] = port_to(network, bridge, nx.shortest_path(tree, bridge, node)[1])
    return ports


def loops_of_plain_switches(network: Network) -> list[list[str]]:
    """Loops that no controller can break, each as the switches along it."""
    plain = [name for name, switch in network.switches.items() if switch.kind is SwitchKind.PLAIN]
    return [sorted(loop) for loop in nx.cycle_basis(_cables(network).subgraph(plain))]


def unreachable_ends(network: Network) -> list[str]:
    """Hypervisors and hosts that no cable connects with the first hypervisor."""
    cables, names = _cables(network), [*network.hypervisors, *network.hosts]
    return [name for name in names[1:] if not nx.has_path(cables, names[0], name)]


def _cables(network: Network) -> nx.Graph[str]:
    cables: nx.Graph[str] = nx.Graph()
    for name, hypervisor in network.hypervisors.items():
        cables.add_edge(name, hypervisor.uplink.switch, weight=0)
    cables.add_edges_from(((name, host.switch) for name, host in network.hosts.items()), weight=0)
    for first, second in (link.ends for link in network.links):
        both_plain = all(network.switches[end].kind is SwitchKind.PLAIN for end in (first, second))
        cables.add_edge(first, second, weight=1 if both_plain else 2)
    return cables
