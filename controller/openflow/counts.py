"""What the flows of a switch have counted since the first packet, over restarts of the switch and of the controller.

A switch that starts again counts from zero. So the controller keeps, for each flow, what was counted before that, and
what the switch said last, by which it sees that a count has begun anew. Both are remembered in a file, as the text made
here: what was told once is never taken back. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Traffic:
    """Packets and bytes that a switch has counted."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.packets + other.packets, self.bytes + other.bytes)


@dataclass
class Counts:
    """The counts of one switch, by cookie: `before` it last began anew, and as it said `last`."""

    before: dict[int, Traffic] = field(default_factory=dict)
    last: Mapping[int, Traffic] = field(default_factory=dict)

    def take(self, told: Mapping[int, Traffic], is_kept: Callable[[int], bool]) -> bool:
        """Note what the switch says. Whether that is anything new of what is kept.

        Counts that fell, or are gone, go on from where they were if they are kept.
        """
        cookies = told.keys() | self.last.keys()
        is_new = any(told.get(each, Traffic()) != self.last.get(each, Traffic()) for each in cookies if is_kept(each))
        for cookie, traffic in self.last.items():
            if is_kept(cookie) and told.get(cookie, Traffic()).packets < traffic.packets:
                self.before[cookie] = self.before.get(cookie, Traffic()) + traffic
        self.last = told
        return is_new

    def keep(self, cookies: Collection[int]) -> None:
        """Forget what was before of all but `cookies`."""
        self.before = {cookie: traffic for cookie, traffic in self.before.items() if cookie in cookies}

    def total(self, cookie: int) -> Traffic:
        return self.before.get(cookie, Traffic()) + self.last.get(cookie, Traffic())


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
