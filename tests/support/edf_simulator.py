"""A link that schedules by deadline, packet by packet, written from the definition and sharing nothing with
controller.admission.condition.

Sources are greedy token buckets: each sends its whole burst at once, then a packet whenever its tokens allow. Best
effort always waits. A packet is never interrupted. The rule is the shim's: best effort goes if every queued packet has
at least the slack left, else the earliest deadline. The link sends 1 Gb/s, so that every byte takes exactly 8 ns.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NS = 10**9
LINK_BPS = NS
NS_PER_BYTE = 8


@dataclass(frozen=True)
class Source:
    """Packets of `frame_bytes`: `burst_packets` of them at once, then one each `frame_bytes` / `rate_bps`."""

    deadline_ns: int
    rate_bps: int
    burst_packets: int
    frame_bytes: int

    def arrivals(self, from_ns: int, until_ns: int) -> Iterator[int]:
        yield from [from_ns] * self.burst_packets
        sent_bytes = self.frame_bytes
        while (at_ns := from_ns - (-sent_bytes * 8 * NS // self.rate_bps)) <= until_ns:
            yield at_ns
            sent_bytes += self.frame_bytes


def missed(sources: Sequence[Source], be_slack_ns: int, be_frame_bytes: int, until_ns: int) -> int:
    """How many packets are sent completely only after their deadline, in the worst case."""
    return sum(sent.end_ns > sent.deadline_ns for sent in departures(sources, be_slack_ns, be_frame_bytes, until_ns))


def longest_delays(sources: Sequence[Source], be_slack_ns: int, be_frame_bytes: int, until_ns: int) -> list[int]:
    """Of each source, the longest that a packet takes from its arrival until it is sent completely."""
    longest = [0] * len(sources)
    for sent in departures(sources, be_slack_ns, be_frame_bytes, until_ns):
        arrival_ns = sent.deadline_ns - sources[sent.source].deadline_ns
        longest[sent.source] = max(longest[sent.source], sent.end_ns - arrival_ns)
    return longest


@dataclass(frozen=True)
class Departure:
    """A packet of the source of that number, whose last bit is sent at `end_ns`."""

    source: int
    deadline_ns: int
    end_ns: int


def departures(sources: Sequence[Source], be_slack_ns: int, be_frame_bytes: int, until_ns: int) -> Iterator[Departure]:
    """What is sent in the worst case.

    That is: all bursts have the same slack left at time 0, when best effort may not go any more but has just begun a
    frame. Whoever has a longer deadline began earlier by as much.
    """
    arrivals = []
    for number, source in enumerate(sources):
        from_ns = min(0, be_slack_ns - source.deadline_ns)
        times = source.arrivals(from_ns, until_ns)
        arrivals += [(max(at_ns, 0), at_ns + source.deadline_ns, source.frame_bytes, number) for at_ns in times]
    arrivals.sort()
    now_ns = be_frame_bytes * NS_PER_BYTE
    queue: list[tuple[int, int, int]] = []
    arrived = 0
    while arrived < len(arrivals) or queue:
        while arrived < len(arrivals) and arrivals[arrived][0] <= now_ns:
            heapq.heappush(queue, arrivals[arrived][1:])
            arrived += 1
        if not queue or queue[0][0] - now_ns >= be_slack_ns:
            now_ns += be_frame_bytes * NS_PER_BYTE
            continue
        deadline_ns, frame_bytes, number = heapq.heappop(queue)
        now_ns += frame_bytes * NS_PER_BYTE
        yield Departure(number, deadline_ns, now_ns)
