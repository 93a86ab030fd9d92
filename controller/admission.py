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
from controller.model import (
    FULL_FRAME_BYTES,
    FULL_LABELLED_FRAME_BYTES,
    SHORTEST_DEADLINE_NS,
    VM_MTU,
    Channel,
    Hypervisor,
    Network,
    Scheduler,
)
from controller.units import DURATION, NS_PER_S, RATE

FULL_PAYLOAD_BYTES = VM_MTU - 28
"""Of a full packet, without its IPv4 and UDP headers."""

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


def smallest_deadline_ns(link: EdfLink, demands: Sequence[Demand], name: str) -> int | None:
    """The smallest deadline with which the demand `name` is admitted beside the others; None: none helps.

    It is one that a file may ask for.
    """
    return _smallest(
        range(SHORTEST_DEADLINE_NS, MAX_DEADLINE_NS + 1),
        lambda deadline_ns: is_admitted(
            link, _changed(demands, name, lambda demand: replace(demand, deadline_ns=deadline_ns))
        ),
    )


def largest_rate_bps(link: EdfLink, demands: Sequence[Demand], name: str) -> int | None:
    """The largest rate with which the demand `name` is admitted beside the others, its burst as it is; None: none."""
    fewest = _smallest(
        range(1, link.rate_bps),
        lambda less_bps: is_admitted(
            link, _changed(demands, name, lambda demand: replace(demand, rate_bps=link.rate_bps - less_bps))
        ),
    )
    return None if fewest is None else link.rate_bps - fewest


def smallest_slack_ns(link: EdfLink, demands: Sequence[Demand]) -> int | None:
    """The smallest best-effort slack with which all are admitted: best effort then gets all it can have; None: none."""
    largest_ns = max((demand.deadline_ns for demand in demands), default=0)
    return _smallest(
        range(1, largest_ns + 1), lambda slack_ns: is_admitted(replace(link, be_slack_ns=slack_ns), demands)
    )


def edf_link(hypervisor: Hypervisor) -> EdfLink:
    """The uplink of `hypervisor`."""
    uplink = hypervisor.uplink
    return EdfLink(f"the uplink of {hypervisor.name}", uplink.rate_bps, uplink.be_slack_ns)


def demands_on(network: Network, hypervisor: str) -> list[Demand]:
    """What the channels that leave by the uplink of `hypervisor` ask of it; nothing where it is first in, first out."""
    if network.hypervisors[hypervisor].uplink.scheduler is Scheduler.FIFO:
        return []
    return [
        demand(channel)
        for channel in network.channels.values()
        if network.talker_domain(channel) == hypervisor and not network.is_local(channel)
    ]


def demand(channel: Channel) -> Demand:
    """What `channel` asks of a link. Its rate counts the payload of full packets, its burst bytes on the wire."""
    rate_bps = -(-channel.rate_bps * FULL_LABELLED_FRAME_BYTES // FULL_PAYLOAD_BYTES)
    return Demand(channel.name, channel.deadline_ns, rate_bps, max(channel.burst_bytes, FULL_LABELLED_FRAME_BYTES))


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


def _changed(demands: Sequence[Demand], name: str, change: Callable[[Demand], Demand]) -> list[Demand]:
    return [change(demand) if demand.name == name else demand for demand in demands]


def _smallest(allowed: range, passes: Callable[[int], bool]) -> int | None:
    """The smallest number of `allowed` that passes, if all larger ones do; None if the largest does not."""
    if not allowed or not passes(allowed[-1]):
        return None
    return allowed[bisect_left(allowed, True, key=passes)]


def refusal(link: EdfLink, demands: Sequence[Demand], found: Shortage) -> str:
    """`found` in words: where the link falls short, who weighs most there, and what would be accepted instead."""
    when = "each second" if found.t_ns is None else f"in the worst {DURATION.format(found.t_ns)}"
    lack = f"{when} it is asked for {found.missing_bits:,} bits more than it sends"
    heaviest = found.heaviest[0]
    deadline_ns = smallest_deadline_ns(link, demands, heaviest)
    rate_bps, slack_ns = largest_rate_bps(link, demands, heaviest), smallest_slack_ns(link, demands)
    remedies = []
    if deadline_ns is not None:
        remedies.append(f"deadline: {DURATION.format(rounded_up(deadline_ns))} or more for '{heaviest}'")
    if rate_bps is not None:
        remedies.append(f"min_rate: {RATE.format(payload_bps(rate_bps))} or less for '{heaviest}'")
    if slack_ns is not None and slack_ns > link.be_slack_ns:
        remedies.append(f"be_slack: {DURATION.format(rounded_up(slack_ns))} or more")
    advice = f"one of these would do: {'; '.join(remedies)}" if remedies else "take channels away, or a faster uplink"
    return f"{link.name} cannot keep all deadlines: {lack}; most of it from {', '.join(found.heaviest)}; {advice}"


def payload_bps(wire_bps: int) -> int:
    """The `min_rate`, rounded down to three digits, whose full packets take `wire_bps` of the wire."""
    return rounded_down(wire_bps * FULL_PAYLOAD_BYTES // FULL_LABELLED_FRAME_BYTES)


def rounded_up(value: int) -> int:
    """`value`, or the next larger number of three digits and zeros."""
    return -rounded_down(-value)


def rounded_down(value: int) -> int:
    """`value`, or the next smaller number of three digits and zeros."""
    step: int = 10 ** max(0, len(str(abs(value))) - 3)
    return value // step * step
