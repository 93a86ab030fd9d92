"""What waits for one handler, and what of it is due when. Pure.

Guarantee: of one channel nothing starts before the last start has ended, nor sooner than `every_ns` after it began.
Reports that come meanwhile are summed up, so that memory is bounded by channels and not by misses; no report is lost
but those of channels for which there was no room, which are counted.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count

from controller.model import Channel
from controller.peering.messages import MissReport

CHANNELS_MAX = 1000
"""So many wait for one handler at most."""


@dataclass(frozen=True)
class Start:
    """What a handler is started with: the misses of a channel since its last start there."""

    channel: Channel
    report: MissReport


class How(StrEnum):
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class End:
    """What became of a start. `why` completes "the handler NAME"; `tries` is how often it was tried."""

    how: How
    why: str = ""
    tries: int = 1


@dataclass(frozen=True)
class Counts:
    """Of one handler: starts, and what became of them; `summed` reports went into one that waited, `dropped` into none.

    All but `started` and `summed` should be zero. `why` is of the last start that failed or timed out.
    """

    started: int = 0
    failed: int = 0
    timed_out: int = 0
    retried: int = 0
    summed: int = 0
    dropped: int = 0
    why: str = ""


class Turns:
    """The turns of one handler. Not thread-safe; `now_ns` never goes back."""

    def __init__(self, every_ns: int) -> None:
        self.counts = Counts()
        self._every_ns = every_ns
        self._waiting: dict[str, Start] = {}
        self._running: set[str] = set()
        self._due: list[tuple[int, int, str]] = []
        self._numbers = count()
        self._last_ns: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """How many channels wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def due_ns(self) -> int | None:
        """When `take` next has something, if nothing is added or ends before; None: not before then."""
        return self._due[0][0] if self._due else None

    def add(self, channel: Channel, report: MissReport, now_ns: int) -> None:
        """Have the handler started with what `report` says of `channel`."""
        name = channel.name
        if former := self._waiting.get(name):
            self._waiting[name] = Start(channel, summed(former.report, report))
            self._count(summed=1)
        elif len(self._waiting) >= CHANNELS_MAX:
            self._count(dropped=1)
        else:
            self._waiting[name] = Start(channel, report)
            self._line_up(name, now_ns)

    def take(self, now_ns: int) -> Start | None:
        """The start that is due the longest, if one is. It runs until it is given to `end`."""
        if not self._due or self._due[0][0] > now_ns:
            return None
        name = heapq.heappop(self._due)[2]
        self._running.add(name)
        self._forget(now_ns)
        self._last_ns[name] = now_ns  # it had none any more, so this is the last one
        self._count(started=1)
        return self._waiting.pop(name)

    def end(self, start: Start, end: End, now_ns: int) -> None:
        name = start.channel.name
        self._running.remove(name)
        if name in self._waiting:
            self._line_up(name, now_ns)
        self._count(retried=end.tries - 1, failed=end.how is How.FAILED, timed_out=end.how is How.TIMED_OUT)
        if end.how is not How.DONE:
            self.counts = replace(self.counts, why=end.why)

    def _line_up(self, name: str, now_ns: int) -> None:
        if name not in self._running:
            due_ns = max(now_ns, self._last_ns.get(name, now_ns - self._every_ns) + self._every_ns)
            heapq.heappush(self._due, (due_ns, next(self._numbers), name))

    def _forget(self, now_ns: int) -> None:
        """Starts that are so long ago that they hold up none. The oldest come first."""
        while self._last_ns and now_ns >= next(iter(self._last_ns.values())) + self._every_ns:
            del self._last_ns[next(iter(self._last_ns))]

    def _count(self, **more: int) -> None:
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + by for name, by in more.items()})


def summed(first: MissReport, then: MissReport) -> MissReport:
    """What both reports on a channel, the one after the other, say together."""
    misses = first.misses + then.misses
    return replace(
        then,
        misses=misses,
        packets=first.packets + then.packets,
        worst_ns=max(first.worst_ns, then.worst_ns),
        mean_ns=(first.mean_ns * first.misses + then.mean_ns * then.misses) // max(misses, 1),
        window_ns=first.window_ns + then.window_ns,
        clock_error_ns=max(first.clock_error_ns, then.clock_error_ns),
        first_at_ns=first.first_at_ns,
    )
