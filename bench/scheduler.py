"""What does scheduling cost? The EDF shim beside a bare ring-to-sendmmsg forwarder, by turns, and its queue alone."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import forwarders
from bench._traffic import ffi, lib
from bench.forwarders import Lane, Rates
from bench.network import private_network
from bench.report import Report, Verdict, publish
from bench.traffic import check
from controller.errors import CannotRun
from controller.units import NS_PER_S
from dataplane.errors import ShimError
from rtvnic.arguments import seconds
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "what the EDF shim moves beside a bare forwarder, and what its queue costs"

SIZES = (64, 1514)
ROUNDS = 15
"""Many short ones: a busy moment of the machine spoils a few, and the median does not see those."""

OVERHEAD_S = 0.1
"""What a turn takes beside its window: the source starts, settles and stops."""

LEAST_WINDOW_S = 0.05
QUEUE_DEPTH = 1000
QUEUE_PAIRS = 2_000_000
LEAST_RATIO = 0.8
MOST_QUEUE_NS = 500


@dataclass(frozen=True)
class Case:
    """One kind and size of frames, and the rates of both forwarders, round by round."""

    kind: str
    size: int
    bare: Sequence[Rates]
    shim: Sequence[Rates]

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.size} B"

    @property
    def ratio(self) -> float:
        """What the shim moves of what the bare forwarder moves: the median of the rounds."""
        return median(shim.moved / bare.moved for shim, bare in zip(self.shim, self.bare, strict=True))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=seconds, default=30 * NS_PER_S, help="for all of it (default: 30)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether the shim moves enough."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise CannotRun("the source and the forwarder need a core each, and there is one", "allow this process another")
    try:
        cases = measure_cases(cores, args.seconds / NS_PER_S)
    except ShimError as error:
        raise CannotRun(error.what, error.cure) from error
    except OSError as error:
        raise CannotRun(f"the experiment broke off: {error}", "run it as root, with leave to use SCHED_FIFO") from error
    with forwarders.pinned(cores[1]):
        queue_ns = measure_queue()
    return publish(report(cases, queue_ns), args)


def measure_cases(cores: Sequence[int], total_s: float) -> list[Case]:
    """Every kind and size of frames, in about `total_s`."""
    kinds = forwarders.RING_SLOTS
    window_s = max(total_s / (len(kinds) * len(SIZES) * ROUNDS * 2) - OVERHEAD_S, LEAST_WINDOW_S)
    progress = Progress(len(kinds) * len(SIZES))
    cases: list[Case] = []
    with private_network() as links:
        bare_lane, shim_lane = (forwarders.make_lane(links, name) for name in ("bare", "shim"))
        for kind in kinds:
            with forwarders.bare(bare_lane, cores[1], kind), forwarders.shim(shim_lane, cores[1]):
                for size in SIZES:
                    progress.step(f"{kind}, {size} bytes")
                    cases.append(measure_case(bare_lane, shim_lane, cores[0], kind, size, window_s))
    progress.end()
    return cases


def measure_case(bare_lane: Lane, shim_lane: Lane, core: int, kind: str, size: int, window_s: float) -> Case:
    """Both lanes by turns, `ROUNDS` times; the sources run on `core`."""
    templates = forwarders.frames(kind, size)
    rates = [
        [forwarders.measure(lane, core, templates, window_s) for lane in (bare_lane, shim_lane)] for _ in range(ROUNDS)
    ]
    return Case(kind, size, *zip(*rates, strict=True))


def measure_queue() -> float:
    """The mean cost in ns of one enqueue and one dequeue."""
    mean_ns = ffi.new("double *")
    check(lib.queue_cost(QUEUE_DEPTH, QUEUE_PAIRS, mean_ns))
    return float(mean_ns[0])


def moved_kpps(rates: Sequence[Rates]) -> float:
    return median(rate.moved for rate in rates) / 1000


def offered_kpps(rates: Sequence[Rates]) -> float:
    return median(rate.offered for rate in rates) / 1000


def report(cases: Sequence[Case], queue_ns: float) -> Report:
    """`of` is what was offered: a forwarder that moved all of it was limited by the source."""
    return Report(
        experiment="scheduler",
        headers=("frames", "bare kpps", "of", "shim kpps", "of", "shim/bare"),
        rows=[row(case) for case in cases],
        figures={"cases": [figures(case) for case in cases], "queue_ns": queue_ns, "queue_depth": QUEUE_DEPTH},
        verdicts=verdicts(cases, queue_ns),
        draw=lambda figure: draw(figure, cases),
    )


def row(case: Case) -> tuple[str, ...]:
    kpps = [f"{value(rates):.0f}" for rates in (case.bare, case.shim) for value in (moved_kpps, offered_kpps)]
    return (case.name, *kpps, f"{case.ratio:.2f}")


def verdicts(cases: Sequence[Case], queue_ns: float) -> list[Verdict]:
    moves = [
        Verdict(f"{case.name}: shim/bare {case.ratio:.2f}, wanted {LEAST_RATIO} or more", case.ratio >= LEAST_RATIO)
        for case in cases
    ]
    cost = f"enqueue + dequeue with {QUEUE_DEPTH:,} packets queued: {queue_ns:.0f} ns, wanted {MOST_QUEUE_NS} or less"
    return [*moves, Verdict(cost, queue_ns <= MOST_QUEUE_NS)]


def figures(case: Case) -> dict[str, Any]:
    rounds = {
        f"{name}_{what}_pps": [round(getattr(rate, what)) for rate in rates]
        for name, rates in (("bare", case.bare), ("shim", case.shim))
        for what in ("offered", "moved")
    }
    return {"kind": case.kind, "size_bytes": case.size, "ratio": round(case.ratio, 4), **rounds}


def draw(figure: Figure, cases: Sequence[Case]) -> None:
    axes = figure.subplots()
    width = 0.4
    for offset, label, rates in (
        (0.0, "bare", [case.bare for case in cases]),
        (width, "shim", [c.shim for c in cases]),
    ):
        bars = axes.bar([at + offset for at in range(len(cases))], [moved_kpps(r) for r in rates], width, label=label)
        axes.bar_label(bars, fmt="%.0f")
    axes.set_xticks([at + width / 2 for at in range(len(cases))], [case.name for case in cases])
    axes.set_ylabel("thousand frames per second")
    axes.set_title("One core: EDF shim beside a bare forwarder")
    axes.legend()
