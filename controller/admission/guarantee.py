"""What each channel is assured of along its way, and what of it the network cannot keep.

Pure. A way is a row of ports: the uplink of the talker's hypervisor, then a port of each switch. A shim orders an
uplink by deadline; elsewhere a class queue, or a plain switch's one queue, takes what time it takes. The rule by which
a deadline is split: every hop without a shim takes its bound, the talker's host its allowance, and the stamp a tick,
first; what remains is the deadline at the uplink's shim, which is told of them (`downstream_ns`, the stamp's tick
included, and `allowance_ns`). So a deadline that is kept at the uplink is kept at the end, and the shim, which alone
can choose, has all the time to choose in.

At the uplink a channel is as its contract says. Further on it may come in a larger burst, for its packets may have
waited up to its deadline: by its rate times that.

One channel more or less changes the bounds at the ports on its way, and with them what shims before these ports have
left. All else stays as it was, and is taken over from the guarantees before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from heapq import nsmallest
from itertools import chain
from operator import attrgetter

from controller.admission.bundle import ROOM_PACKETS, Bundle
from controller.admission.condition import Demand, Shortage, are_kept, asked_bits, delay_bounds_ns, shortage
from controller.admission.paths import Paths, Port, Server, Way
from controller.admission.queues import class_bounds_ns, come_bits
from controller.admission.traffic import Traffic
from controller.model import FULL_FRAME_BYTES, FULL_LABELLED_FRAME_BYTES, Channel, Network
from controller.units import DURATION, NS_PER_S, RATE

_HEAVIEST_TOLD = 3


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
    """What cannot be kept `at` a port, or for the channel of that name. `heaviest` weigh most there.

    `cure`: what helps where neither another deadline nor another rate of the first of them does.
    """

    at: Port | str
    what: str
    heaviest: tuple[str, ...]
    cure: str = "take channels away, or a faster link"


Bounds = Mapping[str, int | None]
"""By class, the longest that a packet takes at a port that no shim schedules; None: nothing limits it."""


ToldBounds = Mapping[tuple[str, str], Bounds]
"""The same of many ports, by node and peer."""


class Guarantees:
    """All that `network` can assure.

    Whoever does not know all channels needs the `told` bounds of ports that no shim schedules, from one who does. With
    `before`, the guarantees of a network that differs by some channels, told others or not, it takes little more than
    what the difference touches. The result is the same, and `before` stays as it is.
    """

    def __init__(self, network: Network, before: Guarantees | None = None, told: ToldBounds | None = None) -> None:
        known = before if before and before.paths.are_of(network) else None
        self.network = network
        self._told: ToldBounds = told or {}
        self.paths: Paths = known.paths if known else Paths(network)
        traffic = known.traffic if known else Traffic(self.paths)
        self.traffic: Traffic = traffic.changed(network.channels)
        self._bounds: dict[Port, Bounds] = dict(known._bounds) if known else {}
        self._verdicts: dict[Port, tuple[Refusal, ...]] = dict(known._verdicts) if known else {}
        self._forget(self.traffic.touched(traffic) | self._told_otherwise(known))

    @property
    def bounds(self) -> Mapping[Port, Bounds]:
        """Of the ports that channels leave by and that no shim schedules."""
        return self._bounds

    @cached_property
    def by_channel(self) -> dict[str, Guarantee]:
        """The channels that cross an uplink and are scheduled, in the order of the file."""
        at_shims = {port: delay_bounds_ns(self.paths.edf_link(port), self.demands(port)) for port in self.shims}
        return {name: self._guarantee(self.network.channels[name], at_shims) for name in self.ways}

    @cached_property
    def refusals(self) -> list[Refusal]:
        """What the network cannot keep, port by port; nothing if it keeps all."""
        for port in self.traffic.bundles.keys() - self._verdicts.keys():
            self._verdicts[port] = tuple(self._refusals_at(port))
        return [*chain.from_iterable(self._verdicts.get(port, ()) for port in self.paths.ports)]

    @cached_property
    def ways(self) -> dict[str, Way]:
        """By the channels that cross an uplink and are scheduled: the ports that they leave by."""
        return {name: way for name, each in self.network.channels.items() if (way := self.paths.way(each))}

    @cached_property
    def ports(self) -> dict[Port, list[Channel]]:
        """The ports that channels leave by, and which, both in the order of the file."""
        ports: dict[Port, list[Channel]] = defaultdict(list)
        for name, way in self.ways.items():
            for port in way:
                ports[port].append(self.network.channels[name])
        return dict(ports)

    @cached_property
    def shims(self) -> list[Port]:
        """The ports that a shim schedules."""
        return [port for port in self.ports if self.paths.server(port) is Server.EDF]

    def demands(self, port: Port) -> list[Demand]:
        """What the channels that leave by `port` ask of its shim, save those that have no time left there; by name."""
        left = chain.from_iterable(bundle.left(taken_ns) for bundle, taken_ns in self._begun(port))
        return sorted(left, key=attrgetter("name"))

    def asked_bits(self, port: Port) -> Callable[[int], int]:
        """By t in ns, what `port` may have to send within t of the worst moment, with the frame that has just begun.

        At a shim that is what is due by then; elsewhere what may have come by then, and waits if it is too much.
        """
        server = self.paths.server(port)
        if server is Server.EDF:
            return partial(asked_bits, self.paths.edf_link(port), self.demands(port))
        if server is Server.QUEUES:
            return partial(come_bits, self.traffic.asked(port).values())
        return partial(plain_come_bits, self._sources(port))

    def downstream_ns(self, channel: Channel) -> int:
        """What of the channel's deadline hops without a shim take: the same for all of a class between two ends."""
        return self._downstream_ns(self.paths.way(channel), channel.deadline_class.name)

    def _told_otherwise(self, known: Guarantees | None) -> set[Port]:
        """The ports that channels leave by, for which other bounds are told than `known` was."""
        before = known._told if known else {}
        ends = {port: (port.node, port.peer) for port in self.traffic.bundles}
        return {port for port, each in ends.items() if self._told.get(each) != before.get(each)}

    def _forget(self, touched: set[Port]) -> None:
        """The verdicts that may be other ones, now that the traffic at `touched` is, or the bounds that are told."""
        before_rebound = {bundle.way[0] for port in self._rebound(touched) for bundle in self.traffic.at(port)}
        for port in touched | before_rebound:
            self._verdicts.pop(port, None)

    def _rebound(self, touched: Iterable[Port]) -> list[Port]:
        """Those of `touched` at which bounds are other ones than before, which are then known."""
        rebound = []
        for port in touched:
            bounds = self._bounds_at(port)
            if self._bounds.pop(port, {}) != bounds:
                rebound.append(port)
            if bounds:
                self._bounds[port] = bounds
        return rebound

    def _begun(self, uplink: Port) -> list[tuple[Bundle, int]]:
        """What begins its way at `uplink`, with what of its deadlines is not for a shim to use."""
        return [(each, self._taken_ns(each.way, each.class_name)) for each in self.traffic.at(uplink)]

    def _guarantee(self, channel: Channel, at_shims: Mapping[Port, Mapping[str, int]]) -> Guarantee:
        way = self.ways[channel.name]
        bounds = dict(self._without_shims(way, channel.deadline_class.name))
        bounds |= {port: found.get(channel.name) for port, found in at_shims.items() if port in way}
        hops = tuple(Hop(port, self.paths.server(port), bounds[port]) for port in way)
        return Guarantee(channel, self.paths.allowance_ns(way), hops)

    def _taken_ns(self, way: Way, class_name: str) -> int:
        """What of a deadline is not for a shim to use."""
        return self.paths.allowance_ns(way) + self._downstream_ns(way, class_name)

    def _downstream_ns(self, way: Way, class_name: str) -> int:
        bounds_ns = (bound_ns or 0 for _, bound_ns in self._without_shims(way, class_name))
        return self.paths.stamp_ns(way) + sum(bounds_ns)

    def _without_shims(self, way: Way, class_name: str) -> Iterator[tuple[Port, int | None]]:
        """Along `way`, the ports that no shim schedules, with their bounds."""
        for port in way:
            if port in self._bounds:
                yield port, self._bounds[port][class_name]

    def _bounds_at(self, port: Port) -> Bounds:
        """Of the classes that have channels there; none where a shim schedules."""
        server, rate_bps = self.paths.server(port), self.paths.rate_bps(port)
        if server is Server.EDF:
            return {}
        if (told := self._told.get((port.node, port.peer))) is not None:
            return {bundle.class_name: told.get(bundle.class_name) for bundle in self.traffic.at(port)}
        if server is Server.QUEUES:
            return class_bounds_ns(rate_bps, self.network.classes, self.traffic.asked(port))
        bound_ns = plain_bound_ns(rate_bps, self._sources(port))
        return {bundle.class_name: bound_ns for bundle in self.traffic.at(port)}

    def _sources(self, port: Port) -> list[Source]:
        """What arrives for `port`, by the port that sends it there."""
        sources: dict[Port, list[Bundle]] = defaultdict(list)
        for bundle in self.traffic.at(port):
            sources[bundle.way[bundle.way.index(port) - 1]].append(bundle)
        return [
            Source(
                link_bps=self.paths.rate_bps(before),
                rate_bps=sum(bundle.rate_bps for bundle in bundles),
                burst_bytes=sum(bundle.arriving_bytes for bundle in bundles),
            )
            for before, bundles in sources.items()
        ]

    def _refusals_at(self, port: Port) -> Iterator[Refusal]:
        """What `port` cannot keep, and which of the channels that begin there the way cannot."""
        yield from self._over_limits(port)
        yield from self._overloaded(port)
        if port.is_uplink:
            begun = self._begun(port)
            yield from self._used_up(port, begun)
            yield from self._crowded(port)
            yield from self._short(port, begun)

    def _over_limits(self, port: Port) -> Iterator[Refusal]:
        for what, limit_bps, bundles in self._limits(port):
            asked_bps = sum(bundle.rate_bps for bundle in bundles)
            if limit_bps is not None and asked_bps > limit_bps:
                asked, allowed = RATE.format(asked_bps), RATE.format(limit_bps)
                over = f"{what} ask for {asked} on the wire; their limit is {allowed}"
                yield Refusal(port, over, _by_rate(bundles), cure="take channels away, or a higher limit")

    def _limits(self, port: Port) -> Iterator[tuple[str, int | None, Collection[Bundle]]]:
        bundles = self.traffic.at(port)
        if port.is_uplink:
            yield "all channels together", self.network.hypervisors[port.node].uplink.limit_bps, bundles
        for each in self.network.classes:
            if each.limit_bps is not None:
                members = [bundle for bundle in bundles if bundle.class_name == each.name]
                yield f"the channels of class '{each.name}'", each.limit_bps, members

    def _overloaded(self, port: Port) -> Iterator[Refusal]:
        """Where no shim schedules and nothing limits the delay."""
        if None in self._bounds.get(port, {}).values():
            bundles = self.traffic.at(port)
            asked, carried = RATE.format(sum(each.rate_bps for each in bundles)), RATE.format(self.paths.rate_bps(port))
            what = f"channels ask for {asked} on the wire of the {carried} that it carries"
            yield Refusal(port, what, _by_rate(bundles))

    def _used_up(self, port: Port, begun: Iterable[tuple[Bundle, int]]) -> Iterator[Refusal]:
        """Channels that lose their deadline where no shim can help, by name."""
        is_at_shim = self.paths.server(port) is Server.EDF
        when = " before its shim has any" if is_at_shim else ""
        lost: dict[str, str] = {}
        for bundle, taken_ns in begun:
            if least := bundle.until(taken_ns + is_at_shim - 1):
                lost |= dict.fromkeys((each.name for each in least), self._spent(bundle))
        for name, spent in sorted(lost.items()):
            yield Refusal(name, f"its deadline is used up{when}: {spent}", (name,))

    def _spent(self, bundle: Bundle) -> str:
        spent = [f"{DURATION.format(self.paths.allowance_ns(bundle.way))} for {bundle.way[0].node}'s allowance"]
        if stamp_ns := self.paths.stamp_ns(bundle.way):
            spent.append(f"{DURATION.format(stamp_ns)} for the stamp")
        for port, bound_ns in self._without_shims(bundle.way, bundle.class_name):
            spent.append(f"{DURATION.format(bound_ns or 0)} at {port}")
        return ", ".join(spent)

    def _crowded(self, port: Port) -> Iterator[Refusal]:
        """Channels that a shim has no room for, by name."""
        if self.paths.server(port) is Server.EDF:
            for name in sorted(chain.from_iterable(bundle.crowding for bundle in self.traffic.at(port))):
                count = self.network.channels[name].waiting_packets
                what = f"{count:,} of its packets may wait at its shim, which holds {ROOM_PACKETS:,} of one channel"
                yield Refusal(name, what, (name,), "a smaller burst, larger packets or a shorter deadline would do")

    def _short(self, port: Port, begun: Iterable[tuple[Bundle, int]]) -> Iterator[Refusal]:
        """Where a shim cannot keep all deadlines."""
        if self.paths.server(port) is not Server.EDF:
            return
        link = self.paths.edf_link(port)
        due = (bundle.due(taken_ns, link.be_slack_ns) for bundle, taken_ns in begun)
        if not are_kept(link, chain.from_iterable(due)) and (found := shortage(link, self.demands(port))):
            yield Refusal(port, _lack(found), found.heaviest)


@dataclass(frozen=True)
class Source:
    """What arrives by one link: no faster than `link_bps`, in the long run at `rate_bps`, `burst_bytes` at once."""

    link_bps: int
    rate_bps: int
    burst_bytes: int

    @property
    def begins_bits(self) -> int:
        """What of it may be there at once: a frame that has just come in whole."""
        return 8 * min(FULL_LABELLED_FRAME_BYTES, self.burst_bytes)

    @property
    def bend_ns(self) -> Fraction:
        """Until when it may come as fast as the link can."""
        queued_bits = 8 * self.burst_bytes - self.begins_bits
        return Fraction(queued_bits * NS_PER_S, max(1, self.link_bps - self.rate_bps))

    def come_bits(self, t_ns: int) -> int:
        """What of it may be there after `t_ns`; rounded up."""
        by_link_bits = self.begins_bits - (-self.link_bps * t_ns // NS_PER_S)
        return min(by_link_bits, 8 * self.burst_bytes - (-self.rate_bps * t_ns // NS_PER_S))


def plain_bound_ns(rate_bps: int, sources: Sequence[Source]) -> int | None:
    """The longest that a packet takes through a port with one queue for all real-time traffic, which goes first.

    Best effort can only have begun a frame. What is queued grows as long as more comes than is sent, so it is largest
    where a source bends. None: nothing limits it.
    """
    if sum(source.rate_bps for source in sources) >= rate_bps:
        return None
    queued_bits = Fraction(8 * FULL_FRAME_BYTES + sum(source.begins_bits for source in sources))
    coming_bps = sum(source.link_bps for source in sources)
    last_ns = Fraction(0)
    for source in sorted(sources, key=attrgetter("bend_ns")):
        if coming_bps <= rate_bps:
            break
        queued_bits += (coming_bps - rate_bps) * (source.bend_ns - last_ns) / NS_PER_S
        coming_bps -= max(0, source.link_bps - source.rate_bps)
        last_ns = source.bend_ns
    return -(-queued_bits.numerator * NS_PER_S // (queued_bits.denominator * rate_bps))


def plain_come_bits(sources: Iterable[Source], t_ns: int) -> int:
    """What may have come to such a port within `t_ns` of the worst moment, with the frame that has just begun."""
    return 8 * FULL_FRAME_BYTES + sum(source.come_bits(t_ns) for source in sources)


def _by_rate(bundles: Iterable[Bundle]) -> tuple[str, ...]:
    rates = ((-each.rate_bps, each.name) for bundle in bundles for each in bundle.demands)
    return tuple(name for _, name in nsmallest(_HEAVIEST_TOLD, rates))


def _lack(found: Shortage) -> str:
    when = "each second" if found.t_ns is None else f"in the worst {DURATION.format(found.t_ns)}"
    return f"not all deadlines can be kept: {when} it is asked for {found.missing_bits:,} bits more than it sends"
