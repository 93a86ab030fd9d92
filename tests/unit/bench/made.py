"""Streams that nobody sent, for the tests of what the experiments conclude."""

from __future__ import annotations

from bench.streams import COUNTS, Packet, Stream
from controller.model import Channel
from controller.units import NS_PER_MS

NOTHING = {**dict.fromkeys(COUNTS, 0), "judged": 0}


def packets(count: int, delay_ms: float = 1.0, interval_ms: float = 1.0) -> list[Packet]:
    """Sent one after another, none lost."""
    return [
        Packet(round(number * interval_ms * NS_PER_MS), round(delay_ms * NS_PER_MS), number) for number in range(count)
    ]


def stream(channel: Channel, arrived: list[Packet], sent: int | None = None) -> Stream:
    """All of what was sent has arrived, unless `sent` is given."""
    return Stream(channel, len(arrived) if sent is None else sent, arrived, NOTHING)
