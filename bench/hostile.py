"""What can a hostile neighbour on the OpenFlow port do to the others? A controller with one quiet switch, whose echoes
are timed while another process sends what hangs os-ken's parser and then mutated messages; then reconnect storms, and
connections that say nothing."""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.openflow_frames import (
    BARRIER_REPLY,
    ECHO_REPLY,
    ECHO_REQUEST,
    FEATURES_REPLY,
    GENUINE,
    HEADER,
    MULTIPART_REPLY,
    message,
    port,
)
from bench.report import Report, Verdict, percentile_ms, publish, times_row
from controller.errors import CannotRun
from controller.units import NS_PER_MS
from rtvnic.arguments import integer
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "what hostile OpenFlow connections do to a controller and its switches"

SECONDS = 20
QUIET_S = 5.0
EVERY_S = 0.005
CONNECTS, CONNECTS_S = 1000, 5.0
SILENT = 400
SETTLE_S = 10.0
LAST_S = 1.0
"""So long the controller may take to end with the attacker's last connection."""

LONGEST_S = 6 * 3600.0
POLL_S = 0.05
READY_S = 30
PORT_DESC = 13
FEATURES_REQUEST, MULTIPART_REQUEST, BARRIER_REQUEST = 5, 18, 20

MOST_MESSAGE_MS, MOST_ECHO_MS, MOST_CONNECT_MS = 50, 5, 100
MOST_GROWTH_KB = 50 * 1024
MOST_THREADS = 5

TOPOLOGY = """version: 1
hypervisors:
  left: {{uplink: 100Mbps, controller: {{openflow_port: {openflow}, rest_port: {rest}, peering_port: {peering}}}}}
switches: {{core: ovs}}
"""
LEFT, CORE = 1, 2


@dataclass(frozen=True)
class State:
    """Of the controller's process."""

    threads: int
    memory_kb: int


@dataclass(frozen=True)
class Outcome:
    """`attack` is what the attacker printed; echoes in ns, of the quiet time and of the attack."""

    attack: dict[str, Any]
    quiet_ns: Sequence[int]
    echoes_ns: Sequence[int]
    growth_kb: int
    threads_before: int
    threads_after: int
    connect_ns: int
    dropped_s: float


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames",
        type=integer(range(1, 100_000_001)),
        help=f"mutated messages (default: as many as go into {SECONDS} s)",
    )
    parser.add_argument("--seed", type=integer(range(1 << 32)), default=1, help="of the mutations (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether anybody suffered more than he may."""
    return publish(report(measure(args.frames, args.seed, Progress(4))), args)


def measure(count: int | None, seed: int, progress: Progress) -> Outcome:
    with _controller() as (process, openflow_port), Switch(openflow_port, LEFT) as switch:
        switch.await_served()
        progress.step("nothing")
        quiet_ns = _while(switch, lambda: time.sleep(QUIET_S))
        before = state(process.pid)
        progress.step("mutated messages")
        found: dict[str, Any] = {}
        echoes_ns = _while(switch, lambda: found.update(_attack(openflow_port, count, seed)))
        growth_kb = state(process.pid).memory_kb - before.memory_kb
        progress.step(f"{CONNECTS:,} connections in {CONNECTS_S:g} s")
        threads_before, threads_after = _storm(process.pid, openflow_port)
        progress.step(f"{SILENT} silent connections")
        connect_ns, dropped_s = _silence(openflow_port)
        progress.end()
    return Outcome(found, quiet_ns, echoes_ns, growth_kb, threads_before, threads_after, connect_ns, dropped_s)


@contextmanager
def _controller() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A controller in a process of its own, and its OpenFlow port. Raises CannotRun."""
    with tempfile.TemporaryDirectory() as directory:
        file, ports = Path(directory) / "hostile.yaml", _free_ports()
        file.write_text(TOPOLOGY.format(openflow=ports[0], rest=ports[1], peering=ports[2]))
        words = [sys.executable, "-m", "rtvnic", "controller", str(file), "--domain", "left"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], READY_S)
            if not ready or process.stdout.readline() != "ready\n":
                raise CannotRun("the controller did not start", f"try it alone: {' '.join(words[1:])}")
            yield process, ports[0]
        finally:
            process.kill()
            process.communicate()


def _free_ports() -> list[int]:
    """For OpenFlow, REST and peering."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return [listener.getsockname()[1] for listener in listeners]


class Switch:
    """A switch without flows: answers what it is asked, in a thread, and times its own echo requests if told to."""

    def __init__(self, openflow_port: int, datapath_id: int) -> None:
        self.echoes_ns: list[int] = []
        self.is_probing = False
        self._datapath_id = datapath_id
        self._is_served = threading.Event()
        self._connection = socket.create_connection(("127.0.0.1", openflow_port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sendall(GENUINE["hello"])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

    def await_served(self) -> None:
        """Return when the controller asks for its flows. Raises CannotRun."""
        if not self._is_served.wait(READY_S):
            raise CannotRun("the controller does not serve a switch", "see what it logs: rtvnic controller")

    def _run(self) -> None:
        data, next_s = bytearray(), time.monotonic()
        with suppress(OSError):
            while True:
                if self.is_probing and time.monotonic() >= next_s:
                    self._connection.sendall(message(ECHO_REQUEST, struct.pack("!Q", time.monotonic_ns())))
                    next_s = time.monotonic() + EVERY_S
                ready, _, _ = select.select([self._connection], [], [], EVERY_S)
                if ready and not (received := self._connection.recv(1 << 16)):
                    return
                data += received if ready else b""
                self._take_all(data)

    def _take_all(self, data: bytearray) -> None:
        while len(data) >= HEADER.size and len(data) >= (length := HEADER.unpack_from(data)[2]):
            self._take(bytes(data[:length]))
            del data[:length]

    def _take(self, frame: bytes) -> None:
        _, kind, _, xid = HEADER.unpack_from(frame)
        body = frame[HEADER.size :]
        if kind == ECHO_REPLY:
            self.echoes_ns.append(time.monotonic_ns() - struct.unpack("!Q", body)[0])
        elif kind == MULTIPART_REQUEST:
            self._tell(xid, struct.unpack_from("!H", body)[0])
        elif kind == FEATURES_REQUEST:
            self._send(FEATURES_REPLY, xid, struct.pack("!QIBB2xII", self._datapath_id, 0, 254, 0, 0, 0))
        elif kind in _PLAIN_ANSWERS:
            self._send(_PLAIN_ANSWERS[kind], xid, body if kind == ECHO_REQUEST else b"")

    def _tell(self, xid: int, what: int) -> None:
        if what != PORT_DESC:
            self._is_served.set()
        body = b"".join(map(port, range(1, 20))) if what == PORT_DESC else b""
        self._send(MULTIPART_REPLY, xid, struct.pack("!HH4x", what, 0) + body)

    def _send(self, kind: int, xid: int, body: bytes) -> None:
        self._connection.sendall(HEADER.pack(4, kind, HEADER.size + len(body), xid) + body)


_PLAIN_ANSWERS = {ECHO_REQUEST: ECHO_REPLY, BARRIER_REQUEST: BARRIER_REPLY}


def _while(switch: Switch, action: Any) -> list[int]:
    """The echo times of `switch` while `action` goes on."""
    switch.echoes_ns, switch.is_probing = [], True
    action()
    switch.is_probing = False
    return switch.echoes_ns


def _attack(openflow_port: int, count: int | None, seed: int) -> dict[str, Any]:
    limits = (10**9, SECONDS) if count is None else (count, LONGEST_S)
    words = [sys.executable, "-m", "bench.attacker", str(openflow_port), *map(str, limits), str(seed)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CannotRun("the attacker did not end well", "its last words are above")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _storm(pid: int, openflow_port: int) -> tuple[int, int]:
    """The controller's threads before CONNECTS connections in CONNECTS_S, and at the end of SETTLE_S after them."""
    time.sleep(LAST_S)
    before = state(pid).threads
    start_s = time.monotonic()
    for number in range(CONNECTS):
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", openflow_port)) as connection:
            connection.sendall(GENUINE["hello"] + GENUINE["features"] + GENUINE["port desc"])
        time.sleep(max(0.0, start_s + (number + 1) * CONNECTS_S / CONNECTS - time.monotonic()))
    end_s = time.monotonic() + SETTLE_S
    while abs((after := state(pid).threads) - before) > MOST_THREADS and time.monotonic() < end_s:
        time.sleep(POLL_S)
    return before, after


def _silence(openflow_port: int) -> tuple[int, float]:
    """How long a new switch took beside SILENT connections, in ns, and how long the last of those stayed."""
    with ExitStack() as stack:
        address, start_s = ("127.0.0.1", openflow_port), time.monotonic()
        silent = {stack.enter_context(socket.create_connection(address)) for _ in range(SILENT)}
        start_ns = time.monotonic_ns()
        with Switch(openflow_port, CORE) as switch:
            switch.await_served()
            connect_ns = time.monotonic_ns() - start_ns
            while silent and time.monotonic() < start_s + 2 * SETTLE_S:
                silent -= set(select.select(list(silent), [], [], POLL_S)[0])
        return connect_ns, time.monotonic() - start_s if not silent else float("inf")


def state(pid: int) -> State:
    """Raises CannotRun when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise CannotRun("the controller has ended", "see what it logs: rtvnic controller") from error
    lines = dict(line.split(":", 1) for line in text.splitlines())
    if "VmRSS" not in lines:
        raise CannotRun("the controller has ended", "see what it logs: rtvnic controller")
    return State(int(lines["Threads"]), int(lines["VmRSS"].split()[0]))


def report(outcome: Outcome) -> Report:
    return Report(
        experiment="hostile",
        headers=("echo of another switch", "count", "p50 ms", "p99 ms", "max ms"),
        rows=[times_row("before", outcome.quiet_ns), times_row("under attack", outcome.echoes_ns)],
        figures=figures(outcome),
        verdicts=verdicts(outcome),
        draw=lambda figure: draw(figure, outcome),
    )


def verdicts(outcome: Outcome) -> list[Verdict]:
    attack = outcome.attack
    message_ms, once_ms = attack["longest_ns"] / NS_PER_MS, attack["longest_once_ns"] / NS_PER_MS
    echo_ms = percentile_ms(outcome.echoes_ns, 99)
    growth_mb, connect_ms = outcome.growth_kb / 1024, outcome.connect_ns / NS_PER_MS
    threads = outcome.threads_after - outcome.threads_before
    return [
        Verdict(f"{attack['frames']:,} hostile messages, hung up on after {attack['hung_up']:,}: the longest takes "
                f"{message_ms:.1f} ms, wanted {MOST_MESSAGE_MS} or less (seen once: {once_ms:.1f} ms)",
                message_ms <= MOST_MESSAGE_MS),
        Verdict(f"another switch's echo p99 {echo_ms:.2f} ms, wanted {MOST_ECHO_MS} or less", echo_ms <= MOST_ECHO_MS),
        Verdict(f"memory {growth_mb:+.1f} MB, wanted {MOST_GROWTH_KB // 1024:+} or less",
                outcome.growth_kb <= MOST_GROWTH_KB),
        Verdict(f"{CONNECTS:,} connections in {CONNECTS_S:g} s: {threads:+} threads within {SETTLE_S:g} s, "
                f"wanted {MOST_THREADS} at most", abs(threads) <= MOST_THREADS),
        Verdict(f"beside {SILENT} silent connections a switch was served in {connect_ms:.1f} ms, "
                f"wanted {MOST_CONNECT_MS} or less", connect_ms <= MOST_CONNECT_MS),
        Verdict(f"the last of those was dropped after {outcome.dropped_s:.1f} s, wanted {SETTLE_S:g} or less",
                outcome.dropped_s <= SETTLE_S),
    ]  # fmt: skip


def figures(outcome: Outcome) -> dict[str, Any]:
    return {
        **outcome.attack,
        "echo_p99_quiet_ms": percentile_ms(outcome.quiet_ns, 99),
        "echo_p99_ms": percentile_ms(outcome.echoes_ns, 99),
        "echo_max_ms": max(outcome.echoes_ns, default=0) / NS_PER_MS,
        "memory_growth_kb": outcome.growth_kb,
        "threads": [outcome.threads_before, outcome.threads_after],
        "connect_ms": outcome.connect_ns / NS_PER_MS,
        "dropped_s": None if outcome.dropped_s == float("inf") else round(outcome.dropped_s, 2),
    }


def draw(figure: Figure, outcome: Outcome) -> None:
    axes = figure.subplots()
    for name, times_ns in (("before", outcome.quiet_ns), ("under attack", outcome.echoes_ns)):
        ordered_ms = [each / NS_PER_MS for each in sorted(times_ns)]
        axes.plot(ordered_ms, [100 * (index + 1) / len(ordered_ms) for index in range(len(ordered_ms))], label=name)
    axes.axvline(MOST_ECHO_MS, linestyle="--")
    axes.set_xlabel("echo of another switch, ms")
    axes.set_ylabel("% answered within that time")
    axes.set_xscale("log")
    axes.set_title("A switch beside a hostile one")
    axes.legend()
