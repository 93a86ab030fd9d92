"""Sums misses up, channel by channel, so that what is told of them stays small however many there are. Pure.

A channel's first miss is told at once, later ones no more often than once in PERIOD_NS. How many there were comes from
the counters of the core, so it is exact even where single misses were lost on the way; how late they were, from those
that came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]

PERIOD_NS = 100_000_000
SINGLES_MAX = 100


class Miss(NamedTuple):
    """A packet of the channel of `label` that came `lateness_ns` after its deadline, at `at_ns` of the wall clock."""

    label: int
    lateness_ns: int
    at_ns: int


class Counted(NamedTuple):
    """A channel's packets so far, and those of them that were late."""

    packets: int
    misses: int


@dataclass
class _Window:
    """What came since the channel was last told of."""

    count: int = 0
    sum_ns: int = 0
    worst_ns: int = 0
    first_at_ns: int = 0

    def add(self, miss: Miss) -> None:
        self.first_at_ns = self.first_at_ns or miss.at_ns
        self.count += 1
        self.sum_ns += miss.lateness_ns
        self.worst_ns = max(self.worst_ns, miss.lateness_ns)


class MissBook:
    """The misses that are still to be told. `counted` is what the core had counted at `now_ns`, when it begins."""

    def __init__(self, counted: Mapping[int, Counted], now_ns: int) -> None:
        self._begun_ns = now_ns
        self._told: dict[int, tuple[Counted, int]] = {label: (each, now_ns) for label, each in counted.items()}
        self._heard: set[int] = set()
        self._windows: dict[int, _Window] = {}
        self._singles: deque[Miss] = deque(maxlen=SINGLES_MAX)

    def add(self, misses: Iterable[Miss]) -> None:
        for miss in misses:
            window = self._windows.get(miss.label)
            if window is None:
                window = self._windows[miss.label] = _Window()
            window.add(miss)
            self._singles.append(miss)

    def forget(self, labels: Iterable[int]) -> None:
        """Tell no more of the channels of `labels`: they are removed, and what comes by these labels counts anew."""
        for label in labels:
            self._told.pop(label, None)
            self._heard.discard(label)
            self._windows.pop(label, None)

    def due(self, now_ns: int) -> list[int]:
        """The labels of the channels that are to be told of now."""
        return [label for label in self._windows if self._due_ns(label) <= now_ns]

    def next_due_ns(self) -> int | None:
        """When the next channel is to be told of; None if nothing is left to tell."""
        return min(map(self._due_ns, self._windows), default=None)

    def tell(self, counted: Mapping[int, Counted], now_ns: int) -> Json:
        """The event that tells of the channels that are due, of which the core has counted so much."""
        channels = [self._channel(label, each, now_ns) for label, each in counted.items()]
        singles = [miss._asdict() for miss in self._singles]
        self._singles.clear()
        return {"event": "misses", "misses": singles, "channels": [each for each in channels if each["misses"]]}

    def _due_ns(self, label: int) -> int:
        return self._told[label][1] + PERIOD_NS if label in self._heard else 0

    def _channel(self, label: int, counted: Counted, now_ns: int) -> Json:
        window = self._windows.pop(label)
        before, since_ns = self._told.get(label, (Counted(0, 0), self._begun_ns))
        self._told[label] = counted, now_ns
        self._heard.add(label)
        return {
            "label": label,
            "misses": counted.misses - before.misses,
            "packets": counted.packets - before.packets,
            "worst_ns": window.worst_ns,
            "mean_ns": window.sum_ns // window.count,
            "window_ns": now_ns - since_ns,
            "total_misses": counted.misses,
            "first_at_ns": window.first_at_ns,
        }
