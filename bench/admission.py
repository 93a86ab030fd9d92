"""How long does it take to decide about one more channel, for the whole network, beside many that are known?

In two networks: eight hypervisors at two switches, between any two of which channels run, and one uplink that all
channels leave by. All deadlines differ and are shorter than the slack, so that none can be left out or added up, and
each further channel moves bounds. Nothing is sent.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from bench.report import Report, Verdict, publish
from controller.admission.guarantee import Guarantees
from controller.model import Channel, Network
from controller.topology_file.load import parse
from controller.units import NS_PER_MS
from rtvnic.arguments import integer
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "how long admission takes over one more channel"

SIZES = (100, 1_000, 10_000)
MOST_MS = {1_000: 1, 10_000: 20}
COUNT = 300
SEED = 1

HYPERVISORS = 8
RATE = "10Gbps"
DEADLINES_NS = (300 * NS_PER_MS, 1000 * NS_PER_MS)
RATES_BPS = (20_000, 60_000)
SPREAD, SHARED = "8 hypervisors", "one uplink"
TEMPLATE = "first"


@dataclass(frozen=True)
class Case:
    """So many channels in one of the two networks: `anew_ns` for all of them, `times_ns` for one more each."""

    name: str
    size: int
    anew_ns: int
    times_ns: Sequence[int]
    accepted: int

    @property
    def median_ms(self) -> float:
        return median(self.times_ns) / NS_PER_MS

    @property
    def p99_ms(self) -> float:
        return quantiles(self.times_ns, n=100, method="inclusive")[-1] / NS_PER_MS


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--count", type=integer(range(2, 10_001)), default=COUNT, help=f"decisions for each case (default: {COUNT})"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether a decision is quick enough."""
    progress = Progress(2 * len(SIZES))
    cases = []
    for name in (SPREAD, SHARED):
        for size in SIZES:
            progress.step(f"{name}, {size:,} channels")
            cases.append(measure(name, size, args.count))
    progress.end()
    return publish(report(cases), args)


def measure(name: str, size: int, count: int) -> Case:
    base = network()
    made = channels(base, name, Random(SEED))
    full = replace(base, channels={each.name: each for _, each in zip(range(size), made, strict=False)})
    start_ns = time.perf_counter_ns()
    known = Guarantees(full)
    refusals = known.refusals
    anew_ns = time.perf_counter_ns() - start_ns
    assert not refusals, "the network must have room"
    decisions = [decide(known, next(made)) for _ in range(count)]
    return Case(name, size, anew_ns, [took_ns for took_ns, _ in decisions], sum(accepted for _, accepted in decisions))


def decide(known: Guarantees, channel: Channel) -> tuple[int, bool]:
    """How long it takes to decide about `channel` beside those that are known, and whether it is accepted."""
    start_ns = time.perf_counter_ns()
    network = replace(known.network, channels={**known.network.channels, channel.name: channel})
    is_accepted = not Guarantees(network, known).refusals
    return time.perf_counter_ns() - start_ns, is_accepted


def network() -> Network:
    """A plain switch and an Open vSwitch one, with half of the hypervisors each; one channel to make others of."""
    numbers = range(HYPERVISORS)
    switches = {"near": "plain", "far": "ovs"}
    hypervisors = {
        f"h{number}": {"uplink": {"rate": RATE, "switch": [*switches][2 * number // HYPERVISORS], "be_slack": "5s"}}
        for number in numbers
    }
    vms = {f"vm{number}": {"hypervisor": f"h{number}", "ip": f"10.0.0.{number + 1}"} for number in numbers}
    first = {"from": "vm0", "to": f"vm{HYPERVISORS - 1}", "deadline": "1s", "min_rate": "20kbps"}
    parts = {"hypervisors": hypervisors, "switches": switches, "links": [["near", "far", RATE]], "vms": vms}
    text = json.dumps({"version": 1, **parts, "channels": {TEMPLATE: first}})
    return parse(text.encode(), Path("admission.yaml"), is_admission_asked=False)


def channels(base: Network, name: str, random: Random) -> Iterator[Channel]:
    """Different ones, without end; as SHARED all from the first VM to the last."""
    template, number = base.channels[TEMPLATE], 0
    while True:
        number += 1
        deadline_ns = random.randint(*DEADLINES_NS)
        talker, listener = random.sample([*base.vms], 2) if name == SPREAD else (template.talker, template.listener)
        yield replace(
            template,
            name=f"channel{number}",
            talker=talker,
            listener=listener,
            deadline_ns=deadline_ns,
            rate_bps=random.randint(*RATES_BPS),
            deadline_class=next(each for each in base.classes if each.takes(deadline_ns)),
        )


def report(cases: Sequence[Case]) -> Report:
    return Report(
        experiment="admission",
        headers=("", "channels", "all anew ms", "one more: median ms", "p99", "worst", "accepted"),
        rows=[row(case) for case in cases],
        figures={"cases": [figures(case) for case in cases]},
        verdicts=[verdict(case) for case in cases if case.size in MOST_MS],
        draw=lambda figure: draw(figure, cases),
    )


def row(case: Case) -> tuple[str, ...]:
    times_ms = (case.median_ms, case.p99_ms, max(case.times_ns) / NS_PER_MS)
    accepted = f"{case.accepted} of {len(case.times_ns)}"
    anew = f"{case.anew_ns / NS_PER_MS:.1f}"
    return (case.name, f"{case.size:,}", anew, *(f"{each:.2f}" for each in times_ms), accepted)


def verdict(case: Case) -> Verdict:
    most_ms = MOST_MS[case.size]
    text = f"{case.name}: one more than {case.size:,} takes {case.median_ms:.2f} ms, wanted {most_ms} or less"
    return Verdict(text, case.median_ms <= most_ms)


def figures(case: Case) -> dict[str, Any]:
    return {
        "network": case.name,
        "channels": case.size,
        "anew_ns": case.anew_ns,
        "median_ns": round(case.median_ms * NS_PER_MS),
        "p99_ns": round(case.p99_ms * NS_PER_MS),
        "worst_ns": max(case.times_ns),
        "accepted": case.accepted,
    }


def draw(figure: Figure, cases: Sequence[Case]) -> None:
    axes = figure.subplots()
    for name in (SPREAD, SHARED):
        shown = [case for case in cases if case.name == name]
        sizes = [case.size for case in shown]
        axes.loglog(sizes, [case.median_ms for case in shown], "o-", label=f"{name}: one more, median")
        axes.loglog(sizes, [case.anew_ns / NS_PER_MS for case in shown], "o--", label=f"{name}: all anew")
    axes.loglog([*MOST_MS], [*MOST_MS.values()], "kv", label="wanted, at most")
    axes.set_xlabel("channels")
    axes.set_ylabel("ms")
    axes.set_title("How long a decision takes")
    axes.legend()
