"""What the flows of a switch have counted since the first packet, over restarts of the switch and of the controller.

A switch that starts again counts from zero. So the controller keeps, for each subject, what was counted before that,
and what the switch said last, by which it sees that a count has begun anew. Both are remembered in a file, as the text
made here: what was told once is never taken back. A subject is what a cookie says without its digest: a channel's end
keeps its counts when its flow gives way to another, which a switch has go on where the former one was. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.openflow.pipeline import without_digest


@dataclass(frozen=True)
class Traffic:
    """Packets and bytes that a switch has counted."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.packets + other.packets, self.bytes + other.bytes)


@dataclass
class Counts:
    """The counts of one switch: `before` they last began anew, by subject, and as it said `last`, by cookie."""

    before: dict[int, Traffic] = field(default_factory=dict)
    last: Mapping[int, Traffic] = field(default_factory=dict)

    def take(self, told: Mapping[int, Traffic], kept: Collection[int] | None = None) -> bool:
        """Note what the switch says of the subjects `kept`; None: of all. Whether that is anything new.

        Counts that fell, or are gone, go on from where they were.
        """
        if kept is not None:
            told = {cookie: traffic for cookie, traffic in told.items() if without_digest(cookie) in kept}
        cookies = told.keys() | self.last.keys()
        is_new = any(told.get(each, Traffic()) != self.last.get(each, Traffic()) for each in cookies)
        for subject, traffic in self._lost(told).items():
            self.before[subject] = self.before.get(subject, Traffic()) + traffic
        self.last = told
        return is_new

    def keep(self, subjects: Collection[int]) -> None:
        """Forget all but `subjects`."""
        self.before = {subject: traffic for subject, traffic in self.before.items() if subject in subjects}
        self.last = {cookie: traffic for cookie, traffic in self.last.items() if without_digest(cookie) in subjects}

    def totals(self) -> dict[int, Traffic]:
        """By subject."""
        return _sum(self.before, _by_subject(self.last))

    def _lost(self, told: Mapping[int, Traffic]) -> dict[int, Traffic]:
        """What `last` has and `told` does not go on from, by subject."""
        last = self.last
        fell = {each: last[each] for each in last.keys() & told.keys() if told[each].packets < last[each].packets}
        gone = _by_subject({each: last[each] for each in last.keys() - told.keys()})
        come = _by_subject({each: told[each] for each in told.keys() - last.keys()})
        ended = {each: traffic for each, traffic in gone.items() if come.get(each, Traffic()).packets < traffic.packets}
        return _sum(_by_subject(fell), ended)


def _by_subject(counts: Mapping[int, Traffic]) -> dict[int, Traffic]:
    found: dict[int, Traffic] = {}
    for cookie, traffic in counts.items():
        subject = without_digest(cookie)
        found[subject] = found.get(subject, Traffic()) + traffic
    return found


def _sum(one: Mapping[int, Traffic], other: Mapping[int, Traffic]) -> dict[int, Traffic]:
    return {each: one.get(each, Traffic()) + other.get(each, Traffic()) for each in one.keys() | other.keys()}


def as_text(counts: Mapping[str, Counts]) -> str:
    """What is to be remembered of the switches of a domain, by name."""
    return json.dumps({name: {"before": _rows(each.before), "last": _rows(each.last)} for name, each in counts.items()})


def from_text(text: str) -> dict[str, Counts]:
    """What `as_text` was made of. Raises ValueError."""
    try:
        return {
            name: Counts(_traffic(each["before"]), _traffic(each["last"])) for name, each in json.loads(text).items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"these are no counts: {error!r}") from error


def _rows(counts: Mapping[int, Traffic]) -> dict[str, list[int]]:
    return {str(cookie): [traffic.packets, traffic.bytes] for cookie, traffic in counts.items()}


def _traffic(rows: Any) -> dict[int, Traffic]:
    return {int(cookie): Traffic(int(packets), int(size)) for cookie, (packets, size) in rows.items()}
