"""Class queues: which part of a port's rate each deadline class gets, and what delay that assures.

Pure. Every queue has a floor. What is left goes to the classes in proportion to what they need: their channels' rates,
or what sends their bursts within the shortest of their deadlines, whichever is more; a class gets no more than its
limit. So each queue is a server with a rate of its own (Le Boudec and Thiran, Network
Calculus, section 1.3): what comes at once is gone after burst / rate, and the round of the other queues, one frame
each, is the latency before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """What one class has of a port: a rate, and room for a burst."""

    rate_bps: int
    burst_bytes: int


def shares(rate_bps: int, classes: Sequence[DeadlineClass], asked: Mapping[str, Asked]) -> dict[str, Share]:
    """By class, its share of a port of `rate_bps`; `asked` tells of the classes that have channels there.

    Together with best effort's floor they are at most the port's rate; a class without channels has the floor alone.
    """
    floor_bps = rate_bps // FLOOR_DIVISOR
    needs_bps = {name: each.need_bps for name, each in asked.items()}
    left_bps, needed_bps = rate_bps - floor_bps * (1 + len(classes)), max(1, sum(needs_bps.values()))
    return {
        each.name: Share(
            rate_bps=min(floor_bps + left_bps * needs_bps.get(each.name, 0) // needed_bps, each.limit_bps or rate_bps),
            burst_bytes=asked[each.name].burst_bytes if each.name in asked else 0,
        )
        for each in classes
    }


def class_bounds_ns(
    rate_bps: int, classes: Sequence[DeadlineClass], asked: Mapping[str, Asked]
) -> dict[str, int | None]:
    """By class of `asked`, the longest that a packet takes through the queue of its class; None: no limit."""
    given = shares(rate_bps, classes, asked)
    latency_ns = -(-8 * FULL_LABELLED_FRAME_BYTES * (1 + len(asked)) * NS_PER_S // rate_bps)
    bounds: dict[str, int | None] = {}
    for name, each in asked.items():
        share_bps = given[name].rate_bps
        is_enough = each.rate_bps <= share_bps
        bounds[name] = latency_ns - (-8 * each.arriving_bytes * NS_PER_S // share_bps) if is_enough else None
    return bounds
