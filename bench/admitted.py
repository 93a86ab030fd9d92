"""Is what admission promises kept? Random sets of channels that it accepts, which take 80 % of an uplink and more, each
sending all that its contracts allow against a flood of best effort."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

from bench.report import Report, Verdict, publish
from bench.streams import Exchange, Offer, Packet, exchange, excuse, in_stalls, network_of, topology
from controller.admission.guarantee import Guarantees
from controller.model import FULL_LABELLED_FRAME_BYTES, UDP_BYTES, VM_MTU, Network
from controller.units import DURATION, NS_PER_MS, NS_PER_S
from rtvnic.arguments import integer, seconds
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "random sets of channels that admission accepts, on the real data plane"

RATE_BPS = 50_000_000
ALLOWANCE_NS = 2 * NS_PER_MS
SETS = 8
SEED = 1
CHANNELS = (5, 15)
DEADLINES_MS = (8, 60)
BURSTS = (2, 5)
"""In full packets."""

LEAST_LOAD, MOST_LOAD = 0.8, 0.95
UNEVEN = 5
"""The largest channel of a set asks for so many times what the smallest does, at most."""


@dataclass(frozen=True)
class Outcome:
    """One set on the real data plane."""

    network: Network
    exchange: Exchange

    @property
    def sent(self) -> int:
        return sum(stream.sent for stream in self.exchange.streams)

    @property
    def lost(self) -> int:
        return sum(stream.lost for stream in self.exchange.streams)

    @property
    def told_missed(self) -> int:
        """By the deadline check."""
        return sum(stream.told["missed"] for stream in self.exchange.streams)

    @property
    def postponed(self) -> int:
        """Packets that came to the shim sooner than the contract allows, if only by microseconds: the host had held up
        those before them."""
        return sum(stream.told["postponed"] for stream in self.exchange.streams)

    @property
    def beyond(self) -> list[Packet]:
        """Packets that took longer, from end to end, than their deadline and the allowance."""
        return [
            packet
            for stream in self.exchange.streams
            for packet in stream.missed
            if packet.delay_ns > stream.channel.deadline_ns + ALLOWANCE_NS
        ]

    @property
    def in_stalls(self) -> int:
        """Of those beyond."""
        return in_stalls(self.beyond, self.exchange.stalls)

    @property
    def worst_share(self) -> float:
        """The largest part of its deadline that a packet took."""
        return max(
            (max(stream.delays_ns, default=0) / stream.channel.deadline_ns for stream in self.exchange.streams),
            default=0.0,
        )


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--sets", type=integer(range(1, 10_001)), default=SETS, help=f"of channels (default: {SETS})")
    add("--seed", type=integer(range(10**9)), default=SEED, help=f"for another choice of sets (default: {SEED})")
    add("--seconds", type=seconds, default=3 * NS_PER_S, help="of traffic with each set (default: 3)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether all that was promised was kept."""
    from topologies.interruption import interruptible

    progress = Progress(args.sets)
    with interruptible():
        outcomes = [
            measure(text, max(args.seconds / NS_PER_S, 1), progress)
            for text in islice(accepted(Random(args.seed)), args.sets)
        ]
    progress.end()
    return publish(report(outcomes), args)


def accepted(random: Random) -> Iterator[str]:
    """Topology files that admission accepts, without end."""
    while True:
        text = candidate(random)
        with network_of(text, is_admission_asked=False) as network:
            is_accepted = not Guarantees(network).refusals
        if is_accepted:
            yield text


def candidate(random: Random) -> str:
    """A topology file whose channels together ask for LEAST_LOAD to MOST_LOAD of the uplink, on the wire."""
    count = random.randint(*CHANNELS)
    weights = [random.uniform(1, UNEVEN) for _ in range(count)]
    load_bps = random.uniform(LEAST_LOAD, MOST_LOAD) * RATE_BPS
    payload_bps = load_bps * (VM_MTU - UDP_BYTES[4]) / FULL_LABELLED_FRAME_BYTES
    channels: dict[str, dict[str, object]] = {
        f"channel{number}": {
            "deadline": f"{random.randint(*DEADLINES_MS)}ms",
            "min_rate": f"{int(payload_bps * weight / sum(weights)) + 1}bps",
            "burst": f"{random.randint(*BURSTS) * FULL_LABELLED_FRAME_BYTES}B",
        }
        for number, weight in enumerate(weights, start=1)
    }
    return topology(f"{RATE_BPS}bps", channels, allowance=DURATION.format(ALLOWANCE_NS))


def load(network: Network) -> float:
    """What the channels ask of the uplink, on the wire."""
    return sum(channel.wire_rate_bps for channel in network.channels.values()) / RATE_BPS


def measure(text: str, seconds: float, progress: Progress) -> Outcome:
    from topologies.testbed import Testbed

    with network_of(text) as network:
        progress.step(f"{len(network.channels)} channels, {load(network):.0%} of the link")
        with Testbed(network) as testbed:
            testbed.await_channels()
            return Outcome(network, exchange(testbed, offers(network), seconds, progress))


def offers(network: Network) -> list[Offer]:
    """Bursts as large as the contract allows, as often as it allows; all channels begin at once."""
    return [
        Offer(channel, channel.rate_bps, channel.burst_bytes // FULL_LABELLED_FRAME_BYTES)
        for channel in network.channels.values()
    ]


def report(outcomes: Sequence[Outcome]) -> Report:
    return Report(
        experiment="admitted",
        headers=("set", "channels", "load", "deadlines", "be_slack", "sent", "lost", "postponed", "missed", "late",
                 "beyond", "in stalls", "worst"),
        rows=[row(number, outcome) for number, outcome in enumerate(outcomes, start=1)],
        figures={"sets": [figures(outcome) for outcome in outcomes]},
        verdicts=verdicts(outcomes),
        draw=lambda figure: draw(figure, outcomes),
    )  # fmt: skip


def row(number: int, outcome: Outcome) -> tuple[object, ...]:
    deadlines_ns = [channel.deadline_ns for channel in outcome.network.channels.values()]
    return (
        number,
        len(deadlines_ns),
        f"{load(outcome.network):.0%}",
        f"{DURATION.format(min(deadlines_ns))}-{DURATION.format(max(deadlines_ns))}",
        DURATION.format(outcome.network.hypervisors["left"].uplink.be_slack_ns),
        outcome.sent,
        outcome.lost,
        outcome.postponed,
        outcome.told_missed,
        len(outcome.exchange.missed),
        len(outcome.beyond),
        outcome.in_stalls,
        f"{outcome.worst_share:.0%}",
    )


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    sent, lost, told = (sum(getattr(each, what) for each in outcomes) for what in ("sent", "lost", "told_missed"))
    beyond, late = sum(len(each.beyond) for each in outcomes), sum(len(each.exchange.missed) for each in outcomes)
    allowance = DURATION.format(ALLOWANCE_NS)
    excused = excuse(beyond, sum(each.in_stalls for each in outcomes))
    return [
        Verdict(f"{len(outcomes)} sets lost {lost:,} of {sent:,} packets, wanted none", lost == 0),
        Verdict(f"/v1/channels counts {told:,} misses, wanted none", told == 0),
        Verdict(
            f"from end to end {late:,} packets took longer than their deadline, {beyond:,} by more than the allowance "
            f"of {allowance}, wanted none of these{excused}",
            beyond == 0,
        ),
    ]


def figures(outcome: Outcome) -> dict[str, Any]:
    bounds = Guarantees(outcome.network).by_channel
    channels = {
        stream.channel.name: {
            "deadline_ns": stream.channel.deadline_ns,
            "bound_ns": bounds[stream.channel.name].bound_ns,
            "min_rate_bps": stream.channel.rate_bps,
            "burst_bytes": stream.channel.burst_bytes,
            "sent": stream.sent,
            "lost": stream.lost,
            "late": len(stream.missed),
            "longest_ns": max(stream.delays_ns, default=None),
            "told": stream.told,
        }
        for stream in outcome.exchange.streams
    }
    return {
        "load": round(load(outcome.network), 4),
        "channels": channels,
        "beyond": len(outcome.beyond),
        "beyond_in_stalls": outcome.in_stalls,
        "stalls_ns": [stall.duration_ns for stall in outcome.exchange.stalls],
    }


def draw(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    """Each channel's longest delay; what is above the line is late."""
    axes = figure.subplots()
    for number, outcome in enumerate(outcomes, start=1):
        streams = [stream for stream in outcome.exchange.streams if stream.arrived]
        deadlines_ms = [stream.channel.deadline_ns / NS_PER_MS for stream in streams]
        axes.plot(deadlines_ms, [max(s.delays_ns) / NS_PER_MS for s in streams], "o", label=f"set {number}")
    axes.plot(DEADLINES_MS, DEADLINES_MS, "k-", linewidth=0.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("deadline, ms")
    axes.set_ylabel("longest delay from end to end, ms")
    axes.set_title(f"Channels that admission accepts, at {LEAST_LOAD:.0%} of the link and more")
