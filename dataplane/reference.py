"""The scheduler's rules once more, in plain Python: what core/edf_queue.c and core/scheduler.h are tested against.

Pure, at virtual times. Written to be read, not to be fast.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

LEAST_FRAME_BYTES = 60
WIRE_OVERHEAD_BYTES = 24


@dataclass(frozen=True)
class Packet:
    """A frame. `deadline_ns` is absolute; None for best effort. A real-time one is held until `release_ns`."""

    name: str
    frame_bytes: int
    deadline_ns: int | None = None
    release_ns: int = 0


@dataclass(frozen=True)
class Departure:
    """`packet` leaves: its first bit is on the wire at `start_ns`."""

    packet: Packet
    start_ns: int


@dataclass(frozen=True)
class Wait:
    """The wire is taken, or what waits is held: ask again at `until_ns`, or when something arrives."""

    until_ns: int


class ReferenceScheduler:
    """Best effort first while every real-time packet has `be_slack_ns` left; else the earliest deadline."""

    def __init__(self, rate_bps: int, be_slack_ns: int, ahead_ns: int) -> None:
        self._rate_bps, self._be_slack_ns, self._ahead_ns = rate_bps, be_slack_ns, ahead_ns
        self._real_time: list[tuple[int, int, Packet]] = []
        self._held: list[tuple[int, int, Packet]] = []
        self._best_effort: deque[Packet] = deque()
        self._pushed = 0
        self._wire_free_ns = 0

    def arrive(self, packet: Packet, now_ns: int) -> None:
        self._release(now_ns)
        if packet.deadline_ns is None:
            self._best_effort.append(packet)
        elif packet.release_ns > now_ns:
            self._push(self._held, packet.release_ns, packet)
        else:
            self._push(self._real_time, packet.deadline_ns, packet)

    def next(self, now_ns: int) -> Departure | Wait | None:
        """What leaves at `now_ns`; None if nothing waits."""
        self._release(now_ns)
        if not self._real_time and not self._best_effort:
            return Wait(self._held[0][0]) if self._held else None
        if now_ns < self._wire_free_ns - self._ahead_ns:
            return Wait(self._wire_free_ns - self._ahead_ns)
        start_ns = max(now_ns, self._wire_free_ns)
        has_slack = not self._real_time or self._real_time[0][0] - start_ns >= self._be_slack_ns
        use_best_effort = self._best_effort and has_slack
        packet = self._best_effort.popleft() if use_best_effort else heapq.heappop(self._real_time)[2]
        self._wire_free_ns = start_ns + self._wire_time_ns(packet.frame_bytes)
        return Departure(packet, start_ns)

    def _release(self, now_ns: int) -> None:
        while self._held and self._held[0][0] <= now_ns:
            packet = heapq.heappop(self._held)[2]
            assert packet.deadline_ns is not None
            self._push(self._real_time, packet.deadline_ns, packet)

    def _push(self, heap: list[tuple[int, int, Packet]], key_ns: int, packet: Packet) -> None:
        heapq.heappush(heap, (key_ns, self._pushed, packet))
        self._pushed += 1

    def _wire_time_ns(self, frame_bytes: int) -> int:
        """Rounded up: never faster than the wire."""
        bits = 8 * (max(frame_bytes, LEAST_FRAME_BYTES) + WIRE_OVERHEAD_BYTES)
        return -(-bits * 1_000_000_000 // self._rate_bps) if self._rate_bps else 0
