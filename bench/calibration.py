"""What a machine itself takes of a deadline: how late it wakes a real-time thread, and how long a packet is in Open
vSwitch and in a shim.

    source ── in ═ bridge or shim ═ out ── far

Each gets a small packet every millisecond. A packet's time is from the kernel's stamp at `in` to that at `far`. The
bridge pushes both labels, as for a talker; the shim is unpaced, in a network of its own.

A packet goes through Open vSwitch and then through the shim, and may be held up in both: so the allowance is a sum, of
what each needs for all but one packet in 10,000. For the shim that is the longer of its own time, which begins with its
wake-up, and of any wake-up on this machine. The listener's Open vSwitch is not in it: the deadline ends before that.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count

from bench import forwarders
from bench.arrivals import percentile
from bench.bridge import bridged_lane
from bench.forwarders import Lane
from bench.network import private_network
from bench.stalls import StallWatch
from bench.traffic import PS_PER_S, RECEIVE_BUFFER_BYTES, SO_RCVBUFFORCE, Sink, Source
from controller.errors import CannotRun
from controller.model import LABEL_STACK_BYTES, LEAST_FRAME_BYTES
from controller.units import NS_PER_MS, NS_PER_S, NS_PER_US
from dataplane.errors import ShimError
from dataplane.shim import AHEAD_NS, Shim, ShimConfig
from dataplane.terms import Terms

PACKETS_PER_S = 1000
PRIORITY = 50
"""The shim's. The source has less, as what hands a packet to the shim has."""

SOURCE_PRIORITY = 40
LABELLED_STAMP_OFFSET = 22
"""After the Ethernet header and both labels."""

PLAIN_STAMP_OFFSET = 34
"""After the Ethernet header and IPv4's."""

ETHERTYPE_ALL = 3
PACKET_IGNORE_OUTGOING = 23
SETTLE_S = 0.5
DIGITS = 3

Note = Callable[[int], None]
"""Hears how many seconds of a measurement are over."""


@dataclass(frozen=True)
class Times:
    """A distribution, in ns."""

    count: int
    p50: int
    p99: int
    p9999: int
    max: int


@dataclass(frozen=True)
class Calibration:
    """`noise` by processor; `bridge` is the time in Open vSwitch, `path` that in a shim."""

    noise: Mapping[int, Times]
    bridge: Times
    path: Times

    @property
    def allowance_ns(self) -> int:
        """What the machine takes of a deadline, rounded up to three digits.

        With what may have been handed over before a packet comes, which a shim without a rate does not show.
        """
        shim_ns = max(self.path.p9999, *(times.p9999 for times in self.noise.values()))
        longest_ns = AHEAD_NS + self.bridge.p9999 + shim_ns
        return rounded_up(-(-longest_ns // NS_PER_US)) * NS_PER_US

    def as_json(self) -> dict[str, object]:
        noise = {str(cpu): asdict(times) for cpu, times in self.noise.items()}
        times = {"bridge_ns": asdict(self.bridge), "path_ns": asdict(self.path)}
        return {"noise_ns": noise, **times, "allowance_ns": self.allowance_ns}


def rounded_up(number: int) -> int:
    """To three digits and zeros."""
    step = int("1" + "0" * max(0, len(str(number)) - DIGITS))
    return -(-number // step) * step


def times_of(values: Sequence[int], what: str) -> Times:
    """Raises CannotRun if there are none."""
    if not values:
        raise CannotRun(f"nothing was measured of {what}", "give more --seconds; `rtvnic doctor` says what is wrong")
    ordered = sorted(values)
    p50, p99, p9999 = (percentile(ordered, rank, 10_000) for rank in (5000, 9900, 9999))
    return Times(len(ordered), p50, p99, p9999, ordered[-1])


def measure_noise(duration_ns: int, note: Note) -> dict[int, Times]:
    """How late each processor wakes a thread of the shim's priority that asks for it every millisecond."""
    with StallWatch(PRIORITY, least_ns=0) as watch:
        for over_s in range(-(-duration_ns // NS_PER_S)):
            note(over_s)
            time.sleep(min(NS_PER_S, duration_ns - over_s * NS_PER_S) / NS_PER_S)
    return {
        cpu: times_of([stall.duration_ns for stall in stalls], f"processor {cpu}")
        for cpu, stalls in watch.by_cpu.items()
    }


def measure_bridge(duration_ns: int, note: Note) -> Times:
    """How long packets take through Open vSwitch. Raises CannotRun, also if a run is up."""
    offsets = PLAIN_STAMP_OFFSET, PLAIN_STAMP_OFFSET + LABEL_STACK_BYTES
    with bridged_lane() as lane:
        return times_of(_times_in(lane, forwarders.BEST_EFFORT, offsets, duration_ns, note), "Open vSwitch")


def measure_path(duration_ns: int, note: Note) -> Times:
    """How long packets take through a shim. Raises CannotRun."""
    offsets = LABELLED_STAMP_OFFSET, LABELLED_STAMP_OFFSET
    with private_network() as links:
        lane = forwarders.make_lane(links, "lane")
        with _shim(lane):
            return times_of(_times_in(lane, forwarders.LABELLED, offsets, duration_ns, note), "the shim")


def _times_in(lane: Lane, kind: str, offsets: tuple[int, int], duration_ns: int, note: Note) -> list[int]:
    """Each packet's time, in ns, on its way along `lane`; `offsets` are where its stamp is before and behind."""
    packets = duration_ns * PACKETS_PER_S // NS_PER_S
    frame = forwarders.frames(kind, LEAST_FRAME_BYTES)[0]
    with _sink(lane.inner, packets, offsets[0]) as before, _sink(lane.far, packets, offsets[1]) as behind:
        _send(lane.source, frame, offsets[0], packets, note)
        time.sleep(SETTLE_S)
    entered, left = (dict(zip(sink.sequences(), sink.delays_ns(), strict=True)) for sink in (before, behind))
    return [delay_ns - entered[number] for number, delay_ns in left.items() if number in entered]


@contextmanager
def _shim(lane: Lane) -> Iterator[None]:
    config = ShimConfig(lane.inner, lane.outer, rate_bps=0, be_slack_ns=2 * NS_PER_MS, priority=PRIORITY)
    try:
        with Shim(config) as running:
            running.set_channels({forwarders.FIRST_CHANNEL_LABEL: Terms()})
            yield
    except ShimError as error:
        raise CannotRun(error.what, error.cure) from None


@contextmanager
def _sink(interface: str, packets: int, stamp_offset: int) -> Iterator[Sink]:
    """Notes what arrives at `interface` inside the with block."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as channel, ThreadPoolExecutor(1) as thread:
        channel.setsockopt(forwarders.SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        channel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        channel.bind((interface, ETHERTYPE_ALL))
        sink = Sink(channel, capacity=packets, stamp_offset=stamp_offset)
        done = thread.submit(sink.run)
        try:
            yield sink
        finally:
            sink.stop()
        done.result()


def _send(interface: str, frame: bytes, stamp_offset: int, packets: int, note: Note) -> None:
    """`frame`, `packets` times, by a thread with real-time priority."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as channel, ThreadPoolExecutor(1) as thread:
        channel.bind((interface, 0))
        interval_ps = PS_PER_S // PACKETS_PER_S
        source = Source(channel, [frame], interval_ps=interval_ps, count=packets, stamp_offset=stamp_offset)
        try:
            _await(thread.submit(_run_urgently, source), note)
        finally:
            source.stop()


def _run_urgently(source: Source) -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(SOURCE_PRIORITY))
    except PermissionError:
        raise CannotRun("packets cannot be sent in time without leave to use SCHED_FIFO", "run it as root") from None
    source.run()


def _await(done: Future[None], note: Note) -> None:
    for over_s in count():
        note(over_s)
        with suppress(TimeoutError):
            done.result(timeout=1)
            return
