"""Admission: whether an uplink can keep all of its channels' deadlines, exactly, and by how much it could or cannot.

Pure. The condition is that of non-preemptive EDF over channels with a burst and a rate (Liebeherr, Wrege and Ferrari,
1996): the rates together stay below the link's, and at each deadline t what may have to be sent by then, and the
largest frame that may just have been begun, fits into what the link sends in t. Best effort goes first while all queued
packets have the slack of the link, so a packet may find itself with no more time than that: its deadline counts as the
smaller of the two.

All sizes are on the wire: frame, labels, preamble, FCS and gap. Arithmetic is exact: volumes are integers in bit/s
times ns, that is in billionths of a bit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from controller.labels import MAX_DEADLINE_NS
from controller.model import FULL_FRAME_BYTES, FULL_LABELLED_FRAME_BYTES
from controller.units import NS_PER_S

_HEAVIEST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Demand:
    """What a channel asks of a link: `burst_bytes` at once and `rate_bps` after, within `deadline_ns`.

    `frame_bytes` is its largest frame.
    """

    name: str
    deadline_ns: int
    rate_bps: int
    burst_bytes: int
    frame_bytes: int = FULL_LABELLED_FRAME_BYTES


@dataclass(frozen=True)
class EdfLink:
    """A link that a shim schedules. `be_frame_bytes` is the largest frame of best effort."""

    name: str
    rate_bps: int
    be_slack_ns: int
    be_frame_bytes: int = FULL_FRAME_BYTES


@dataclass(frozen=True)
class Shortage:
    """At `t_ns` after the worst moment the link lacks `missing_bits`; `heaviest` names the demands that weigh most.

    `t_ns` is None where the rates alone are too much; then `missing_bits` are those of a second.
    """

    link: str
    t_ns: int | None
    missing_bits: int
    heaviest: tuple[str, ...]


def shortage(link: EdfLink, demands: Sequence[Demand]) -> Shortage | None:
    """Where the link falls short most; None if it keeps every deadline. O(n log n)."""
    total_bps = sum(demand.rate_bps for demand in demands)
    if total_bps >= link.rate_bps:
        return Shortage(link.name, None, total_bps - link.rate_bps + 1, _heaviest(link, demands, NS_PER_S))
    worst, t_ns = max(_lacks(link, demands), default=(0, 0))
    if worst <= 0:
        return None
    return Shortage(link.name, t_ns, -(-worst // NS_PER_S), _heaviest(link, demands, t_ns))


def is_admitted(link: EdfLink, demands: Sequence[Demand]) -> bool:
    return shortage(link, demands) is None


def smallest_slack_ns(link: EdfLink, demands: Sequence[Demand]) -> int | None:
    """The smallest best-effort slack with which all are admitted: best effort then gets all it can have; None: none."""
    largest_ns = max((demand.deadline_ns for demand in demands), default=0)
    return first(range(1, largest_ns + 1), lambda slack_ns: is_admitted(replace(link, be_slack_ns=slack_ns), demands))


def delay_bounds_ns(link: EdfLink, demands: Sequence[Demand]) -> dict[str, int]:
    """By name, the longest that a packet of each demand takes; nothing if the link cannot keep all deadlines.

    All that is due within t of the worst moment has left before that by what the link has room for at t. A packet is
    counted at its own deadline and at all longer ones, so the least room of these is its own.
    """
    if shortage(link, demands):
        return {}
    due = sorted(((_deadline_ns(link, demand), demand) for demand in demands), key=itemgetter(0))
    bounds, room_ns = {}, MAX_DEADLINE_NS
    for (_, demand), (lack, _) in reversed(list(zip(due, _lacks(link, demands), strict=True))):
        room_ns = min(room_ns, -lack // link.rate_bps)
        bounds[demand.name] = demand.deadline_ns - room_ns
    return bounds


def asked_bits(link: EdfLink, demands: Sequence[Demand], t_ns: int) -> int:
    """What may have to be sent within `t_ns` of the worst moment, with the frame that has just begun; rounded up."""
    due = [demand for demand in demands if _deadline_ns(link, demand) <= t_ns]
    later = [demand.frame_bytes for demand in demands if _deadline_ns(link, demand) > t_ns]
    volume = sum(_volume(each.burst_bytes) + each.rate_bps * (t_ns - _deadline_ns(link, each)) for each in due)
    return -(-(volume + _volume(max([link.be_frame_bytes, *later]))) // NS_PER_S)


def _volume(size_bytes: int) -> int:
    return 8 * size_bytes * NS_PER_S


def _lacks(link: EdfLink, demands: Sequence[Demand]) -> Iterator[tuple[int, int]]:
    """At each deadline what the link lacks, negative where it has room, and the deadline."""
    due = sorted(((_deadline_ns(link, demand), demand) for demand in demands), key=itemgetter(0))
    blocking = _blocking(link, due)
    constant, rate_bps = 0, 0
    for (t_ns, demand), frame_bytes in zip(due, blocking, strict=True):
        constant += _volume(demand.burst_bytes) - demand.rate_bps * t_ns
        rate_bps += demand.rate_bps
        yield constant + _volume(frame_bytes) - (link.rate_bps - rate_bps) * t_ns, t_ns


def _deadline_ns(link: EdfLink, demand: Demand) -> int:
    """What a packet may find itself with, once best effort has taken the slack that it has."""
    return min(demand.deadline_ns, link.be_slack_ns)


def _blocking(link: EdfLink, due: Sequence[tuple[int, Demand]]) -> list[int]:
    """For each of `due`, which ascend: the largest frame with a later deadline that may have begun before."""
    blocking = [link.be_frame_bytes] * len(due)
    later, largest = link.be_frame_bytes, link.be_frame_bytes
    for index in range(len(due) - 1, -1, -1):
        if index + 1 < len(due) and due[index + 1][0] > due[index][0]:
            later = largest
        blocking[index] = later
        largest = max(largest, due[index][1].frame_bytes)
    return blocking


def _heaviest(link: EdfLink, demands: Sequence[Demand], t_ns: int) -> tuple[str, ...]:
    """The demands of which most may have to be sent within `t_ns`."""
    volumes = [
        (_volume(demand.burst_bytes) + demand.rate_bps * (t_ns - _deadline_ns(link, demand)), demand.name)
        for demand in demands
        if _deadline_ns(link, demand) <= t_ns
    ]
    return tuple(name for _, name in sorted(volumes, key=itemgetter(0), reverse=True)[:_HEAVIEST_TOLD])


def first(allowed: range, passes: Callable[[int], bool]) -> int | None:
    """The first number of `allowed` that passes, if all later ones do; None if the last one does not."""
    if not allowed or not passes(allowed[-1]):
        return None
    return allowed[bisect_left(allowed, True, key=passes)]
