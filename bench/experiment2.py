"""The paper's experiment 2: end-to-end delay of three channels against a flood of best effort. The same traffic twice:
first with first-in-first-out uplinks, then with the EDF shim."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import arrivals
from bench.report import Report, Verdict, publish
from bench.stalls import Stall, StallWatch
from bench.streams import (
    FRAME_BYTES,
    IDLE_S,
    LEAD_S,
    NOISE_PORT,
    PAYLOAD_BYTES,
    PRIORITY,
    SETTLE_S,
    SINK,
    Packet,
    Stream,
    csv_file,
    excuse,
    flood,
    in_stalls,
    program,
    read_arrivals,
    result,
    watch,
)
from controller.model import LABEL_STACK_BYTES, WIRE_OVERHEAD_BYTES, Channel, Network, Scheduler
from controller.units import DURATION, NS_PER_MS, NS_PER_S, ms
from rtvnic.arguments import seconds
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from topologies.testbed import Testbed

SUMMARY = "the demo: end-to-end delay of three channels against a flood, first FIFO, then EDF"

CHANNEL_PORT = 5004
PAPER_WORST_MS = {"channel1": 3.0, "channel2": 4.9, "channel3": 7.7}
LEAST_BEST_EFFORT = 0.95


@dataclass(frozen=True)
class Outcome:
    """One run. `stalls` are the moments when the machine itself stood still."""

    scheduler: Scheduler
    streams: Sequence[Stream]
    best_effort_bps: float
    stalls: Sequence[Stall]

    @property
    def missed_in_stalls(self) -> int:
        """Misses of packets that were under way when a processor stood still."""
        return in_stalls([packet for stream in self.streams for packet in stream.missed], self.stalls)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds", type=seconds, default=10 * NS_PER_S, help="of traffic with each scheduler (default: 10)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether every deadline was kept."""
    import topologies
    from controller.topology_file.load import load
    from topologies.interruption import interruptible

    network = load(Path(topologies.__file__).parent / "paper_experiment2.yaml")
    seconds = max(args.seconds / NS_PER_S, 1)
    progress = Progress(4)
    with interruptible():
        outcomes = [measure(network, scheduler, seconds, progress) for scheduler in (Scheduler.FIFO, Scheduler.EDF)]
    progress.end()
    return publish(report(network, outcomes), args)


def measure(network: Network, scheduler: Scheduler, seconds: float, progress: Progress) -> Outcome:
    """Start the network with `scheduler` at each uplink and send the traffic over it."""
    from topologies.testbed import Testbed

    progress.step(f"{scheduler.upper()}: starting the network")
    with Testbed(network, scheduler) as testbed:
        testbed.await_channels()
        rest = testbed.network.hypervisors[next(iter(network.hypervisors))].controller.rest_url
        progress.step(f"{scheduler.upper()}: {seconds:g} s of traffic; meanwhile try: curl -s {rest}/v1/channels")
        with StallWatch() as watch:
            traffic, best_effort_bps = _send_traffic(testbed, seconds, progress)
        time.sleep(SETTLE_S)
        told = testbed.channels()
    streams = [Stream(channel, sent, arrived, told[channel.name]) for channel, sent, arrived in traffic]
    return Outcome(scheduler, streams, best_effort_bps, watch.stalls)


def _send_traffic(
    testbed: Testbed, seconds: float, progress: Progress
) -> tuple[list[tuple[Channel, int, list[Packet]]], float]:
    """Per channel what was sent and how long each packet took; and the rate of best effort, on the wire.

    That is measured once all programs run: while they start, the source of best effort lacks a processor.
    """
    channels = list(testbed.network.channels.values())
    count = round(seconds * channels[0].rate_bps / (PAYLOAD_BYTES * 8))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        receivers = [_receiver(testbed, channel, directory) for channel in channels]
        noise = flood(testbed, seconds + 2 * LEAD_S)
        time.sleep(LEAD_S)
        sources = [_source(testbed, channel, count) for channel in channels]
        time.sleep(LEAD_S)
        window_s = max(seconds - 2 * LEAD_S, seconds / 2)
        sink = program(testbed, SINK, "sink", "--port", NOISE_PORT, "--seconds", window_s)
        watch(sources[0], seconds, progress)
        best_effort = result(sink)
        sent = [result(source)["sent"] for source in sources]
        for process in (noise, *receivers):
            result(process)
        arrived = [read_arrivals(csv_file(directory, channel)) for channel in channels]
    wire_bytes = best_effort["received"] * (FRAME_BYTES + WIRE_OVERHEAD_BYTES)
    return list(zip(channels, sent, arrived, strict=True)), wire_bytes * 8 / window_s


def _receiver(testbed: Testbed, channel: Channel, directory: Path) -> subprocess.Popen[str]:
    options = ("--port", CHANNEL_PORT, "--idle", IDLE_S, "--delays", csv_file(directory, channel))
    return program(testbed, channel.listener, "receive", *options, "--priority", PRIORITY)


def _source(testbed: Testbed, channel: Channel, count: int) -> subprocess.Popen[str]:
    options = ("--to", f"{channel.destination}:{CHANNEL_PORT}", "--rate", f"{channel.rate_bps}bps", "--count", count)
    return program(testbed, channel.talker, "send", *options, "--payload", PAYLOAD_BYTES, "--priority", PRIORITY)


def report(network: Network, outcomes: Sequence[Outcome]) -> Report:
    return Report(
        experiment="experiment2",
        headers=(
            "uplinks",
            "channel",
            "deadline",
            "sent",
            "received",
            "lost",
            "missed",
            "min",
            "mean",
            "p99",
            "max ms",
        ),
        rows=[row(outcome, stream) for outcome in outcomes for stream in outcome.streams],
        figures={outcome.scheduler.value: figures(outcome) for outcome in outcomes},
        verdicts=verdicts(network, *outcomes),
        draw=lambda figure: draw(figure, outcomes),
    )


def row(outcome: Outcome, stream: Stream) -> tuple[object, ...]:
    delay = arrivals.summary(stream.delays_ns)
    return (
        outcome.scheduler.upper(),
        stream.channel.name,
        DURATION.format(stream.channel.deadline_ns),
        stream.sent,
        len(stream.arrived),
        stream.lost,
        len(stream.missed),
        *(ms(value) if (value := delay[name]) is not None else None for name in ("min", "mean", "p99", "max")),
    )


def verdicts(network: Network, fifo: Outcome, edf: Outcome) -> list[Verdict]:
    return [
        _first_comes_late(fifo),
        _edf_keeps(edf),
        *_worst_delays(edf),
        _counts_agree(edf),
        _best_effort(network, edf),
    ]


def _first_comes_late(fifo: Outcome) -> Verdict:
    sent, lost, missed = _totals(fifo)
    return Verdict(f"FIFO lost {lost:,} and missed {missed:,} of {sent:,} packets", lost + missed > 0)


def _edf_keeps(edf: Outcome) -> Verdict:
    sent, lost, missed = _totals(edf)
    text = f"EDF lost {lost:,} and missed {missed:,} of {sent:,} packets, wanted none"
    return Verdict(text + excuse(missed, edf.missed_in_stalls), lost + missed == 0)


def _totals(outcome: Outcome) -> tuple[int, int, int]:
    return (
        sum(stream.sent for stream in outcome.streams),
        sum(stream.lost for stream in outcome.streams),
        sum(len(stream.missed) for stream in outcome.streams),
    )


def _worst_delays(edf: Outcome) -> list[Verdict]:
    verdicts = []
    for stream in edf.streams:
        wanted_ms, worst_ms = PAPER_WORST_MS[stream.channel.name], max(stream.delays_ns, default=0) / NS_PER_MS
        text = f"{stream.channel.name}: worst delay with EDF {worst_ms:.1f} ms; the paper's {wanted_ms} ms"
        verdicts.append(Verdict(text, 0 < worst_ms <= wanted_ms))
    return verdicts


def _counts_agree(edf: Outcome) -> Verdict:
    agree = all(
        (stream.told["sent"], stream.told["received"], stream.told["missed"]) == (stream.sent, len(stream.arrived), 0)
        for stream in edf.streams
    )
    return Verdict("/v1/channels counts the same packets as sources and receivers, and no miss", agree)


def _best_effort(network: Network, edf: Outcome) -> Verdict:
    """Of what the channels leave of the uplink, on the wire."""
    wire_bytes = FRAME_BYTES + LABEL_STACK_BYTES + WIRE_OVERHEAD_BYTES
    taken_bps = sum(stream.channel.rate_bps for stream in edf.streams) * wire_bytes / PAYLOAD_BYTES
    left_bps = next(iter(network.hypervisors.values())).uplink.rate_bps - taken_bps
    share = edf.best_effort_bps / left_bps
    text = f"best effort got {edf.best_effort_bps / 1e6:.1f} of the {left_bps / 1e6:.1f} Mb/s that the channels leave"
    return Verdict(f"{text}: {share:.1%}, wanted {LEAST_BEST_EFFORT:.0%}", share >= LEAST_BEST_EFFORT)


def figures(outcome: Outcome) -> dict[str, Any]:
    streams = {
        stream.channel.name: {
            "deadline_ns": stream.channel.deadline_ns,
            "sent": stream.sent,
            "lost": stream.lost,
            "missed": len(stream.missed),
            "delay_ns": arrivals.summary(stream.delays_ns),
            "told": stream.told,
        }
        for stream in outcome.streams
    }
    return {
        "channels": streams,
        "best_effort_bps": round(outcome.best_effort_bps),
        "missed_in_stalls": outcome.missed_in_stalls,
        "stalls_ns": [stall.duration_ns for stall in outcome.stalls],
    }


def draw(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    """The share of packets that took longer than x: where a curve ends is the worst delay."""
    axes = figure.subplots()
    for outcome in outcomes:
        style = "--" if outcome.scheduler is Scheduler.FIFO else "-"
        for color, stream in enumerate(outcome.streams):
            delays_ms = [delay / NS_PER_MS for delay in sorted(stream.delays_ns)]
            longer = [1 - at / len(delays_ms) for at in range(len(delays_ms))]
            name = f"{outcome.scheduler.upper()} {stream.channel.name}"
            axes.step(delays_ms, longer, style, color=f"C{color}", label=name)
            axes.axvline(stream.channel.deadline_ns / NS_PER_MS, color=f"C{color}", linewidth=0.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("delay from end to end, ms; thin lines: the deadlines")
    axes.set_ylabel("share of the packets that took longer")
    axes.set_title("Three channels against 300 Mb/s of best effort on a 100 Mb/s uplink")
    axes.legend()
