"""Traffic for the experiments: a paced source and a measuring sink, as objects and as programs for a VM's namespace.

    python -m bench.traffic send --to 10.0.0.2:5004 --rate 2Mbps --payload 1470 --seconds 10 --priority 40
    python -m bench.traffic receive --port 5004 --idle 2 --delays camera.csv
    python -m bench.traffic sink --port 5005
    python -m bench.traffic together streams.txt --priority 40

Each program ends by itself or by SIGINT or SIGTERM, and prints one JSON object. `together` runs what is on each line of
a file, all at once; it says `ready` when all sockets are open, and prints a list of results. The work is done in C
(native/traffic.h), for any number of sources or sinks in one thread, which it blocks; any other thread may stop them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from bench import arrivals
from bench._traffic import ffi, lib
from controller.errors import CannotRun
from controller.units import RATE
from rtvnic.arguments import integer, quantity, seconds

BATCH: int = lib.TRAFFIC_BATCH
STAMP_BYTES: int = lib.TRAFFIC_STAMP_BYTES
RECEIVE_BUFFER_BYTES = 8 << 20
SO_RCVBUFFORCE = 33
PS_PER_S = 10**12

TOGETHER = "together"
READY = "ready"

PORTS = range(1, 65536)
PAYLOADS = range(STAMP_BYTES, 65508)
COUNTS = range(1, 100_000_001)


class Source:
    """Sends copies of `frames` (all of one length) by turns on a connected datagram or bound packet socket.

    `interval_ps` 0 is as fast as possible, `burst` frames at each wake-up; ends after `count` or `duration_ns` (0: no
    limit). `stamp_offset` is where each frame gets its sequence number and send time; None: nowhere.
    """

    def __init__(
        self,
        channel: socket.socket,
        frames: Sequence[bytes],
        *,
        interval_ps: int = 0,
        burst: int = 1,
        count: int = 0,
        duration_ns: int = 0,
        stamp_offset: int | None = None,
    ) -> None:
        self._keep = (channel, ffi.from_buffer(b"".join(frames)))
        self._source = ffi.new("struct traffic_source *")
        self._source.socket = channel.fileno()
        self._source.frames = self._keep[1]
        self._source.templates = len(frames)
        self._source.length = len(frames[0])
        self._source.burst = burst
        self._source.interval_ps = interval_ps
        self._source.count = count
        self._source.duration_ns = duration_ns
        self._source.stamped = stamp_offset is not None
        self._source.stamp_offset = stamp_offset or 0

    def run(self) -> None:
        """Send until the end. Raises OSError."""
        self.run_all([self])

    @staticmethod
    def run_all(sources: Sequence[Source]) -> None:
        """Send on all of them until the last has ended, in one loop: one wake-up serves all. Raises OSError."""
        check(lib.traffic_send([source._source for source in sources], len(sources)))

    def stop(self) -> None:
        self._source.stop = 1

    @property
    def sent(self) -> int:
        return int(self._source.sent)

    def result(self) -> dict[str, Any]:
        return {"sent": self.sent, "retried": int(self._source.retried)}


class Sink:
    """Reads a bound datagram socket: `capacity` arrivals, each with sequence and delay; with 0 it only counts.

    Ends also `duration_ns` after its start, and `idle_ns` after the last packet (0: never).
    """

    def __init__(
        self,
        channel: socket.socket,
        *,
        capacity: int = 0,
        duration_ns: int = 0,
        idle_ns: int = 0,
        stamp_offset: int = 0,
    ) -> None:
        self._keep = (channel, ffi.new("struct traffic_arrival[]", capacity))
        self._sink = ffi.new("struct traffic_sink *")
        self._sink.socket = channel.fileno()
        self._sink.arrivals = self._keep[1] if capacity else ffi.NULL
        self._sink.capacity = capacity
        self._sink.duration_ns = duration_ns
        self._sink.idle_ns = idle_ns
        self._sink.stamp_offset = stamp_offset

    def run(self) -> None:
        """Receive until the end. Raises OSError."""
        self.run_all([self])

    @staticmethod
    def run_all(sinks: Sequence[Sink]) -> None:
        """Receive on all of them until the last has ended, in one loop: one wake-up serves all. Raises OSError."""
        check(lib.traffic_receive([sink._sink for sink in sinks], len(sinks)))

    def stop(self) -> None:
        self._sink.stop = 1

    @property
    def packets(self) -> int:
        return int(self._sink.packets)

    def sequences(self) -> list[int]:
        """The sequence numbers in order of arrival."""
        return [arrival.sequence for arrival in self._arrivals()]

    def delays_ns(self) -> list[int]:
        """The delay of each arrival, in the order of `sequences`."""
        return [arrival.delay_ns for arrival in self._arrivals()]

    def result(self) -> dict[str, Any]:
        counts = {"received": self.packets, "bytes": int(self._sink.bytes)}
        if not self._sink.capacity:
            return counts
        sequences = self.sequences()
        return counts | {
            "duplicates": arrivals.duplicates(sequences),
            "reordered": arrivals.reordered(sequences),
            "delay_ns": arrivals.summary(self.delays_ns()),
        }

    def write_delays(self, file: Path) -> None:
        """All arrivals as CSV, for plots."""
        lines = [f"{arrival.sequence},{arrival.sent_ns},{arrival.delay_ns}" for arrival in self._arrivals()]
        file.write_text("\n".join(["sequence,sent_ns,delay_ns", *lines]) + "\n")

    def _arrivals(self) -> Any:
        return self._keep[1][0 : self._sink.recorded]


def check(result: int) -> None:
    """Raises OSError for a negative errno value, the native half's way to say that something failed."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))


@contextlib.contextmanager
def udp_sink_socket(address: str, port: int) -> Iterator[socket.socket]:
    """A bound socket with room for what arrives while the sink is asleep."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sink:
        sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        sink.bind((address, port))
        yield sink


@contextlib.contextmanager
def udp_source_socket(address: str, port: int, bind_port: int = 0) -> Iterator[socket.socket]:
    """A connected socket; `bind_port` 0 leaves the source port to the kernel."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as source:
        if bind_port:
            source.bind(("", bind_port))
        source.connect((address, port))
        yield source


def interval_ps(rate_bps: int, payload_bytes: int) -> int:
    """The time from packet to packet at `rate_bps` of payload, as iperf counts it; 0, unpaced, for a rate of 0."""
    return payload_bytes * 8 * PS_PER_S // rate_bps if rate_bps else 0


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _run_until_signal(jobs: Sequence[Source | Sink], priority: int) -> None:
    """In threads of their own, one for all sources and one for all sinks: Python runs a signal's handler in the main
    thread, and only while that is not in C."""

    def stop(*_: object) -> None:
        for job in jobs:
            job.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if priority:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    sources = [job for job in jobs if isinstance(job, Source)]
    sinks = [job for job in jobs if isinstance(job, Sink)]
    with ThreadPoolExecutor(2) as threads:
        for work in [threads.submit(Source.run_all, sources), threads.submit(Sink.run_all, sinks)]:
            work.result()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # ending takes a while, and is not urgent


@contextlib.contextmanager
def _send(args: argparse.Namespace) -> Iterator[Source]:
    address, port = args.to
    with udp_source_socket(address, port, args.bind_port) as channel:
        yield Source(
            channel,
            [bytes(args.payload)],
            interval_ps=interval_ps(args.rate, args.payload),
            burst=args.burst,
            count=args.count,
            duration_ns=args.seconds,
            stamp_offset=0,
        )


@contextlib.contextmanager
def _receive(args: argparse.Namespace) -> Iterator[Sink]:
    with udp_sink_socket(args.address, args.port) as channel:
        sink = Sink(channel, capacity=args.count, duration_ns=args.seconds, idle_ns=args.idle)
        yield sink
    if args.delays:
        sink.write_delays(args.delays)


@contextlib.contextmanager
def _sink(args: argparse.Namespace) -> Iterator[Sink]:
    with udp_sink_socket(args.address, args.port) as channel:
        yield Sink(channel, duration_ns=args.seconds, idle_ns=args.idle)


def _alone(args: argparse.Namespace) -> dict[str, Any]:
    with PROGRAMS[args.program](args) as job:
        _run_until_signal([job], args.priority)
    return job.result()


def _together(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Raises OSError. The lines' own `--priority` and `--json` do not count."""
    lines = [_parser().parse_args(line.split()) for line in args.file.read_text().splitlines()]
    with ExitStack() as stack:
        jobs = [stack.enter_context(PROGRAMS[line.program](line)) for line in lines]
        print(READY, flush=True)
        _run_until_signal(jobs, args.priority)
    return [job.result() for job in jobs]


def _endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not port.isdecimal() or int(port) not in PORTS:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not an address and a port; write 10.0.0.2:5004 or [fd00::2]:5004"
        )
    return address.strip("[]"), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.traffic", description="Send or receive measured UDP traffic."
    )
    programs = parser.add_subparsers(dest="program", metavar="PROGRAM", required=True)
    process = argparse.ArgumentParser(add_help=False)
    process.add_argument("--priority", type=int, default=0, choices=range(100), metavar="N", help="SCHED_FIFO priority")
    process.add_argument("--json", default="-", metavar="FILE", help="where the result goes (default: standard output)")
    common = argparse.ArgumentParser(add_help=False, parents=[process])
    common.add_argument("--seconds", type=seconds, default=0, help="end after this time (default: no limit)")
    _send_arguments(programs.add_parser("send", parents=[common], help="send at a fixed rate"))
    receive = programs.add_parser("receive", parents=[common], help="measure delay, duplicates and order")
    _listen_arguments(receive)
    receive.add_argument(
        "--count", type=integer(COUNTS), default=1_000_000, help="end after so many packets (default: a million)"
    )
    receive.add_argument(
        "--delays", type=Path, metavar="FILE", help="write each packet's sequence number, send time and delay, CSV"
    )
    _listen_arguments(programs.add_parser("sink", parents=[common], help="count packets and bytes, cheaply"))
    together = programs.add_parser(TOGETHER, parents=[process], help="run the programs that a file lists, at once")
    together.add_argument("file", type=Path, metavar="FILE", help="a program with its options on each line")
    return parser


def _send_arguments(send: argparse.ArgumentParser) -> None:
    add = send.add_argument
    add("--to", type=_endpoint, required=True, metavar="ADDRESS:PORT")
    add("--rate", type=quantity(RATE), default=0, help="of UDP payload, such as 2Mbps (default: as fast as possible)")
    add("--payload", type=integer(PAYLOADS), default=1470, metavar="BYTES", help="of each packet (default: 1470)")
    add("--count", type=integer(COUNTS), default=0, help="end after so many packets (default: no limit)")
    add("--burst", type=int, default=1, choices=range(1, BATCH + 1), metavar="N",
        help=f"packets at each wake-up, 1 to {BATCH} (default: 1)")  # fmt: skip
    add("--bind-port", type=integer(PORTS), default=0, metavar="PORT", help="source port (default: any)")


def _listen_arguments(listener: argparse.ArgumentParser) -> None:
    listener.add_argument("--port", type=integer(PORTS), required=True)
    listener.add_argument("--address", default="0.0.0.0", help="to listen at (default: all of IPv4)")
    listener.add_argument(
        "--idle", type=seconds, default=0, metavar="SECONDS", help="end so long after the last packet"
    )


PROGRAMS: dict[str, Callable[[argparse.Namespace], AbstractContextManager[Source | Sink]]] = {
    "send": _send,
    "receive": _receive,
    "sink": _sink,
}


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        text = json.dumps(_together(args) if args.program == TOGETHER else _alone(args)) + "\n"
        if args.json == "-":
            sys.stdout.write(text)
        else:
            Path(args.json).write_text(text)
    except OSError as error:
        print(CannotRun(f"{args.program}: {error}", "check the address, the port, the file; be root"), file=sys.stderr)
        return CannotRun.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
