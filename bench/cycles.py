"""Does anything stay behind? `rtvnic up` is started and ended again and again: by SIGINT, by SIGTERM, now and then by
SIGKILL, after which the next start has to clean up."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import Report, Verdict, publish
from controller.errors import CannotRun
from rtvnic.arguments import integer
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "start and end a small network again and again, and look for what stays behind"

COUNT = 100
KILL_EVERY = 10
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Cycle:
    """One run: what ended it, how long it took to come up and to end, and what was still there afterwards."""

    ended_by: signal.Signals
    start_s: float
    stop_s: float
    left: Sequence[str]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=integer(range(1, 10_001)), default=COUNT, help=f"cycles (default: {COUNT})")


def run(args: argparse.Namespace) -> int:
    """Run the cycles, print what they took, and say whether anything was left."""
    import topologies
    from topologies.interruption import interruptible

    file = Path(topologies.__file__).parent / "one_channel.yaml"
    progress = Progress(args.count)
    cycles = []
    with interruptible():
        for number in range(1, args.count + 1):
            how = way_to_end(number, args.count)
            progress.step(f"up, {how.name}")
            cycles.append(cycle(file, how))
    progress.end()
    return publish(report(cycles), args)


def way_to_end(number: int, count: int) -> signal.Signals:
    """What ends cycle `number` of `count`. SIGKILL never ends the last: no start would follow, to clean up."""
    if number % KILL_EVERY == 0 and number < count:
        return signal.SIGKILL
    return signal.SIGINT if number % 2 else signal.SIGTERM


def cycle(file: Path, how: signal.Signals) -> Cycle:
    """One run of `file`. After SIGKILL nothing is asked: what is left then, the next cycle finds. Raises CannotRun."""
    from bench import snapshot

    before = snapshot.take()
    begun_s = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "rtvnic", "up", str(file)], text=True, **_PIPES) as process:
        try:
            _await_up(process)
            up_s = time.monotonic()
            process.send_signal(how)
            process.communicate(timeout=STOP_TIMEOUT_S)
        finally:
            process.terminate()
    ended_s = time.monotonic()
    left = [] if how is signal.SIGKILL else snapshot.left_since(before)
    return Cycle(how, up_s - begun_s, ended_s - up_s, left)


_PIPES: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def _await_up(process: subprocess.Popen[str]) -> None:
    """Return when it has printed its table."""
    assert process.stdout is not None and process.stderr is not None
    if not process.stdout.readline():
        complaint = process.stderr.read().strip().splitlines() or ["no message"]
        raise CannotRun(f"rtvnic up ended: {complaint[-1]}", "try it alone: rtvnic up topologies/one_channel.yaml")


def report(cycles: Sequence[Cycle]) -> Report:
    return Report(
        experiment="cycles",
        headers=("ended by", "cycles", "start mean", "max", "stop mean", "max s", "left"),
        rows=[row(how, [each for each in cycles if each.ended_by is how]) for how in _ways(cycles)],
        figures={"cycles": [figures(each) for each in cycles]},
        verdicts=verdicts(cycles),
        draw=lambda figure: draw(figure, cycles),
    )


def _ways(cycles: Sequence[Cycle]) -> list[signal.Signals]:
    return sorted({each.ended_by for each in cycles})


def row(how: signal.Signals, cycles: Sequence[Cycle]) -> tuple[object, ...]:
    starts, stops = [each.start_s for each in cycles], [each.stop_s for each in cycles]
    times = [f"{value:.2f}" for values in (starts, stops) for value in (sum(values) / len(values), max(values))]
    return (how.name, len(cycles), *times, sum(len(each.left) for each in cycles))


def verdicts(cycles: Sequence[Cycle]) -> list[Verdict]:
    """One line for all cycles, and one for each thing that stayed."""
    left = [f"cycle {number}: {what}" for number, each in enumerate(cycles, start=1) for what in each.left]
    return [
        Verdict(f"{len(cycles)} cycles left {len(left)} things behind, wanted none", not left),
        *(Verdict(text, False) for text in left),
    ]


def figures(each: Cycle) -> dict[str, Any]:
    times = {"start_s": round(each.start_s, 3), "stop_s": round(each.stop_s, 3)}
    return {"ended_by": each.ended_by.name, **times, "left": list(each.left)}


def draw(figure: Figure, cycles: Sequence[Cycle]) -> None:
    """Where a curve rises, something gathers from cycle to cycle."""
    axes = figure.subplots()
    numbers = range(1, len(cycles) + 1)
    axes.plot(numbers, [each.start_s for each in cycles], label="start")
    axes.plot(numbers, [each.stop_s for each in cycles], label="stop")
    axes.set_xlabel("cycle")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
    axes.set_title("Starting and ending one_channel.yaml")
    axes.legend()
