"""A port with one queue for all real-time traffic, packet by packet, apart from controller.admission.guarantee.

Best effort always waits, but a real-time packet goes first; a frame is never interrupted, and counts as arrived when
it is there whole. Times are exact, in seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

BE_BITS = 8 * 1538


class Sender(Protocol):
    """What sends to the port."""

    def arrivals(self) -> Iterator[tuple[Fraction, int]]:
        """When each frame is there, and its bits."""
        ...


@dataclass(frozen=True)
class Bucket:
    """A leaky bucket at the end of a link: it sends `sizes_bytes` in turn, each as soon as it may, from `start` on."""

    link_bps: int
    rate_bps: int
    burst_bytes: int
    sizes_bytes: tuple[int, ...]
    start: Fraction = Fraction(0)

    def arrivals(self) -> Iterator[tuple[Fraction, int]]:
        tokens, now = Fraction(8 * self.burst_bytes), self.start
        for number, size_bytes in enumerate(self.sizes_bytes):
            bits = 8 * size_bytes
            behind_frame = now + (Fraction(bits, self.link_bps) if number else 0)
            with_tokens = now + max(Fraction(0), bits - tokens) / self.rate_bps
            at = max(behind_frame, with_tokens)
            tokens = min(Fraction(8 * self.burst_bytes), tokens + (at - now) * self.rate_bps) - bits
            now = at
            yield at, bits


def longest_delay(rate_bps: int, senders: Sequence[Sender]) -> Fraction:
    """The longest that a packet takes through the port, where best effort begins a frame whenever it may."""
    waiting = list(heapq.merge(*(sender.arrivals() for sender in senders)))
    now, longest = Fraction(0), Fraction(0)
    for at, bits in waiting:
        if at >= now:
            now = at + Fraction(BE_BITS, rate_bps)  # the worst best effort: it has begun just before
        now += Fraction(bits, rate_bps)
        longest = max(longest, now - at)
    return longest
