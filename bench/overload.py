"""What is left of deadlines when more is sent than the link carries? Ten channels that ask for 120 % of it, against all
admission: first late packets give way (late: demote), then they keep their places (late: keep)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report import Report, Verdict, publish
from bench.streams import HOST_BURST, Exchange, Offer, Stream, exchange, network_of, topology
from controller.model import FULL_LABELLED_FRAME_BYTES, UDP_BYTES, VM_MTU, Late
from controller.units import DURATION, NS_PER_S
from rtvnic.arguments import seconds
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "120 % of a link in real-time traffic: late packets give way, or they do not"

RATE_BPS = 20_000_000
LOAD = 1.2
DEADLINES_MS = (5, 6, 8, 9, 10, 12, 14, 16, 18, 20)
LEAST_DEMOTED = 0.8
MOST_KEPT = 0.5
"""Of what `demote` has in time."""


@dataclass(frozen=True)
class Outcome:
    """One run: what late packets did, and what became of all packets."""

    late: Late
    exchange: Exchange

    @property
    def share(self) -> float:
        """Of all packets sent, those that arrived in time."""
        return in_time(self.exchange.streams) / max(sum(stream.sent for stream in self.exchange.streams), 1)


def in_time(streams: Sequence[Stream]) -> int:
    return sum(len(stream.arrived) - len(stream.missed) for stream in streams)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=seconds, default=8 * NS_PER_S, help="of traffic in each run (default: 8)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether giving way saves most packets."""
    from topologies.interruption import interruptible

    progress = Progress(2)
    with interruptible():
        outcomes = [measure(late, max(args.seconds / NS_PER_S, 1), progress) for late in (Late.DEMOTE, Late.KEEP)]
    progress.end()
    return publish(report(*outcomes), args)


def text(late: Late) -> str:
    """The topology file. A rate counts payload; together the channels ask for LOAD of the link on the wire."""
    wire_bps = LOAD * RATE_BPS / len(DEADLINES_MS)
    rate_bps = round(wire_bps * (VM_MTU - UDP_BYTES[4]) / FULL_LABELLED_FRAME_BYTES)
    terms = {"min_rate": f"{rate_bps}bps", "burst": HOST_BURST, "late": late.value}
    channels = {f"within{number}": {"deadline": f"{number}ms", **terms} for number in DEADLINES_MS}
    return topology(f"{RATE_BPS}bps", channels, allowance="1ms")


def measure(late: Late, seconds: float, progress: Progress) -> Outcome:
    """Each channel sends at its rate for `seconds`, and nobody else does."""
    from topologies.testbed import Testbed

    with (
        network_of(text(late), is_admission_asked=False) as network,
        Testbed(network, overrides_admission=True) as testbed,
    ):
        testbed.await_channels()
        progress.step(f"late: {late}: {seconds:g} s of {LOAD:.0%}")
        offers = [Offer(channel, channel.rate_bps) for channel in network.channels.values()]
        return Outcome(late, exchange(testbed, offers, seconds, progress, noise_bps=0))


def report(demote: Outcome, keep: Outcome) -> Report:
    pairs = list(zip(demote.exchange.streams, keep.exchange.streams, strict=True))
    return Report(
        experiment="overload",
        headers=("channel", "deadline", "sent", "in time", "demote", "sent", "in time", "keep"),
        rows=[*(row(*pair) for pair in pairs), total(demote, keep)],
        figures={outcome.late.value: figures(outcome) for outcome in (demote, keep)},
        verdicts=verdicts(demote, keep),
        draw=lambda figure: draw(figure, demote, keep),
    )


def row(demote: Stream, keep: Stream) -> tuple[object, ...]:
    both = [value for stream in (demote, keep) for value in _cells([stream])]
    return (demote.channel.name, DURATION.format(demote.channel.deadline_ns), *both)


def total(demote: Outcome, keep: Outcome) -> tuple[object, ...]:
    return ("all", "", *(value for outcome in (demote, keep) for value in _cells(outcome.exchange.streams)))


def _cells(streams: Sequence[Stream]) -> tuple[object, ...]:
    sent, arrived = sum(stream.sent for stream in streams), in_time(streams)
    return (sent, arrived, f"{arrived / max(sent, 1):.1%}")


def verdicts(demote: Outcome, keep: Outcome) -> list[Verdict]:
    best = f"{1 / LOAD:.1%} is all that the link carries"
    kept = f"where late packets keep their places {keep.share:.1%} are in time"
    return [
        Verdict(
            f"where late packets give way {demote.share:.1%} are in time, wanted {LEAST_DEMOTED:.0%}; {best}",
            demote.share >= LEAST_DEMOTED,
        ),
        Verdict(f"{kept}, wanted less than half of that", keep.share < MOST_KEPT * demote.share),
    ]


def figures(outcome: Outcome) -> dict[str, Any]:
    streams = {
        stream.channel.name: {
            "deadline_ns": stream.channel.deadline_ns,
            "sent": stream.sent,
            "received": len(stream.arrived),
            "in_time": in_time([stream]),
            "told": stream.told,
        }
        for stream in outcome.exchange.streams
    }
    stalls = [stall.duration_ns for stall in outcome.exchange.stalls]
    return {"share": round(outcome.share, 4), "channels": streams, "stalls_ns": stalls}


def draw(figure: Figure, demote: Outcome, keep: Outcome) -> None:
    axes = figure.subplots()
    width = 0.4
    for offset, outcome in ((0.0, demote), (width, keep)):
        shares = [100 * in_time([stream]) / max(stream.sent, 1) for stream in outcome.exchange.streams]
        bars = axes.bar([at + offset for at in range(len(shares))], shares, width, label=f"late: {outcome.late}")
        axes.bar_label(bars, fmt="%.0f")
    axes.set_xticks([at + width / 2 for at in range(len(DEADLINES_MS))], [f"{number} ms" for number in DEADLINES_MS])
    axes.set_xlabel("deadline")
    axes.set_ylabel("per cent of the packets in time")
    axes.set_title(f"{LOAD:.0%} of a link of {RATE_BPS / 1e6:g} Mb/s")
    axes.legend()
