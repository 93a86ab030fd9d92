"""`rtvnic shim`: the EDF shim between any two interfaces, with or without a controller.

The main thread serves the socket and prints; the core's threads carry the packets.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller import notify
from controller.errors import CannotRun
from controller.units import DURATION, NS_PER_S, RATE, ms
from rtvnic.arguments import integer, processors, quantity, seconds
from rtvnic.table import aligned

if TYPE_CHECKING:
    from dataplane.server import Server
    from dataplane.shim import Shim, ShimConfig

EPILOG = """\
What comes in by INNER leaves by UPLINK, in one direction. A frame with two MPLS labels is real-time: the outermost is
its deadline (TTL 255: in ticks of 10 us from its arrival; TTL 254: stamped by a shim before this one), the next its
channel. All other frames are best effort. Labelled frames that come in by UPLINK are only looked at: did they come in
time?

Example: a shim between two veth pairs, that has a 100 Mbit/s link to give.

  ip link add app type veth peer name app-shim       # what is sent into `app` is scheduled
  ip link add wire type veth peer name far mtu 1508  # and comes out of `far`
  for i in app app-shim wire far; do ip link set $i up; done
  rtvnic shim app-shim wire --rate 100Mbps --report 1

With --socket, the next shim at the same socket, between the same interfaces, goes on with this one's channels, counters
and settings, however this one ends. They are in PATH.state, or in /dev/shm if PATH is on a disk; without that file it
begins anew.

Exit code: 0 when stopped by SIGINT or SIGTERM, 2 when it could not run or an interface has gone.
"""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PRIORITY = 50


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("inner", metavar="INNER", help="the interface that frames come from")
    add("uplink", metavar="UPLINK", help="the interface that they leave by (MTU 1508 or more)")
    add("--rate", type=quantity(RATE), default=0, help="the uplink's rate, such as 100Mbps (default: unpaced)")
    add("--be-slack", type=quantity(DURATION), default=2_000_000, metavar="TIME",
        help="best effort goes first while all real-time frames have this much time left (default: 2ms)")  # fmt: skip
    add("--liveness", default="", metavar="TAP",
        help="a TAP interface to hold up while the shim works; with --socket, from the request `ready` on")  # fmt: skip
    add("--socket", type=Path, metavar="PATH", help="serve configuration, statistics and misses at this Unix socket")
    add("--priority", type=int, default=PRIORITY, choices=range(100), metavar="N",
        help=f"real-time priority (SCHED_FIFO), 1 to 99, or 0 for none (default: {PRIORITY})")  # fmt: skip
    add("--cpus", type=processors, metavar="N,N", help="the processors that it runs on (default: all)")
    add(
        "--queue",
        type=integer(range(1, 1_000_001)),
        default=16_384,
        metavar="N",
        help="real-time frames that may wait (default: 16384)",
    )
    add("--qdisc-bypass", action="store_true", help="send past the uplink's queueing discipline")
    add("--report", type=seconds, metavar="SECONDS", default=0,
        help="print a line each time, and a summary at the end (default: neither)")  # fmt: skip
    add("--die-with-parent", type=int, metavar="PID", help="stop when this process, its parent, ends")


def run(args: argparse.Namespace) -> int:
    """Run until a signal. Starts in a fraction of a second: whoever restarts it counts on that."""
    from dataplane.errors import ShimError
    from dataplane.server import Server
    from dataplane.shim import Shim, die_with_parent

    if args.die_with_parent and not die_with_parent(args.die_with_parent):
        return 0
    signals = _catch_signals()
    try:
        if args.cpus:
            os.sched_setaffinity(0, args.cpus)
    except OSError as error:
        named = ",".join(map(str, args.cpus))
        raise CannotRun(f"cannot run on the processors {named}: {error.strerror}", "`nproc` counts them") from None
    try:
        with Shim(_config(args)) as shim, Server(shim) as server:
            if args.socket is None:
                shim.ready()
            else:  # whoever gives it its settings says when they are complete, unless it goes on with those it had
                server.listen(args.socket)
            for warning in shim.warnings:
                print(warning, file=sys.stderr)
            print("ready", flush=True)
            notify.tell(notify.READY)
            _serve(server, shim, signals, args.report / NS_PER_S)
    except ShimError as error:
        raise CannotRun(error.what, error.cure) from error
    return 0


def _config(args: argparse.Namespace) -> ShimConfig:
    from dataplane.shim import ShimConfig
    from dataplane.state import state_file

    return ShimConfig(
        inner=args.inner,
        uplink=args.uplink,
        rate_bps=args.rate,
        be_slack_ns=args.be_slack,
        queue_capacity=args.queue,
        priority=args.priority,
        bypass_qdisc=args.qdisc_bypass,
        liveness=args.liveness,
        state=state_file(args.socket) if args.socket else None,
    )


def _catch_signals() -> int:
    """A descriptor that becomes readable when the process is to stop."""
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_end)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    return read_end


def _serve(server: Server, shim: Shim, signals: int, report_s: float) -> None:
    """Until a signal comes. A line each `report_s` and a summary at the end; 0: neither."""
    stop: list[int] = []
    server.watch(signals, lambda: stop.extend(os.read(signals, 64)))
    chores = [_Chore(period_s, chore) for period_s, chore in _chores(shim, report_s) if period_s]
    while not stop:
        server.wait(min((chore.due_in_s() for chore in chores), default=None))
        for chore in chores:
            if not chore.due_in_s():
                chore.do()
    notify.tell(notify.STOPPING)
    if report_s:
        print(_summary(shim.statistics(shim.labels)), flush=True)


def _chores(shim: Shim, report_s: float) -> Iterator[tuple[float | None, Callable[[], None]]]:
    """What is done again and again, and how often."""

    def beat() -> None:
        shim.await_turn()
        notify.tell(notify.ALIVE)

    yield report_s, lambda: print(_line(shim.statistics(())), flush=True)
    yield notify.period_s(), beat


class _Chore:
    """Something to be done every `period_s`, first after one; what was put off too long is not made up for."""

    def __init__(self, period_s: float, action: Callable[[], None]) -> None:
        self._period_s = period_s
        self._action = action
        self._next_s = time.monotonic() + period_s

    def due_in_s(self) -> float:
        return max(0.0, self._next_s - time.monotonic())

    def do(self) -> None:
        self._action()
        self._next_s = max(self._next_s + self._period_s, time.monotonic())


def _line(statistics: dict[str, Any]) -> str:
    egress, ingress = statistics["egress"], statistics["ingress"]
    return (
        f"sent {egress['real_time_packets']} real-time, {egress['best_effort_packets']} best-effort, "
        f"{egress['late_departures']} late; checked {ingress['packets']}, {ingress['missed']} missed"
    )


HEADERS = (
    "",
    "sent",
    "delay p50",
    "p99",
    "max ms",
    "checked",
    "missed",
    "uncertain",
    "unjudged",
    "bypassed",
    "lateness p50",
    "p99",
    "max ms",
)


def _summary(statistics: dict[str, Any]) -> str:
    rows = [_row(f"class {tc}", books) for tc, books in statistics["classes"].items()]
    rows += [_row(f"channel {label}", books) for label, books in statistics["channels"].items()]
    lines = [aligned(HEADERS, rows)]
    for side in ("egress", "ingress"):
        lines.append(f"{side}: " + ", ".join(f"{name} {value}" for name, value in statistics[side].items() if value))
    return "\n".join(lines)


def _row(name: str, books: dict[str, Any]) -> tuple[object, ...]:
    def quantiles(summary: dict[str, Any]) -> list[str | None]:
        return [ms(summary[key]) if summary["count"] else None for key in ("p50", "p99", "max")]

    sent = books["packets"] if "packets" in books else books["sent_packets"]
    counts = ("received_packets", "missed", "within_clock_error", "unjudged", "bypassed")
    received = [books[key] for key in counts]
    return (name, sent, *quantiles(books["queueing_delay"]), *received, *quantiles(books["lateness"]))
