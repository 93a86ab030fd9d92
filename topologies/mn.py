"""Topology files for Mininet's own program `mn`, with its switches: plain connectivity, no channels, IPv4 only.

    .venv/bin/mn --custom topologies/mn.py --topo rtvnic,topologies/two_hypervisors.yaml \\
        --switch ovsbr,datapath=user --controller none

It must be the `mn` of the environment that RTvNIC is installed in: Debian's has another Python. `ovsbr` needs a running
Open vSwitch (`datapath=user`: without its kernel module); `lxbr` needs brctl (apt-get install bridge-utils).
"""

from __future__ import annotations

import warnings
from pathlib import Path

from controller.model import Host, Vm
from controller.network.routing import spanning_tree
from controller.topology_file.load import load

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Mininet uses distutils
    from mininet.topo import Topo


class TopologyFile(Topo):  # type: ignore[misc]
    """The hypervisors and switches of a topology file as switches, its VMs as hosts. Cables that make loops are left
    out: Mininet's switches block none."""

    def build(self, file: str) -> None:
        """Called by Mininet with the words behind `rtvnic,`. Raises InvalidFile."""
        network = load(Path(file))
        for name in (*network.hypervisors, *network.switches):
            self.addSwitch(name, dpid=f"{network.datapath_id(name):016x}")
        ends: list[Vm | Host] = [*network.vms.values(), *network.hosts.values()]
        for end in ends:
            ipv4 = next((str(address) for address in end.addresses if address.version == 4), None)
            self.addHost(end.name, ip=ipv4, mac=end.mac)
        for vm in network.vms.values():
            self.addLink(vm.name, vm.hypervisor)
        for near, far in spanning_tree(network).edges:
            self.addLink(near, far)


topos = {"rtvnic": TopologyFile}
