"""What the scheduler benchmark compares: the EDF shim and the bare forwarder, each on a lane of its own.

    source ── in ═ forwarder ═ out ── far

Frames are counted where they arrive, at `far`. The forwarders have the same core, real-time priority and size of ring;
one that gets no frames sleeps. Sources run on another core.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyroute2 import IPRoute

from bench._traffic import ffi, lib
from bench.network import add_veth, received_packets
from bench.traffic import BATCH, Source, check
from controller.network.labels import TTL_CHANNEL, TTL_RELATIVE, relative_deadline_label
from controller.units import NS_PER_MS, NS_PER_S
from dataplane.shim import Shim, ShimConfig
from dataplane.terms import Terms

PRIORITY = 50
SETTLE_S = 0.05
DEADLINES_MS = (3, 5, 8, 10, 15, 20)
"""Of the labelled frames, by turns: the paper's channels."""

FIRST_CHANNEL_LABEL = 4711
LABELLED, BEST_EFFORT = "labelled", "best effort"
RING_SLOTS = {LABELLED: 4096, BEST_EFFORT: 1024}
"""Each kind of frame and the shim's ring for it (dataplane/core/egress.c)."""

SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
ADDRESSES = bytes.fromhex("020000000002020000000001")


@dataclass(frozen=True)
class Rates:
    """Frames per second: what the source sent, and what came out at the far end."""

    offered: float
    moved: float


@dataclass(frozen=True)
class Lane:
    """Two veth pairs, by the names of their interfaces, for a forwarder between them."""

    source: str
    inner: str
    outer: str
    far: str


def make_lane(links: IPRoute, name: str) -> Lane:
    """A lane whose interfaces' names begin with `name`, of 8 characters at most."""
    lane = Lane(f"{name}-source", f"{name}-in", f"{name}-out", f"{name}-far")
    add_veth(links, lane.source, lane.inner)
    add_veth(links, lane.outer, lane.far)
    return lane


def frames(kind: str, size: int) -> list[bytes]:
    """Frames of `size` bytes: of channels with different deadlines, or one of best effort."""
    if kind == BEST_EFFORT:
        return [(ADDRESSES + b"\x08\x00\x45").ljust(size, b"\0")]
    return [
        _labelled(relative_deadline_label(deadline * NS_PER_MS), FIRST_CHANNEL_LABEL + number).ljust(size, b"\0")
        for number, deadline in enumerate(DEADLINES_MS)
    ]


class Counter:
    """A rate between two readings, each with its own time: to be held up between two counters does no harm."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._first = self._reading()

    def rate(self) -> float:
        """Per second, since the start."""
        count, at_ns = self._reading()
        return (count - self._first[0]) * NS_PER_S / (at_ns - self._first[1])

    def _reading(self) -> tuple[int, int]:
        return self._read(), time.monotonic_ns()


@contextlib.contextmanager
def bare(lane: Lane, core: int, kind: str) -> Iterator[None]:
    """The bare forwarder, running, with a ring as the shim's for this kind of frames."""
    forwarder = ffi.new("struct bare_forwarder *")
    forwarder.input, forwarder.output = socket.if_nametoindex(lane.inner), socket.if_nametoindex(lane.outer)
    forwarder.ring_slots = RING_SLOTS[kind]

    def forward() -> None:
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        check(lib.bare_forward(forwarder))

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(forward)
        try:
            while not (forwarder.is_ready or done.done()):
                time.sleep(0.001)
            yield
        finally:
            forwarder.stop = 1
        done.result()


@contextlib.contextmanager
def shim(lane: Lane, core: int) -> Iterator[None]:
    """The EDF shim, running, unpaced."""
    config = ShimConfig(
        inner=lane.inner,
        uplink=lane.outer,
        rate_bps=0,
        be_slack_ns=2 * NS_PER_MS,
        priority=PRIORITY,
        bypass_qdisc=True,
    )
    with contextlib.ExitStack() as stack:
        with pinned(core):
            running = stack.enter_context(Shim(config))
        running.set_channels({FIRST_CHANNEL_LABEL + number: Terms() for number in range(len(DEADLINES_MS))})
        yield


def measure(lane: Lane, core: int, templates: Sequence[bytes], window_s: float) -> Rates:
    """Sends as fast as `core` can; counts during `window_s`, once the flow is steady."""
    with _packet_socket(lane.source) as channel, ThreadPoolExecutor(1) as thread:
        source = Source(channel, templates, burst=BATCH)
        with pinned(core):
            done = thread.submit(source.run)
        try:
            time.sleep(SETTLE_S)
            sent, received = Counter(lambda: source.sent), Counter(lambda: received_packets(lane.far))
            time.sleep(window_s)
            rates = Rates(sent.rate(), received.rate())
        finally:
            source.stop()
        done.result()
    return rates


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keeps the calling thread, and for good those that it starts meanwhile, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _packet_socket(name: str) -> socket.socket:
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    channel.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    channel.bind((name, 0))
    return channel


def _labelled(deadline_label: int, channel_label: int) -> bytes:
    traffic_class = 1
    deadline = deadline_label << 12 | traffic_class << 9 | TTL_RELATIVE
    channel = channel_label << 12 | traffic_class << 9 | 1 << 8 | TTL_CHANNEL
    return ADDRESSES + b"\x88\x47" + struct.pack("!II", deadline, channel)
