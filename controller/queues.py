"""Class queues: which part of a port's rate each deadline class gets, and what delay that assures.

Pure. Every queue has a floor. What is left goes to the classes in proportion to what they need: their channels' rates,
or what sends their bursts within the shortest of their deadlines, whichever is more; a class gets no more than its
limit. So each queue is a server with a rate of its own (Le Boudec and Thiran, Network
Calculus, section 1.3): what comes at once is gone after burst / rate, and the round of the other queues, one frame
each, is the latency before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.model import FULL_LABELLED_FRAME_BYTES, Channel, DeadlineClass
from controller.units import NS_PER_S

FLOOR_DIVISOR = 100
"""Each queue is sure of at least 1 % of the link, so that none starves."""


@dataclass(frozen=True)
class Share:
    """What one class has of a port: a rate, and room for a burst."""

    rate_bps: int
    burst_bytes: int


def shares(rate_bps: int, classes: Sequence[DeadlineClass], channels: Iterable[Channel]) -> dict[str, Share]:
    """By class, its share of a port of `rate_bps` that `channels` leave by. Together with best effort's floor they
    are at most the port's rate; a class without channels has the floor alone."""
    floor_bps = rate_bps // FLOOR_DIVISOR
    by_class: dict[str, list[Channel]] = {each.name: [] for each in classes}
    for channel in channels:
        by_class[channel.deadline_class.name].append(channel)
    needs = {name: _need_bps(members) if members else 0 for name, members in by_class.items()}
    left_bps, needed_bps = rate_bps - floor_bps * (1 + len(classes)), max(1, sum(needs.values()))
    return {
        each.name: Share(
            rate_bps=min(floor_bps + left_bps * needs[each.name] // needed_bps, each.limit_bps or rate_bps),
            burst_bytes=sum(channel.wire_burst_bytes for channel in by_class[each.name]),
        )
        for each in classes
    }


def class_bounds_ns(
    rate_bps: int, classes: Sequence[DeadlineClass], channels: Sequence[Channel], bursts: Mapping[str, int]
) -> dict[str, int | None]:
    """By class that has channels, the longest that a packet takes through the queue of its class; None: no limit.

    `bursts` says of how many bytes the burst may be with which each of `channels` arrives.
    """
    given = shares(rate_bps, classes, channels)
    active = {channel.deadline_class.name for channel in channels}
    latency_ns = -(-8 * FULL_LABELLED_FRAME_BYTES * (1 + len(active)) * NS_PER_S // rate_bps)
    bounds: dict[str, int | None] = {}
    for name in active:
        members = [channel for channel in channels if channel.deadline_class.name == name]
        burst_bits = 8 * sum(bursts[channel.name] for channel in members)
        asked_bps = sum(channel.wire_rate_bps for channel in members)
        is_enough = asked_bps <= given[name].rate_bps
        bounds[name] = latency_ns - (-burst_bits * NS_PER_S // given[name].rate_bps) if is_enough else None
    return bounds


def _need_bps(channels: Sequence[Channel]) -> int:
    rate_bps = sum(channel.wire_rate_bps for channel in channels)
    burst_bits = 8 * sum(channel.wire_burst_bytes for channel in channels)
    shortest_ns = min(channel.deadline_ns for channel in channels)
    return max(rate_bps, burst_bits * NS_PER_S // shortest_ns)
