"""Class queues: which part of a port's rate each deadline class gets, and what delay that assures.

Pure. Every queue has a floor. What is left goes to the classes in proportion to what they need: their channels' rates,
or what sends their bursts within the shortest of their deadlines, whichever is more; a class gets no more than its
limit. HTB serves queues that are within their rate and burst by priority, and the shortest deadlines have the highest.
Each queue has room for all that its channels' contracts let come, so as long as they are kept it is always within: the
port is one of static priorities (Le Boudec and Thiran, Network Calculus, section 1.3), where a class waits for a frame
that has begun and for all that goes before it. Whoever breaks a contract is held to the share of its class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from controller.model import FULL_LABELLED_FRAME_BYTES, DeadlineClass
from controller.units import NS_PER_S

FLOOR_DIVISOR = 100
"""Each queue is sure of at least 1 % of the link, so that none starves."""


@dataclass(frozen=True)
class Asked:
    """What the channels of one class ask of a port together.

    `burst_bytes` is that of their contracts, `arriving_bytes` what of them may come at once; `shortest_ns` is the
    shortest of their deadlines.
    """

    rate_bps: int
    burst_bytes: int
    arriving_bytes: int
    shortest_ns: int

    @property
    def need_bps(self) -> int:
        return max(self.rate_bps, 8 * self.burst_bytes * NS_PER_S // self.shortest_ns)


@dataclass(frozen=True)
class Share:
    """What one class has of a port: a rate, and room for all of its packets that may wait at once."""

    rate_bps: int
    burst_bytes: int


@dataclass(frozen=True)
class Before:
    """What goes before a class: `bits` at once, the frame that has begun among them, and then all but `left_bps`."""

    bits: int
    left_bps: int

    def lasts_ns(self, more_bits: int = 0) -> int:
        """Until it has gone, and `more_bits` of the class itself; rounded up."""
        return -(-(self.bits + more_bits) * NS_PER_S // self.left_bps)


def by_priority(classes: Iterable[DeadlineClass]) -> list[DeadlineClass]:
    """The shortest deadlines go first."""
    return sorted(classes, key=attrgetter("up_to_ns"))


def shares(rate_bps: int, classes: Sequence[DeadlineClass], asked: Mapping[str, Asked]) -> dict[str, Share]:
    """By class, its share of a port of `rate_bps`; `asked` tells of the classes that have channels there.

    Together with best effort's floor they are at most the port's rate; a class without channels has the floor alone.
    """
    floor_bps = rate_bps // FLOOR_DIVISOR
    needs_bps = {name: each.need_bps for name, each in asked.items()}
    left_bps, needed_bps = rate_bps - floor_bps * (1 + len(classes)), max(1, sum(needs_bps.values()))
    before = _before_each(rate_bps, classes, asked)
    return {
        each.name: Share(
            rate_bps=min(floor_bps + left_bps * needs_bps.get(each.name, 0) // needed_bps, each.limit_bps or rate_bps),
            burst_bytes=_room_bytes(asked[each.name], before[each.name]) if each.name in asked else 0,
        )
        for each in classes
    }


def class_bounds_ns(
    rate_bps: int, classes: Sequence[DeadlineClass], asked: Mapping[str, Asked]
) -> dict[str, int | None]:
    """By class of `asked`, the longest that a packet takes through the queue of its class.

    None where nothing limits it: for a class that asks for more than its share, and for all that come after it.
    """
    given = shares(rate_bps, classes, asked)
    bounds: dict[str, int | None] = dict.fromkeys(asked)
    for name, before in _before_each(rate_bps, classes, asked).items():
        if asked[name].rate_bps > given[name].rate_bps:
            break
        bounds[name] = before.lasts_ns(8 * asked[name].arriving_bytes)
    return bounds


def come_bits(asked: Iterable[Asked], t_ns: int) -> int:
    """What may have come within `t_ns` of the worst moment, with the frame that has just begun; rounded up."""
    at_once_bits, rate_bps = 8 * FULL_LABELLED_FRAME_BYTES, 0
    for each in asked:
        at_once_bits += 8 * each.arriving_bytes
        rate_bps += each.rate_bps
    return at_once_bits - (-rate_bps * t_ns // NS_PER_S)


def _before_each(rate_bps: int, classes: Sequence[DeadlineClass], asked: Mapping[str, Asked]) -> dict[str, Before]:
    """By class of `asked`, the highest priority first."""
    found = {}
    bits, left_bps = 8 * FULL_LABELLED_FRAME_BYTES, rate_bps
    for each in by_priority(classes):
        if each.name in asked:
            found[each.name] = Before(bits, left_bps)
            bits += 8 * asked[each.name].arriving_bytes
            left_bps = max(1, left_bps - asked[each.name].rate_bps)
    return found


def _room_bytes(asked: Asked, before: Before) -> int:
    """What of a class may wait, and then leave at once: what arrives at once, and what comes while others go first."""
    waits_ns = min(before.lasts_ns(), asked.shortest_ns)  # else it is refused
    return asked.arriving_bytes - (-asked.rate_bps * waits_ns // (8 * NS_PER_S))
