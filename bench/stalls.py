"""How long this machine holds up even its most urgent threads: what is under a measurement, not in it.

A virtual machine's processors are taken away now and then, for milliseconds; no scheduler inside can help it. One
process for each processor asks to be woken every millisecond at the highest priority, and notes when it was not.

    python -m bench.stalls --cpu 0      # until SIGTERM; prints its stalls as JSON
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

from controller.errors import CannotRun
from controller.units import NS_PER_MS, NS_PER_S

PERIOD_NS = NS_PER_MS
LEAST_NS = 300_000
"""Shorter ones are the cost of waking up."""

STALLS_MAX = 100_000
PRIORITY = 99


@dataclass(frozen=True)
class Stall:
    """A processor did nothing that it was asked to from `start_ns` to `end_ns` of the wall clock."""

    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        return self.start_ns <= end_ns and start_ns <= self.end_ns


class StallWatch:
    """Watches all processors inside a with block; once that is over, `by_cpu` and `stalls` have what was seen.

    Stalls of `least_ns` count, with 0 every wake-up. The end of the block raises CannotRun if it is not permitted.
    """

    def __init__(self, priority: int = PRIORITY, least_ns: int = LEAST_NS) -> None:
        self.by_cpu: dict[int, list[Stall]] = {}
        self._options = ["--priority", str(priority), "--least", str(least_ns)]
        self._watchers: dict[int, subprocess.Popen[str]] = {}

    @property
    def stalls(self) -> Sequence[Stall]:
        return [stall for stalls in self.by_cpu.values() for stall in stalls]

    def __enter__(self) -> Self:
        for cpu in sorted(os.sched_getaffinity(0)):
            words = [sys.executable, "-m", "bench.stalls", "--cpu", str(cpu), *self._options]
            self._watchers[cpu] = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for watcher in self._watchers.values():
            watcher.terminate()
        outputs = {cpu: watcher.communicate()[0] for cpu, watcher in self._watchers.items()}
        if kind is None and any(watcher.returncode == CannotRun.exit_code for watcher in self._watchers.values()):
            raise CannotRun("processors cannot be watched without leave to use SCHED_FIFO", "run it as root")
        self.by_cpu = {cpu: [Stall(*each) for each in json.loads(output or "[]")] for cpu, output in outputs.items()}


def watch(is_over: list[bool], least_ns: int = LEAST_NS) -> list[tuple[int, int]]:
    """Stalls of the calling thread's processor, as start and end on the wall clock, until `is_over` has an item."""
    stalls: list[tuple[int, int]] = []
    due_ns = time.monotonic_ns()
    while not is_over:
        due_ns += PERIOD_NS
        time.sleep(max(0, due_ns - time.monotonic_ns()) / NS_PER_S)
        late_ns = time.monotonic_ns() - due_ns
        if late_ns >= least_ns and len(stalls) < STALLS_MAX:
            now_ns = time.time_ns()
            stalls.append((now_ns - late_ns, now_ns))
        due_ns += max(0, late_ns)
    return stalls


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stalls", description="Note when a processor stood still.")
    parser.add_argument("--cpu", type=int, required=True, metavar="N", help="the processor to watch")
    parser.add_argument("--priority", type=int, default=PRIORITY, metavar="N", help="of SCHED_FIFO")
    parser.add_argument("--least", type=int, default=LEAST_NS, metavar="NS", help="what is shorter does not count")
    args = parser.parse_args(argv)
    is_over: list[bool] = []

    def end(_: int, __: FrameType | None) -> Any:
        is_over.append(True)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    gc.disable()
    os.sched_setaffinity(0, [args.cpu])
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(args.priority))
    except PermissionError:
        return CannotRun.exit_code
    print(json.dumps(watch(is_over, args.least)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
