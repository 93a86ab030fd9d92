"""Does `on_miss: adapt` help where packets come late behind their shim? Channels in pairs, one of which adapts, go to a
port at which somebody else sends bursts that no admission knows of; others leave by the same shim and go elsewhere."""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import arrivals
from bench.misses import ask
from bench.report import Report, Verdict, publish
from bench.stalls import Stall, StallWatch
from bench.streams import (
    HOST_BURST,
    LISTENER,
    NOISE_PORT,
    PAYLOAD_BYTES,
    SETTLE_S,
    SINK,
    Offer,
    Packet,
    Stream,
    acquaint,
    csv_file,
    excuse,
    flood,
    in_stalls,
    network_of,
    program,
    read_arrivals,
    result,
    sent_by,
    start_receivers,
    start_sources,
    topology,
)
from controller.model import Network
from controller.network.wiring import port_to
from controller.units import DURATION, NS_PER_MS, NS_PER_S, ms
from rtvnic.arguments import seconds
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from topologies.testbed import Testbed

SUMMARY = "misses behind the shim, with on_miss: adapt and without"

RATE, SLACK = "100Mbps", "3200us"
NOISE_BPS = 150_000_000
"""More than the uplink carries: best effort always waits, so packets are sent as late as they may be."""

PORT_RATE = "100Mbps"
BYSTANDER, APART = "bystander", "apart"
BYSTANDER_BPS, BYSTANDER_BURST = 50_000_000, 64
"""The port takes 8 ms for a burst, which is more than the slack leaves."""

DEADLINES = ("16ms", "24ms")
CHANNEL_RATE = "2Mbps"
CALM_S = 4.0
BACK_MOST_S = 120.0
POLL_S = 0.25
TENFOLD = 10


class Kind(StrEnum):
    """What a channel is here for. ASIDE leaves by the same shim, and goes elsewhere."""

    PLAIN = "plain"
    ADAPT = "adapt"
    ASIDE = "aside"


class Phase(StrEnum):
    BEFORE = "before"
    BURSTS = "bursts"
    AFTER = "after"


@dataclass(frozen=True)
class Sample:
    """What /v1/channels said at `at_ns` of how much earlier than planned each adapting channel is due."""

    at_ns: int
    adapted_ns: Mapping[str, int]


@dataclass(frozen=True)
class Outcome:
    """The bystander sent from `begin_ns` to `end_ns` of the wall clock."""

    streams: Sequence[Stream]
    begin_ns: int
    end_ns: int
    samples: Sequence[Sample]
    stalls: Sequence[Stall]

    def of(self, kind: Kind) -> list[Stream]:
        return [stream for stream in self.streams if stream.channel.name.startswith(kind)]

    def arrived(self, kind: Kind, phase: Phase) -> int:
        return sum(len(packets_of(stream, phase, self)) for stream in self.of(kind))

    def missed(self, kind: Kind, phase: Phase) -> list[Packet]:
        return [packet for stream in self.of(kind) for packet in missed_of(stream, phase, self)]

    @property
    def back_s(self) -> float | None:
        """How long after the bursts all was as planned again, for good; None: it was not in the end."""
        away = [at for at, sample in enumerate(self.samples) if any(sample.adapted_ns.values())]
        if not away:
            return 0.0
        if away[-1] == len(self.samples) - 1:
            return None
        return max(self.samples[away[-1] + 1].at_ns - self.end_ns, 0) / NS_PER_S


def packets_of(stream: Stream, phase: Phase, outcome: Outcome) -> list[Packet]:
    """Those that were sent in `phase`."""
    return [packet for packet in stream.arrived if phase_of(packet, outcome) is phase]


def missed_of(stream: Stream, phase: Phase, outcome: Outcome) -> list[Packet]:
    return [packet for packet in stream.missed if phase_of(packet, outcome) is phase]


def phase_of(packet: Packet, outcome: Outcome) -> Phase:
    """A packet that was under way when the bursts began, or soon after they ended, may have met them."""
    if packet.arrival_ns < outcome.begin_ns:
        return Phase.BEFORE
    return Phase.BURSTS if packet.sent_ns < outcome.end_ns else Phase.AFTER


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=seconds, default=30 * NS_PER_S, help="of bursts (default: 30)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether it helps."""
    from topologies.interruption import interruptible

    progress = Progress(3)
    with interruptible():
        outcome = measure(max(args.seconds / NS_PER_S, 1), progress)
    progress.end()
    return publish(report(outcome), args)


def text() -> str:
    """The topology file."""
    terms = {"min_rate": CHANNEL_RATE, "burst": HOST_BURST}
    extra: dict[Kind, dict[str, object]] = {
        Kind.PLAIN: {},
        Kind.ADAPT: {"on_miss": ["log", "adapt"]},
        Kind.ASIDE: {"to": APART},
    }
    channels = {
        f"{kind}{deadline}": {"deadline": deadline, **terms, **extra[kind]} for kind in Kind for deadline in DEADLINES
    }
    content = json.loads(topology(RATE, channels, allowance="1ms"))
    content["hypervisors"]["left"]["uplink"]["be_slack"] = SLACK
    content["hypervisors"] |= {"right": {"uplink": PORT_RATE}, "aside": {"uplink": "1Gbps"}}
    content["vms"][SINK]["hypervisor"] = "aside"
    content["vms"][APART] = {"hypervisor": "aside", "ip": "10.0.0.100"}
    content["hosts"] = {BYSTANDER: {"ip": "10.0.0.101"}}
    return json.dumps(content, indent=2)


def measure(bursts_s: float, progress: Progress) -> Outcome:
    from topologies.testbed import Testbed

    with network_of(text()) as network, Testbed(network) as testbed, slow_port(network):
        testbed.await_channels()
        offers = [Offer(channel, channel.rate_bps) for channel in network.channels.values()]
        acquaint(testbed, offers)
        testbed.popen(BYSTANDER, ["ping", "-c", "1", "-W", "2", _address(network, LISTENER)]).communicate()
        with tempfile.TemporaryDirectory() as name:
            return _under_traffic(testbed, offers, bursts_s, Path(name), progress)


@contextmanager
def slow_port(network: Network) -> Iterator[None]:
    """The port of the switch to `right` carries what its link does, first in, first out."""
    switch = network.hypervisors["right"].uplink.switch
    interface = port_to(network, switch, "right").interface
    rate = f"{network.hypervisors['right'].uplink.rate_bps}bit"
    qdisc = ("root", "tbf", "rate", rate, "burst", "3200", "limit", "2mb")
    subprocess.run(["tc", "qdisc", "add", "dev", interface, *qdisc], check=True)
    yield  # it goes with its interface


def _address(network: Network, vm: str) -> str:
    return str(network.vms[vm].addresses[0].ip)


def _under_traffic(
    testbed: Testbed, offers: Sequence[Offer], bursts_s: float, directory: Path, progress: Progress
) -> Outcome:
    longest_s = CALM_S + bursts_s + BACK_MOST_S + SETTLE_S
    with StallWatch() as watcher:
        receivers = start_receivers(testbed, offers, directory, longest_s)
        noise = flood(testbed, longest_s, NOISE_BPS)
        sources = start_sources(testbed, offers, directory, longest_s)
        samples: list[Sample] = []
        progress.step("without bursts")
        _watch(testbed, samples, CALM_S, lambda: False)
        progress.step(f"{bursts_s:g} s of bursts")
        begin_ns = time.time_ns()
        bystander = _bystander(testbed, bursts_s)
        _watch(testbed, samples, bursts_s + SETTLE_S, lambda: bystander.poll() is not None)
        end_ns = time.time_ns()
        result(bystander)
        progress.step("back to the plan")
        _watch(testbed, samples, BACK_MOST_S, lambda: not any(samples[-1].adapted_ns.values()))
        _watch(testbed, samples, CALM_S / 2, lambda: False)
        for process in (*sources.values(), noise):
            process.send_signal(signal.SIGINT)
        sent = sent_by(sources, offers)
        for process in (*receivers, noise):
            result(process)
    streams = [
        Stream(each.channel, sent[each.channel.name], read_arrivals(csv_file(directory, each.channel)), {})
        for each in offers
    ]
    return Outcome(streams, begin_ns, end_ns, samples, watcher.stalls)


def _bystander(testbed: Testbed, bursts_s: float) -> subprocess.Popen[str]:
    to = f"{_address(testbed.network, LISTENER)}:{NOISE_PORT}"
    pace = ("--rate", f"{BYSTANDER_BPS}bps", "--payload", PAYLOAD_BYTES, "--burst", BYSTANDER_BURST)
    return program(testbed, BYSTANDER, "send", "--to", to, *pace, "--seconds", bursts_s)


def _watch(testbed: Testbed, samples: list[Sample], most_s: float, is_over: Callable[[], bool]) -> None:
    """Add to `samples` for `most_s`, or until `is_over` after one."""
    end_s = time.monotonic() + most_s
    while time.monotonic() < end_s:
        told = ask(testbed, "left", "channels")
        adapted_ns = {each["name"]: each["adaptation"]["adapted_ns"] for each in told if each["adaptation"]}
        samples.append(Sample(time.time_ns(), adapted_ns))
        if is_over():
            return
        time.sleep(POLL_S)


# What is said of it


def report(outcome: Outcome) -> Report:
    return Report(
        experiment="adapt",
        headers=("channel", "deadline", "sent", "lost", *(f"missed {phase}" for phase in Phase), "share", "earlier ms"),
        rows=[row(outcome, stream) for stream in outcome.streams],
        figures=figures(outcome),
        verdicts=verdicts(outcome),
        draw=lambda figure: draw(figure, outcome),
    )


def row(outcome: Outcome, stream: Stream) -> tuple[object, ...]:
    most_ns = most_adapted_ns(outcome).get(stream.channel.name)
    share = len(missed_of(stream, Phase.BURSTS, outcome)) / max(len(packets_of(stream, Phase.BURSTS, outcome)), 1)
    return (
        stream.channel.name,
        DURATION.format(stream.channel.deadline_ns),
        stream.sent,
        stream.lost,
        *(len(missed_of(stream, phase, outcome)) for phase in Phase),
        f"{share:.2%}",
        None if most_ns is None else ms(most_ns),
    )


def most_adapted_ns(outcome: Outcome) -> dict[str, int]:
    most: dict[str, int] = {}
    for sample in outcome.samples:
        for name, adapted_ns in sample.adapted_ns.items():
            most[name] = max(most.get(name, 0), adapted_ns)
    return most


def verdicts(outcome: Outcome) -> list[Verdict]:
    plain, adapting = (outcome.missed(kind, Phase.BURSTS) for kind in (Kind.PLAIN, Kind.ADAPT))
    arrived = outcome.arrived(Kind.ADAPT, Phase.BURSTS)
    without = f"beside the bursts {len(plain):,} of {outcome.arrived(Kind.PLAIN, Phase.BURSTS):,} packets missed"
    aside = [packet for phase in Phase for packet in outcome.missed(Kind.ASIDE, phase)]
    again = "never" if outcome.back_s is None else f"{outcome.back_s:.0f} s"
    return [
        Verdict(
            f"{without} without adapt; with it {len(adapting):,} of {arrived:,}, wanted a tenth or less"
            + excuse(len(adapting), in_stalls(adapting, outcome.stalls)),
            len(plain) > 0 and TENFOLD * len(adapting) <= len(plain),
        ),
        Verdict(
            f"channels that go elsewhere missed {len(aside)}, wanted none"
            + excuse(len(aside), in_stalls(aside, outcome.stalls)),
            not aside,
        ),
        Verdict(
            f"as planned again {again} after the bursts, wanted {BACK_MOST_S:g} s or less", outcome.back_s is not None
        ),
    ]


def figures(outcome: Outcome) -> dict[str, Any]:
    streams = {
        stream.channel.name: {
            "deadline_ns": stream.channel.deadline_ns,
            "sent": stream.sent,
            "lost": stream.lost,
            "reordered": stream.reordered,
            "missed": {phase.value: len(missed_of(stream, phase, outcome)) for phase in Phase},
            "arrived": {phase.value: len(packets_of(stream, phase, outcome)) for phase in Phase},
            "delay_ns": arrivals.summary(stream.delays_ns),
        }
        for stream in outcome.streams
    }
    start_ns = outcome.begin_ns
    return {
        "channels": streams,
        "bursts_s": (outcome.end_ns - start_ns) / NS_PER_S,
        "back_s": outcome.back_s,
        "adapted": [{"at_s": (each.at_ns - start_ns) / NS_PER_S, **each.adapted_ns} for each in outcome.samples],
        "stalls_ns": [stall.duration_ns for stall in outcome.stalls],
    }


def draw(figure: Figure, outcome: Outcome) -> None:
    """Misses in each second, and how much earlier the adapting channels were sent."""
    misses, earlier = figure.subplots(2, 1, sharex=True)
    at_s = [(sample.at_ns - outcome.begin_ns) / NS_PER_S for sample in outcome.samples]
    for kind in Kind:
        missed = [packet for stream in outcome.of(kind) for packet in stream.missed]
        late_s = [(packet.sent_ns - outcome.begin_ns) / NS_PER_S for packet in missed]
        misses.hist(late_s, bins=range(math.floor(at_s[0]), math.ceil(at_s[-1]) + 1), histtype="step", label=kind.value)
    for name in most_adapted_ns(outcome):
        adapted_ms = [sample.adapted_ns.get(name, 0) / NS_PER_MS for sample in outcome.samples]
        earlier.step(at_s, adapted_ms, where="post", label=name)
    for axes in (misses, earlier):
        axes.axvspan(0, (outcome.end_ns - outcome.begin_ns) / NS_PER_S, alpha=0.1)
        axes.legend()
    misses.set_ylabel("misses a second")
    earlier.set_ylabel("sent earlier by, ms")
    earlier.set_xlabel("s since the bursts began")
    misses.set_title("Bursts behind the shim")
