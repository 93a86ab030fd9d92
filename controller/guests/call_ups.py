"""What guests are to be told of misses, and when: as any handler, by turns of each channel. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from controller.handlers.turns import End, How, Start, Turns
from controller.model import Channel
from controller.peering.messages import MissReport
from controller.units import NS_PER_MS

PERIOD_NS = 100 * NS_PER_MS
"""Between two call-ups for one channel."""


class CallUps:
    """Those that wait for their turn, of each VM a number of its own. Not thread-safe; `now_ns` never goes back.

    Of a channel the first report is due at once, what comes within PERIOD_NS in one sum after it.
    """

    def __init__(self) -> None:
        self._turns: dict[str, Turns] = {}

    @property
    def due_ns(self) -> int | None:
        """When `take` next has something, if nothing is added before; None: not before then."""
        return min((turns.due_ns for turns in self._turns.values() if turns.due_ns is not None), default=None)

    @property
    def dropped(self) -> Mapping[str, int]:
        """By VM, reports for which there was no room."""
        return {vm: turns.counts.dropped for vm, turns in self._turns.items()}

    def add(self, channel: Channel, report: MissReport, now_ns: int) -> None:
        """Have the channel's talker called up about `report`."""
        self._turns.setdefault(channel.talker, Turns(PERIOD_NS)).add(channel, report, now_ns)

    def take(self, now_ns: int) -> list[Start]:
        """All that is due."""
        return [start for turns in self._turns.values() for start in _due(turns, now_ns)]


def _due(turns: Turns, now_ns: int) -> list[Start]:
    found = []
    while start := turns.take(now_ns):
        turns.end(start, End(How.DONE), now_ns)
        found.append(start)
    return found
