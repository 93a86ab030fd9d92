"""Does a channel that breaks its contract hurt its neighbours? Three well-behaved channels beside one that sends six
times its rate, its excess first postponed, then dropped; each with a flood of best effort and without."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import arrivals
from bench.report import Report, Verdict, publish
from bench.streams import (
    HOST_BURST,
    NOISE_BPS,
    Exchange,
    Offer,
    Packet,
    Stream,
    exchange,
    excuse,
    in_stalls,
    network_of,
    topology,
)
from controller.model import Excess, Network
from controller.units import DURATION, NS_PER_S, ms
from rtvnic.arguments import seconds
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "three channels beside one that sends six times its rate"

RATE = "50Mbps"
NEIGHBOURS = {"near5": "5ms", "near8": "8ms", "near12": "12ms"}
"""Name and deadline."""

NEIGHBOUR_RATE = "4Mbps"
GREEDY, GREEDY_DEADLINE, GREEDY_RATE = "greedy", "10ms", "5Mbps"
FACTOR = 6
"""The link carries all that is sent, where there is no best effort."""

SKIP_S = 1.0
"""A share is that of the time after: a burst at the start is within the contract."""

LEAST_POSTPONED, LEAST_POSTPONED_ALONE = 0.97, 2.0
LEAST_DROPPED, MOST_DROPPED = 1.0, 1.05


@dataclass(frozen=True)
class Outcome:
    """One run: what becomes of excess, whether best effort floods the link, and what became of all packets."""

    excess: Excess
    is_flooded: bool
    exchange: Exchange

    @property
    def name(self) -> str:
        return f"{self.excess}, {'flooded' if self.is_flooded else 'alone'}"

    @property
    def greedy(self) -> Stream:
        return next(stream for stream in self.exchange.streams if stream.channel.name == GREEDY)

    @property
    def neighbours(self) -> list[Stream]:
        return [stream for stream in self.exchange.streams if stream.channel.name != GREEDY]

    @property
    def missed(self) -> list[Packet]:
        """Of the neighbours."""
        return [packet for stream in self.neighbours for packet in stream.missed]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=seconds, default=6 * NS_PER_S, help="of traffic in each run (default: 6)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether the neighbours got what they were promised."""
    from topologies.interruption import interruptible

    progress = Progress(2 * len(Excess))
    with interruptible():
        outcomes = [
            outcome
            for excess in Excess
            for outcome in measure(excess, max(args.seconds / NS_PER_S, 2 * SKIP_S), progress)
        ]
    progress.end()
    return publish(report(outcomes), args)


def text(excess: Excess) -> str:
    """The topology file."""
    channels: dict[str, dict[str, object]] = {
        name: {"deadline": deadline, "min_rate": NEIGHBOUR_RATE, "burst": HOST_BURST}
        for name, deadline in NEIGHBOURS.items()
    }
    greedy = {"from": GREEDY, "deadline": GREEDY_DEADLINE, "min_rate": GREEDY_RATE, "excess": excess.value}
    return topology(RATE, {**channels, GREEDY: greedy}, allowance="1ms")


def measure(excess: Excess, seconds: float, progress: Progress) -> Iterator[Outcome]:
    """With a flood, then without."""
    from topologies.testbed import Testbed

    with network_of(text(excess)) as network, Testbed(network) as testbed:
        testbed.await_channels()
        for noise_bps in (NOISE_BPS, 0):
            what = "against a flood" if noise_bps else "without best effort"
            progress.step(f"{excess}: {seconds:g} s {what}")
            found = exchange(testbed, offers(network), seconds, progress, noise_bps=noise_bps)
            yield Outcome(excess, bool(noise_bps), found)


def offers(network: Network) -> list[Offer]:
    """Each sends at its rate, but for the greedy one."""
    return [
        Offer(channel, channel.rate_bps * (FACTOR if channel.name == GREEDY else 1))
        for channel in network.channels.values()
    ]


def report(outcomes: Sequence[Outcome]) -> Report:
    return Report(
        experiment="isolation",
        headers=(
            "excess",
            "channel",
            "deadline",
            "sent",
            "lost",
            "missed",
            "reordered",
            "mean",
            "max ms",
            "of min_rate",
        ),
        rows=[row(outcome, stream) for outcome in outcomes for stream in outcome.exchange.streams],
        figures={outcome.name: figures(outcome) for outcome in outcomes},
        verdicts=[verdict for outcome in outcomes for verdict in verdicts(outcome)],
        draw=lambda figure: draw(figure, outcomes),
    )


def row(outcome: Outcome, stream: Stream) -> tuple[object, ...]:
    delay = arrivals.summary(stream.delays_ns)
    return (
        outcome.name,
        stream.channel.name,
        DURATION.format(stream.channel.deadline_ns),
        stream.sent,
        stream.lost,
        len(stream.missed),
        stream.reordered,
        *(ms(value) if (value := delay[name]) is not None else None for name in ("mean", "max")),
        f"{share(stream):.1%}",
    )


def share(stream: Stream) -> float:
    """What arrived of the contract's rate, without the start."""
    return stream.rate_bps(SKIP_S) / stream.channel.rate_bps


def verdicts(outcome: Outcome) -> list[Verdict]:
    return [_neighbours(outcome), _order(outcome), _greedy_share(outcome)]


def _neighbours(outcome: Outcome) -> Verdict:
    sent, lost = (sum(getattr(stream, what) for stream in outcome.neighbours) for what in ("sent", "lost"))
    missed = len(outcome.missed)
    text = f"{outcome.name}: the neighbours lost {lost:,} and missed {missed:,} of {sent:,} packets, wanted none"
    return Verdict(text + excuse(missed, in_stalls(outcome.missed, outcome.exchange.stalls)), lost + missed == 0)


def _order(outcome: Outcome) -> Verdict:
    reordered = outcome.greedy.reordered
    return Verdict(f"{outcome.name}: {reordered:,} of the greedy channel's packets out of order", reordered == 0)


def _greedy_share(outcome: Outcome) -> Verdict:
    found = share(outcome.greedy)
    if outcome.excess is Excess.DROP:
        wanted, holds = f"{LEAST_DROPPED:.0%} to {MOST_DROPPED:.0%}", LEAST_DROPPED <= round(found, 3) <= MOST_DROPPED
    else:
        least = LEAST_POSTPONED if outcome.is_flooded else LEAST_POSTPONED_ALONE
        wanted, holds = f"{least:.0%} or more", found >= least
    return Verdict(f"{outcome.name}: the greedy channel got {found:.1%} of its min_rate, wanted {wanted}", holds)


def figures(outcome: Outcome) -> dict[str, Any]:
    streams = {
        stream.channel.name: {
            "sent": stream.sent,
            "lost": stream.lost,
            "missed": len(stream.missed),
            "reordered": stream.reordered,
            "share": round(share(stream), 4),
            "delay_ns": arrivals.summary(stream.delays_ns),
            "told": stream.told,
        }
        for stream in outcome.exchange.streams
    }
    stalls = [stall.duration_ns for stall in outcome.exchange.stalls]
    return {"channels": streams, "missed_in_stalls": in_stalls(outcome.missed, outcome.exchange.stalls),
            "stalls_ns": stalls}  # fmt: skip


def draw(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    """What the greedy channel got of its contract, in each run."""
    axes = figure.subplots()
    bars = axes.bar([outcome.name for outcome in outcomes], [100 * share(outcome.greedy) for outcome in outcomes])
    axes.bar_label(bars, fmt="%.0f %%")
    axes.axhline(100, color="black", linewidth=0.5)
    axes.set_ylabel("per cent of min_rate")
    axes.set_title(f"What a channel gets that sends {FACTOR} times its rate over {RATE}")
