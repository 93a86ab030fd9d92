"""Which channels leave by which ports, in bundles.

Pure. Traffic is never changed: with other channels it is another one, which shares with this all ports that the
difference does not touch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import is_not

from controller.admission.bundle import Bundle
from controller.admission.paths import Ends, Paths, Port
from controller.admission.queues import Asked
from controller.model import Channel

Line = tuple[Ends, str]
"""Names a bundle: its ends, and its class."""


@dataclass(frozen=True)
class Traffic:
    """What `channels` ask of the ports along their `paths`: of none, if no channels are given."""

    paths: Paths
    channels: Mapping[str, Channel] = field(default_factory=dict)
    bundles: Mapping[Port, Mapping[Line, Bundle]] = field(default_factory=dict)

    def changed(self, channels: Mapping[str, Channel]) -> Traffic:
        """That of `channels`."""
        gone = self._by_line(_missing(self.channels, channels))
        come = self._by_line(_missing(channels, self.channels))
        others = {line: self._bundle(line).changed(gone[line], come[line]) for line in [*(gone.keys() | come.keys())]}
        bundles = {**self.bundles, **self._with(others)}
        return Traffic(self.paths, channels, {port: lines for port, lines in bundles.items() if lines})

    def touched(self, before: Traffic) -> set[Port]:
        """The ports at which it is not as `before`, of which it is a change."""
        ports = self.bundles.keys() | before.bundles.keys()
        return {port for port in ports if self.bundles.get(port) is not before.bundles.get(port)}

    def at(self, port: Port) -> Collection[Bundle]:
        return self.bundles.get(port, {}).values()

    def asked(self, port: Port) -> dict[str, Asked]:
        """By class that has channels there, what they ask of `port`."""
        by_class: dict[str, list[Bundle]] = defaultdict(list)
        for bundle in self.at(port):
            by_class[bundle.class_name].append(bundle)
        return {name: _asked(bundles, port.is_uplink) for name, bundles in by_class.items()}

    def _by_line(self, channels: Iterable[Channel]) -> defaultdict[Line, list[Channel]]:
        lines: defaultdict[Line, list[Channel]] = defaultdict(list)
        for channel in channels:
            if self.paths.way(channel):
                lines[self.paths.ends(channel), channel.deadline_class.name].append(channel)
        return lines

    def _bundle(self, line: Line) -> Bundle:
        """Without channels, if there is none yet."""
        ends, class_name = line
        way = self.paths.between(ends)
        return self.bundles.get(way[0], {}).get(line) or Bundle(way, class_name)

    def _with(self, others: Mapping[Line, Bundle]) -> dict[Port, dict[Line, Bundle]]:
        """The ports that `others` touch, with these in place, and without those that have no channels."""
        ports = {port: dict(self.bundles.get(port, {})) for bundle in others.values() for port in bundle.way}
        for line, bundle in others.items():
            for port in bundle.way:
                ports[port][line] = bundle
        return {port: {line: each for line, each in lines.items() if each.demands} for port, lines in ports.items()}


def _missing(channels: Mapping[str, Channel], there: Mapping[str, Channel]) -> list[Channel]:
    """Those of `channels` that are not `there`, or not the same. Most are, and then the very same object."""
    others = compress(channels.values(), map(is_not, channels.values(), map(there.get, channels)))
    return [each for each in others if there.get(each.name) != each]


def _asked(bundles: Sequence[Bundle], is_first: bool) -> Asked:
    """What `bundles` ask of a port, the first one on their way or a later one."""
    burst_bytes = sum(bundle.burst_bytes for bundle in bundles)
    return Asked(
        rate_bps=sum(bundle.rate_bps for bundle in bundles),
        burst_bytes=burst_bytes,
        arriving_bytes=burst_bytes if is_first else sum(bundle.arriving_bytes for bundle in bundles),
        shortest_ns=min(bundle.shortest_ns for bundle in bundles),
    )
