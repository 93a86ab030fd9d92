"""A port with linux-htb queues, packet by packet, apart from controller.admission.queues.

It is what the kernel's `htb_dequeue` does with one level of classes below the root. A class may send while it has
tokens, however few, and of those that may the smallest priority does. If none may, one without tokens borrows, by
priority as well, and pays nothing. Tokens come at a class's rate, up to its burst. Best effort always waits, with the
lowest priority. A frame is never interrupted. Volumes are in bit/s times ns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

NS = 10**9
BE_BITS = 8 * 1538
BE_PART = 100
"""Best effort is sure of one part in so many."""


def greedy(rate_bps: int, burst_bytes: int, sizes_bytes: Sequence[int], start_ns: int = 0) -> Iterator[tuple[int, int]]:
    """When each frame of a full leaky bucket comes, the soonest that it may, and its bits."""
    for size_bytes, sent_bytes in zip(sizes_bytes, accumulate(sizes_bytes), strict=True):
        yield start_ns + max(0, -(-8 * (sent_bytes - burst_bytes) * NS // rate_bps)), 8 * size_bytes


@dataclass
class Queue:
    """`arrivals` are the time and the bits of each of its frames, in order."""

    priority: int
    rate_bps: int
    burst_bytes: int
    arrivals: Sequence[tuple[int, int]] = ()
    longest_ns: int = 0
    tokens: int = field(init=False)
    counted_ns: int = 0
    waiting: deque[tuple[int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.tokens = self.full

    @property
    def full(self) -> int:
        return 8 * self.burst_bytes * NS

    def count(self, now_ns: int) -> None:
        """Give it the tokens that have come until `now_ns`."""
        self.tokens = min(self.full, self.tokens + (now_ns - self.counted_ns) * self.rate_bps)
        self.counted_ns = now_ns


def longest_delays_ns(link_bps: int, queues: Sequence[Queue]) -> list[int]:
    """The longest that a packet of each of `queues` takes through the port, until all have left."""
    best_effort = Queue(7, link_bps // BE_PART, 1600)
    coming = deque(sorted((at_ns, number, bits) for number, each in enumerate(queues) for at_ns, bits in each.arrivals))
    now_ns = 0
    while coming or any(queue.waiting for queue in queues):
        while coming and coming[0][0] < now_ns:  # what comes at 0 finds that best effort has just begun
            at_ns, number, bits = coming.popleft()
            queues[number].waiting.append((at_ns, bits))
        for queue in (*queues, best_effort):
            queue.count(now_ns)
        chosen = _next([*(queue for queue in queues if queue.waiting), best_effort])
        at_ns, bits = chosen.waiting.popleft() if chosen.waiting else (now_ns, BE_BITS)
        chosen.tokens -= bits * NS if chosen.tokens >= 0 else 0
        now_ns += -(-bits * NS // link_bps)
        chosen.longest_ns = max(chosen.longest_ns, now_ns - at_ns)
    return [queue.longest_ns for queue in queues]


def _next(queues: Sequence[Queue]) -> Queue:
    within = [queue for queue in queues if queue.tokens >= 0]
    return min(within or queues, key=lambda queue: queue.priority)
