"""Channels that fare alike: those of one class between two ends.

Pure. They leave by the same ports and wait there equally long, so what they ask is added up once, and their deadlines,
kept in order, move together. A bundle is never changed: with other channels it is another one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from controller.admission.condition import Demand, Due
from controller.admission.paths import Way
from controller.model import Channel
from controller.network.labels import TICK_NS
from controller.units import NS_PER_S

ROOM_PACKETS = 8192
"""What a shim holds of one channel at most: half of its room."""

_by_deadline = attrgetter("deadline_ns")


@dataclass(frozen=True)
class Bundle:
    """What channels of `class_name` ask together along `way`. `demands` have the deadlines that their labels say, whole
    ones, the shortest first.

    `burst_bytes` is that of the contracts. At a port behind the first `arriving_bytes` may come at once: packets have
    waited for up to their deadline. `crowding` are the names of those of which more packets may wait than a shim holds.
    """

    way: Way
    class_name: str
    demands: Sequence[Demand] = ()
    rate_bps: int = 0
    burst_bytes: int = 0
    arriving_bytes: int = 0
    crowding: frozenset[str] = frozenset()

    def changed(self, gone: Collection[Channel], come: Collection[Channel]) -> Bundle:
        """The same without the channels that are `gone`, with those that `come`."""
        names = {channel.name for channel in gone}
        stay = [each for each in self.demands if each.name not in names] if names else self.demands
        less, more = [_demand(channel) for channel in gone], [_demand(channel) for channel in come]
        return replace(
            self,
            demands=sorted([*stay, *more], key=_by_deadline),
            rate_bps=self.rate_bps + _difference(more, less, lambda each: each.rate_bps),
            burst_bytes=self.burst_bytes + _difference(more, less, lambda each: each.burst_bytes),
            arriving_bytes=self.arriving_bytes + _difference(more, less, _arriving_bytes),
            crowding=self.crowding - names | {each.name for each in come if each.waiting_packets > ROOM_PACKETS},
        )

    @property
    def shortest_ns(self) -> int:
        return self.demands[0].deadline_ns

    def until(self, deadline_ns: int) -> Sequence[Demand]:
        """Those with a deadline of `deadline_ns` or less."""
        return self.demands[: bisect_right(self.demands, deadline_ns, key=_by_deadline)]

    def left(self, taken_ns: int) -> list[Demand]:
        """What is asked of a shim that has the deadlines less `taken_ns`, save by those that have no time left."""
        first = bisect_right(self.demands, taken_ns, key=_by_deadline)
        return [
            Demand(each.name, each.deadline_ns - taken_ns, each.rate_bps, each.burst_bytes, each.frame_bytes)
            for each in self.demands[first:]
        ]

    def due(self, taken_ns: int, slack_ns: int) -> Iterator[Due]:
        """What is `left`, added up where it has more time than `slack_ns`, for it counts as due then."""
        first = bisect_right(self.demands, taken_ns, key=_by_deadline)
        cut = bisect_left(self.demands, taken_ns + slack_ns, lo=first, key=_by_deadline)
        for each in self.demands[first:cut]:
            yield each.deadline_ns - taken_ns, each.rate_bps, each.burst_bytes, each.frame_bytes
        if rest := self.demands[cut:]:
            frame_bytes = max(each.frame_bytes for each in rest)
            yield slack_ns, sum(each.rate_bps for each in rest), sum(each.burst_bytes for each in rest), frame_bytes


def _demand(channel: Channel) -> Demand:
    labelled_ns = channel.deadline_ns // TICK_NS * TICK_NS
    return Demand(channel.name, labelled_ns, channel.wire_rate_bps, channel.wire_burst_bytes)


def _difference(more: Iterable[Demand], less: Iterable[Demand], of: Callable[[Demand], int]) -> int:
    return sum(map(of, more)) - sum(map(of, less))


def _arriving_bytes(asked: Demand) -> int:
    """With how large a burst it arrives at a port behind the first."""
    waited_bits = asked.rate_bps * asked.deadline_ns // NS_PER_S
    return asked.burst_bytes - (-waited_bits // 8)
