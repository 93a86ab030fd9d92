"""Traces: readable scripts of arrivals and the departures that they must lead to, at virtual times.

tests/traces/README.md explains the format; tests/native/traces.c reads it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dataplane.reference import Departure, Packet, Wait

NS_PER_US = 1000


class Scheduler(Protocol):
    """What runs a trace."""

    def arrive(self, packet: Packet, now_ns: int) -> None: ...
    def next(self, now_ns: int) -> Departure | Wait | None: ...


@dataclass
class Trace:
    """A trace file: the scheduler's numbers, packets by time of arrival, names by time of departure."""

    rate_bps: int = 0
    be_slack_ns: int = 0
    ahead_ns: int = 0
    arrivals: list[tuple[int, Packet]] = field(default_factory=list)
    departures: list[tuple[int, str]] = field(default_factory=list)


def read(file: Path) -> Trace:
    """The trace in `file`. Raises ValueError for a line that is not understood."""
    trace = Trace()
    for line in file.read_text().splitlines():
        match line.partition("#")[0].split():
            case []:
                pass
            case ["rate", bps]:
                trace.rate_bps = int(bps)
            case ["slack", us]:
                trace.be_slack_ns = int(us) * NS_PER_US
            case ["ahead", us]:
                trace.ahead_ns = int(us) * NS_PER_US
            case ["arrive", us, "real-time", name, "bytes", size, "deadline", deadline_us, *rest]:
                packet = Packet(name, int(size), int(deadline_us) * NS_PER_US, _release_ns(rest))
                trace.arrivals.append((int(us) * NS_PER_US, packet))
            case ["arrive", us, "best-effort", name, "bytes", size]:
                trace.arrivals.append((int(us) * NS_PER_US, Packet(name, int(size))))
            case ["depart", us, name]:
                trace.departures.append((int(us) * NS_PER_US, name))
            case _:
                raise ValueError(f"{file}: {line}")
    return trace


def _release_ns(words: Sequence[str]) -> int:
    match words:
        case []:
            return 0
        case ["release", us]:
            return int(us) * NS_PER_US
    raise ValueError(f"{' '.join(words)!r} is not `release US`")


def run(scheduler: Scheduler, arrivals: Sequence[tuple[int, Packet]]) -> list[tuple[int, str]]:
    """Feed `arrivals`, in the order of their times, to `scheduler` as the egress loop does; when what departs."""
    departures, now_ns, arrived = [], 0, 0
    while True:
        while arrived < len(arrivals) and arrivals[arrived][0] <= now_ns:
            scheduler.arrive(arrivals[arrived][1], now_ns)
            arrived += 1
        match scheduler.next(now_ns):
            case Departure(packet, start_ns):
                departures.append((start_ns, packet.name))
            case Wait(until_ns):
                now_ns = min([until_ns, *(at_ns for at_ns, _ in arrivals[arrived : arrived + 1])])
            case None if arrived < len(arrivals):
                now_ns = arrivals[arrived][0]
            case None:
                return departures
