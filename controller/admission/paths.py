"""By which ports channels leave, from one end to the other, and what orders packets there.

Pure. A way is a row of ports: the uplink of the talker's hypervisor, then a port of each switch. It follows from the
network without its channels, so it is worked out once, however many channels come and go.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import chain, pairwise
from typing import NamedTuple

from controller.admission.condition import EdfLink
from controller.model import Channel, Network, Scheduler, SwitchKind
from controller.network.labels import TICK_NS
from controller.network.routing import link_rate_bps, shared_cables, ways

Ends = tuple[str, str]
"""The talker's hypervisor, and the listener's or the host that listens."""


class Server(StrEnum):
    """What orders packets at a port."""

    EDF = "edf"
    QUEUES = "queues"
    PLAIN = "plain"


class Port(NamedTuple):
    """A link in one direction: where `node` sends to `peer`."""

    node: str
    peer: str
    is_uplink: bool

    def __str__(self) -> str:
        return f"the uplink of {self.node}" if self.is_uplink else f"the port of {self.node} to {self.peer}"


Way = tuple[Port, ...]


class Paths:
    """All ways through `network`, between ends of which neither has a first-in-first-out uplink."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ways = {
            ends: tuple(Port(node, peer, node in network.hypervisors) for node, peer in pairwise(nodes))
            for ends, nodes in ways(network).items()
            if not any(_is_fifo(network, end) for end in ends)
        }
        self.ports = tuple(dict.fromkeys(chain.from_iterable(self._ways.values())))
        self._rates_bps = {port: link_rate_bps(network, port.node, port.peer) for port in self.ports}
        self._shared = shared_cables(network)
        self._servers = {port: _server(network, port) for port in self.ports}

    def are_of(self, network: Network) -> bool:
        """Whether `network` is the same but for its channels."""
        return _without_channels(network) == _without_channels(self._network)

    def ends(self, channel: Channel) -> Ends:
        return self._network.talker_domain(channel), self._network.listener_domain(channel) or channel.listener

    def way(self, channel: Channel) -> Way:
        """Empty for a channel that crosses no uplink or is not scheduled."""
        return self.between(self.ends(channel))

    def between(self, ends: Ends) -> Way:
        return self._ways.get(ends, ())

    def server(self, port: Port) -> Server:
        return self._servers[port]

    def rate_bps(self, port: Port) -> int:
        return self._rates_bps[port]

    def is_shaped(self, way: Way) -> bool:
        """Whether excess has to wait at the uplink, for packets may queue further on `way`.

        They may at a port that is slower than the uplink, or that others send by too.
        """
        uplink_bps = self.rate_bps(way[0])
        return any((port.node, port.peer) in self._shared or self.rate_bps(port) < uplink_bps for port in way[1:])

    def edf_link(self, port: Port) -> EdfLink:
        """The uplink `port`, which a shim schedules."""
        uplink = self._network.hypervisors[port.node].uplink
        return EdfLink(str(port), uplink.rate_bps, uplink.be_slack_ns)

    def allowance_ns(self, way: Way) -> int:
        """What the host at the beginning of `way` may take."""
        return self._network.hypervisors[way[0].node].allowance_ns

    def stamp_ns(self, way: Way) -> int:
        """By how much a shim at the beginning of `way` may stamp a deadline too early: it rounds down to a tick."""
        return TICK_NS if self.server(way[0]) is Server.EDF else 0


def _is_fifo(network: Network, end: str) -> bool:
    return end in network.hypervisors and network.hypervisors[end].uplink.scheduler is Scheduler.FIFO


def _server(network: Network, port: Port) -> Server:
    if port.is_uplink:
        is_edf = network.hypervisors[port.node].uplink.scheduler is Scheduler.EDF
        return Server.EDF if is_edf else Server.QUEUES
    return Server.QUEUES if network.switches[port.node].kind is SwitchKind.OVS else Server.PLAIN


def _without_channels(network: Network) -> tuple[object, ...]:
    return network.hypervisors, network.switches, network.links, network.vms, network.hosts, network.classes
