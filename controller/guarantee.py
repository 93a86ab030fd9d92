"""What each channel is assured of along its way, and what of it the network cannot keep.

Pure. A way is a row of ports: the uplink of the talker's hypervisor, then a port of each switch. A shim orders an
uplink by deadline; elsewhere a class queue, or a plain switch's one queue, takes what time it takes. The rule by which
a deadline is split: every hop without a shim takes its bound, and the talker's host its allowance, first; what remains
is the deadline at the uplink's shim, which is told by how much it is shorter (`downstream_ns`). So a deadline that is
kept at the uplink is kept at the end, and the shim, which alone can choose, has all the time to choose in.

At the uplink a channel is as its contract says. Further on it may come in a larger burst, for its packets may have
waited up to its deadline: by its rate times that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from controller.admission import Demand, EdfLink, Shortage, delay_bounds_ns, shortage
from controller.model import FULL_FRAME_BYTES, FULL_LABELLED_FRAME_BYTES, Channel, Network, Scheduler, SwitchKind
from controller.queues import class_bounds_ns
from controller.routing import link_rate_bps, ways
from controller.units import DURATION, NS_PER_S, RATE

_HEAVIEST_TOLD = 3


class Server(StrEnum):
    """What orders packets at a port."""

    EDF = "edf"
    QUEUES = "queues"
    PLAIN = "plain"


@dataclass(frozen=True, order=True)
class Port:
    """A link in one direction: where `node` sends to `peer`."""

    node: str
    peer: str
    is_uplink: bool

    def __str__(self) -> str:
        return f"the uplink of {self.node}" if self.is_uplink else f"the port of {self.node} to {self.peer}"


@dataclass(frozen=True)
class Hop:
    """A channel at one port: the longest that a packet takes there, None where nothing limits it."""

    port: Port
    server: Server
    bound_ns: int | None


@dataclass(frozen=True)
class Guarantee:
    """A channel from end to end."""

    channel: Channel
    allowance_ns: int
    hops: tuple[Hop, ...]

    @property
    def bound_ns(self) -> int | None:
        """The longest that a packet takes from the shim's door to the listener's uplink; None: nothing limits it."""
        bounds = [hop.bound_ns for hop in self.hops if hop.bound_ns is not None]
        return self.allowance_ns + sum(bounds) if len(bounds) == len(self.hops) else None

    @property
    def margin_ns(self) -> int | None:
        return None if self.bound_ns is None else self.channel.deadline_ns - self.bound_ns


@dataclass(frozen=True)
class Refusal:
    """What cannot be kept `at` a port, or for the channel of that name. `heaviest` weigh most there."""

    at: Port | str
    what: str
    heaviest: tuple[str, ...]


class Guarantees:
    """All that `network` can assure. Computed when it is asked for, once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.ways = _ways(network)
        self._downstream: dict[tuple[tuple[str, ...], str], int] = {}

    @cached_property
    def by_channel(self) -> dict[str, Guarantee]:
        """The channels that cross an uplink and are scheduled, in the order of the file."""
        at_shims = {port: delay_bounds_ns(self.edf_link(port), self.demands(port)) for port in self.shims}
        return {name: self._guarantee(self.network.channels[name], at_shims) for name in self.ways}

    @cached_property
    def refusals(self) -> list[Refusal]:
        """What the network cannot keep; nothing if it keeps all."""
        return [*self._over_limits(), *self._overloaded(), *self._used_up(), *self._short()]

    @cached_property
    def ports(self) -> dict[Port, list[Channel]]:
        """The ports that channels leave by, and which."""
        ports: dict[Port, list[Channel]] = defaultdict(list)
        for name, way in self.ways.items():
            for port in way:
                ports[port].append(self.network.channels[name])
        return dict(ports)

    @cached_property
    def shims(self) -> list[Port]:
        """The ports that a shim schedules."""
        return [port for port in self.ports if self.server(port) is Server.EDF]

    def server(self, port: Port) -> Server:
        if port.is_uplink:
            is_edf = self.network.hypervisors[port.node].uplink.scheduler is Scheduler.EDF
            return Server.EDF if is_edf else Server.QUEUES
        return Server.QUEUES if self.network.switches[port.node].kind is SwitchKind.OVS else Server.PLAIN

    def rate_bps(self, port: Port) -> int:
        return link_rate_bps(self.network, port.node, port.peer)

    def edf_link(self, port: Port) -> EdfLink:
        """The uplink `port`, which a shim schedules."""
        uplink = self.network.hypervisors[port.node].uplink
        return EdfLink(str(port), uplink.rate_bps, uplink.be_slack_ns)

    def demands(self, port: Port) -> list[Demand]:
        """What the channels that leave by `port` ask of its shim, save those that have no time left there."""
        asked = [demand(channel, self.downstream_ns(channel)) for channel in self.ports[port]]
        return [each for each in asked if each.deadline_ns > 0]

    def downstream_ns(self, channel: Channel) -> int:
        """What of the channel's deadline is not for a shim to use: the same for all of a class between two ends."""
        key = self.network.domains(channel), channel.deadline_class.name
        if channel.listener in self.network.hosts:
            key = (*key[0], channel.listener), key[1]
        if key not in self._downstream:
            bounds = (bound_ns or 0 for _, bound_ns in self._without_shims(channel))
            self._downstream[key] = self._allowance_ns(channel) + sum(bounds)
        return self._downstream[key]

    def _guarantee(self, channel: Channel, at_shims: Mapping[Port, Mapping[str, int]]) -> Guarantee:
        bounds = dict(self._without_shims(channel))
        bounds |= {port: found.get(channel.name) for port, found in at_shims.items() if port in self.ways[channel.name]}
        hops = tuple(Hop(port, self.server(port), bounds[port]) for port in self.ways[channel.name])
        return Guarantee(channel, self._allowance_ns(channel), hops)

    def _allowance_ns(self, channel: Channel) -> int:
        return self.network.hypervisors[self.network.talker_domain(channel)].allowance_ns

    def _without_shims(self, channel: Channel) -> Iterator[tuple[Port, int | None]]:
        """Along the channel's way, the ports that no shim schedules, with their bounds."""
        for port in self.ways[channel.name]:
            if port in self._class_bounds:
                yield port, self._class_bounds[port][channel.deadline_class.name]

    @cached_property
    def _class_bounds(self) -> dict[Port, dict[str, int | None]]:
        """Of each port that no shim schedules, the bound of each class that has channels there."""
        return {port: self._bounds_at(port) for port in self.ports if self.server(port) is not Server.EDF}

    def _bounds_at(self, port: Port) -> dict[str, int | None]:
        channels, rate_bps = self.ports[port], self.rate_bps(port)
        bursts = {channel.name: _arriving_bytes(channel, is_first=port.is_uplink) for channel in channels}
        if self.server(port) is Server.QUEUES:
            return class_bounds_ns(rate_bps, self.network.classes, channels, bursts)
        bound_ns = plain_bound_ns(rate_bps, self._sources(port, bursts))
        return {channel.deadline_class.name: bound_ns for channel in channels}

    def _sources(self, port: Port, bursts: Mapping[str, int]) -> list[Source]:
        """What arrives for `port`, by the port that sends it there."""
        sources: dict[Port, list[Channel]] = defaultdict(list)
        for channel in self.ports[port]:
            way = self.ways[channel.name]
            sources[way[way.index(port) - 1]].append(channel)
        return [
            Source(
                link_bps=self.rate_bps(before),
                rate_bps=sum(channel.wire_rate_bps for channel in channels),
                burst_bytes=sum(bursts[channel.name] for channel in channels),
            )
            for before, channels in sources.items()
        ]

    def _over_limits(self) -> Iterator[Refusal]:
        for port, channels in self.ports.items():
            for what, limit_bps, members in self._limits(port, channels):
                asked_bps = sum(channel.wire_rate_bps for channel in members)
                if limit_bps is not None and asked_bps > limit_bps:
                    asked, allowed = RATE.format(asked_bps), RATE.format(limit_bps)
                    yield Refusal(
                        port, f"{what} ask for {asked} on the wire; their limit is {allowed}", _by_rate(members)
                    )

    def _limits(self, port: Port, channels: list[Channel]) -> Iterator[tuple[str, int | None, list[Channel]]]:
        if port.is_uplink:
            yield "all channels together", self.network.hypervisors[port.node].uplink.limit_bps, channels
        for each in self.network.classes:
            if each.limit_bps is not None:
                members = [channel for channel in channels if channel.deadline_class == each]
                yield f"the channels of class '{each.name}'", each.limit_bps, members

    def _overloaded(self) -> Iterator[Refusal]:
        """Ports without a shim at which nothing limits the delay."""
        for port, bounds in self._class_bounds.items():
            if None in bounds.values():
                channels = self.ports[port]
                asked = RATE.format(sum(channel.wire_rate_bps for channel in channels))
                what = f"channels ask for {asked} on the wire of the {RATE.format(self.rate_bps(port))} that it carries"
                yield Refusal(port, what, _by_rate(channels))

    def _used_up(self) -> Iterator[Refusal]:
        """Channels that lose their deadline where no shim can help."""
        for name, way in self.ways.items():
            channel = self.network.channels[name]
            is_at_shim = self.server(way[0]) is Server.EDF
            if self.downstream_ns(channel) + is_at_shim > channel.deadline_ns:
                spent = [f"{DURATION.format(self._allowance_ns(channel))} for the host"]
                spent += [f"{DURATION.format(bound or 0)} at {port}" for port, bound in self._without_shims(channel)]
                when = " before its shim has any" if is_at_shim else ""
                yield Refusal(name, f"its deadline is used up{when}: {', '.join(spent)}", (name,))

    def _short(self) -> Iterator[Refusal]:
        """Uplinks whose shim cannot keep all deadlines."""
        for port in self.shims:
            if found := shortage(self.edf_link(port), self.demands(port)):
                yield Refusal(port, _lack(found), found.heaviest)


@dataclass(frozen=True)
class Source:
    """What arrives by one link: no faster than `link_bps`, in the long run at `rate_bps`, `burst_bytes` at once."""

    link_bps: int
    rate_bps: int
    burst_bytes: int

    def bits(self, t_ns: Fraction) -> Fraction:
        """At most in any `t_ns`, with a frame that has just come in whole."""
        fast = 8 * FULL_LABELLED_FRAME_BYTES + self.link_bps * t_ns / NS_PER_S
        return min(fast, 8 * self.burst_bytes + self.rate_bps * t_ns / NS_PER_S)

    @property
    def bend_ns(self) -> Fraction:
        """Until when it may come as fast as the link can."""
        queued_bits = 8 * max(0, self.burst_bytes - FULL_LABELLED_FRAME_BYTES)
        return Fraction(queued_bits * NS_PER_S, max(1, self.link_bps - self.rate_bps))


def plain_bound_ns(rate_bps: int, sources: Sequence[Source]) -> int | None:
    """The longest that a packet takes through a port with one queue for all real-time traffic, which goes first.

    Best effort can only have begun a frame. None: nothing limits it.
    """
    if sum(source.rate_bps for source in sources) >= rate_bps:
        return None
    worst_ns = Fraction(0)
    for t_ns in [Fraction(0), *(source.bend_ns for source in sources)]:
        bits = 8 * FULL_FRAME_BYTES + sum((source.bits(t_ns) for source in sources), Fraction(0))
        worst_ns = max(worst_ns, bits * NS_PER_S / rate_bps - t_ns)
    return -(-worst_ns.numerator // worst_ns.denominator)


def demand(channel: Channel, downstream_ns: int = 0) -> Demand:
    """What `channel` asks of a shim that has its deadline less `downstream_ns`."""
    deadline_ns = channel.deadline_ns - downstream_ns
    return Demand(channel.name, deadline_ns, channel.wire_rate_bps, channel.wire_burst_bytes)


def _ways(network: Network) -> dict[str, tuple[Port, ...]]:
    """By the channels that cross an uplink and are scheduled: the ports that they leave by."""
    by_ends = {
        ends: tuple(Port(node, peer, node in network.hypervisors) for node, peer in pairwise(nodes))
        for ends, nodes in ways(network).items()
    }
    return {
        channel.name: by_ends[network.talker_domain(channel), network.listener_domain(channel) or channel.listener]
        for channel in network.channels.values()
        if not network.is_local(channel) and network.is_scheduled(channel)
    }


def _arriving_bytes(channel: Channel, is_first: bool) -> int:
    """With how large a burst the channel arrives at a port, the first one on its way or a later one."""
    waited_bits = channel.wire_rate_bps * channel.deadline_ns // NS_PER_S
    return channel.wire_burst_bytes + (0 if is_first else -(-waited_bits // 8))


def _by_rate(channels: Sequence[Channel]) -> tuple[str, ...]:
    return tuple(each.name for each in sorted(channels, key=lambda each: -each.wire_rate_bps)[:_HEAVIEST_TOLD])


def _lack(found: Shortage) -> str:
    when = "each second" if found.t_ns is None else f"in the worst {DURATION.format(found.t_ns)}"
    return f"not all deadlines can be kept: {when} it is asked for {found.missing_bits:,} bits more than it sends"
