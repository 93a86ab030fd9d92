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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from operator import attrgetter, itemgetter

from controller.model import FULL_LABELLED_FRAME_BYTES
from controller.network.labels import MAX_DEADLINE_NS
from controller.units import NS_PER_S

_HEAVIEST_TOLD = 3
_BYTE = 8 * NS_PER_S
"""As a volume."""


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
    """A link that a shim schedules.

    `be_frame_bytes` is the largest frame that goes when nothing is urgent. That is not only best effort's: a postponed
    one of a channel is due later than its deadline says, and a late one gives way as best effort does.
    """

    name: str
    rate_bps: int
    be_slack_ns: int
    be_frame_bytes: int = FULL_LABELLED_FRAME_BYTES


@dataclass(frozen=True)
class Shortage:
    """At `t_ns` after the worst moment the link lacks `missing_bits`; `heaviest` names the demands that weigh most.

    `t_ns` is None where the rates alone are too much; then `missing_bits` are those of a second.
    """

    link: str
    t_ns: int | None
    missing_bits: int
    heaviest: tuple[str, ...]


Due = tuple[int, int, int, int]
"""What demands with one deadline ask together: the deadline, no longer than the slack of the link, their rate, their
burst and their largest frame."""


def shortage(link: EdfLink, demands: Sequence[Demand]) -> Shortage | None:
    """Where the link falls short most; None if it keeps every deadline. O(n log n)."""
    due = _due(link, demands)
    if are_kept(link, due):
        return None
    total_bps = sum(demand.rate_bps for demand in demands)
    if total_bps >= link.rate_bps:
        within_ns = max(NS_PER_S, link.be_slack_ns)  # by then all of them are due
        return Shortage(link.name, None, total_bps - link.rate_bps + 1, _heaviest(link, demands, within_ns))
    worst, t_ns = max(_lacks(link, due))
    return Shortage(link.name, t_ns, -(-worst // NS_PER_S), _heaviest(link, demands, t_ns))


def are_kept(link: EdfLink, due: Iterable[Due]) -> bool:
    """Whether the link keeps every deadline of `due`, in whichever order they are given."""
    by_deadline = sorted(due)
    if sum(map(itemgetter(1), by_deadline)) >= link.rate_bps:
        return False
    return _is_roomy(link, by_deadline) or all(lack <= 0 for lack, _ in _lacks(link, by_deadline))


def is_admitted(link: EdfLink, demands: Sequence[Demand]) -> bool:
    return are_kept(link, _due(link, demands))


def smallest_slack_ns(link: EdfLink, demands: Sequence[Demand]) -> int | None:
    """The smallest best-effort slack with which all are admitted: best effort then gets all it can have; None: none."""
    largest_ns = max((demand.deadline_ns for demand in demands), default=0)
    return first(range(1, largest_ns + 1), lambda slack_ns: is_admitted(replace(link, be_slack_ns=slack_ns), demands))


def delay_bounds_ns(link: EdfLink, demands: Sequence[Demand]) -> dict[str, int]:
    """By name, the longest that a packet of each demand takes; nothing if the link cannot keep all deadlines.

    All that is due within t of the worst moment has left before that by what the link has room for at t. A packet is
    counted at its own deadline and at all longer ones, so the least room of these is its own.
    """
    if not is_admitted(link, demands):
        return {}
    longest_first = sorted(demands, key=attrgetter("deadline_ns"), reverse=True)
    bounds, room_ns = {}, MAX_DEADLINE_NS
    for demand, (lack, _) in zip(longest_first, _lacks(link, _due(link, demands)), strict=True):
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
    return _BYTE * size_bytes


def _due(link: EdfLink, demands: Iterable[Demand]) -> list[Due]:
    """`demands` one by one, the shortest deadline first."""
    return sorted((_deadline_ns(link, each), each.rate_bps, each.burst_bytes, each.frame_bytes) for each in demands)


def _deadline_ns(link: EdfLink, demand: Demand) -> int:
    """What a packet may find itself with, once best effort has taken the slack that it has."""
    return min(demand.deadline_ns, link.be_slack_ns)


def _is_roomy(link: EdfLink, due: Sequence[Due]) -> bool:
    """Whether `due`, which ascend, have room even if the largest frame of all may have begun before each deadline.

    Nearly always the same answer as that of `_lacks`, sooner.
    """
    room = -_volume(max([link.be_frame_bytes, *map(itemgetter(3), due)]))
    left_bps, last_ns = link.rate_bps, 0
    for t_ns, rate_bps, burst_bytes, _ in due:
        room += left_bps * (t_ns - last_ns) - _BYTE * burst_bytes
        if room < 0:
            return False
        left_bps -= rate_bps
        last_ns = t_ns
    return True


def _lacks(link: EdfLink, due: Sequence[Due]) -> Iterator[tuple[int, int]]:
    """At each deadline what the link lacks, negative where it has room, and the deadline: from the last of `due`, which
    ascend, to the first.

    What is asked is constant + rate * t. A frame with a later deadline may have begun before, the largest at worst.
    """
    rate_bps = sum(each_bps for _, each_bps, _, _ in due)
    constant = sum(_volume(burst_bytes) - each_bps * t_ns for t_ns, each_bps, burst_bytes, _ in due)
    last_ns, begun_bytes, largest_bytes = None, link.be_frame_bytes, link.be_frame_bytes
    for t_ns, each_bps, burst_bytes, frame_bytes in reversed(due):
        if t_ns != last_ns:
            last_ns, begun_bytes = t_ns, largest_bytes
        yield constant + _volume(begun_bytes) - (link.rate_bps - rate_bps) * t_ns, t_ns
        constant -= _volume(burst_bytes) - each_bps * t_ns
        rate_bps -= each_bps
        largest_bytes = max(largest_bytes, frame_bytes)


def _heaviest(link: EdfLink, demands: Sequence[Demand], t_ns: int) -> tuple[str, ...]:
    """The demands of which most may have to be sent within `t_ns`."""
    volumes = (
        (-_volume(demand.burst_bytes) - demand.rate_bps * (t_ns - _deadline_ns(link, demand)), demand.name)
        for demand in demands
        if _deadline_ns(link, demand) <= t_ns
    )
    return tuple(name for _, name in nsmallest(_HEAVIEST_TOLD, volumes))


def first(allowed: range, passes: Callable[[int], bool]) -> int | None:
    """The first number of `allowed` that passes, if all later ones do; None if the last one does not."""
    if not allowed or not passes(allowed[-1]):
        return None
    return allowed[bisect_left(allowed, True, key=passes)]
