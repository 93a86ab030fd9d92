"""What does a channel lose when its shim dies, or hangs? One channel of 1,000 packets a second beside best effort,
while the shim at its talker is killed and stopped by turns."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx

from bench.report import Report, Verdict, publish
from bench.stalls import Stall, StallWatch
from bench.streams import (
    LEAD_S,
    SETTLE_S,
    Offer,
    Packet,
    acquaint,
    csv_file,
    flood,
    network_of,
    read_arrivals,
    result,
    sent_by,
    start_receivers,
    start_sources,
    topology,
)
from controller.model import Channel
from controller.units import NS_PER_MS, NS_PER_S
from ovs_config.plan import BEST_EFFORT_QUEUE
from rtvnic.arguments import integer
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from topologies.testbed import Testbed

SUMMARY = "what is lost when the shim of a channel is killed, or stopped"

RATE, NOISE_BPS = "100Mbps", 30_000_000
CHANNEL = "steady"
TERMS = {"deadline": "5ms", "min_rate": "2Mbps", "packet": "200B"}
SENT_BPS = 1_600_000
"""1,000 packets a second."""

INTERVAL_NS = NS_PER_MS
HYPERVISOR, UPLINK = "left", "left-up"

COUNT = 5
BETWEEN_S = 2.5
REST_EVERY, REST_S = 4, 10.5
"""A shim that dies within ten seconds starts again later each time: so there is a rest now and then."""

POLL_S = 0.02
GIVE_UP_S = 10.0
OUT_NS = 200 * NS_PER_MS
"""What is lost in so long after an incident is lost on the way out, the rest on the way back."""

MOST_GAP_MS = {signal.SIGKILL: 60, signal.SIGSTOP: 100}
MOST_BACK_S = 3.0
MOST_DEGRADED_S = 1.0
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Incident:
    """A signal to the shim, and when REST first said after it `degraded`, and then `installed` again."""

    how: signal.Signals
    at_ns: int
    degraded_ns: int | None
    back_ns: int | None


@dataclass(frozen=True)
class Damage:
    """What an incident did to the channel. `lost` is all, `lost_back` what was lost on the way back to the shim."""

    incident: Incident
    gap_ns: int
    lost: int
    lost_back: int

    @property
    def degraded_s(self) -> float:
        return seconds_after(self.incident.at_ns, self.incident.degraded_ns)

    @property
    def back_s(self) -> float:
        return seconds_after(self.incident.at_ns, self.incident.back_ns)


@dataclass(frozen=True)
class Queues:
    """What the talker's uplink counted, by the shim and past it: `own` in the queue of the channel's class, `others` in
    all other real-time ones. `bypassed` is what came past the shim, as the listener's shim saw.
    """

    own: int
    others: int
    bypassed: int


@dataclass(frozen=True)
class Outcome:
    damages: Sequence[Damage]
    queues: Queues
    sent: int
    lost: int
    stalls: Sequence[Stall]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--count", type=integer(range(1, 101)), default=COUNT, help=f"incidents of each kind (default: {COUNT})"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether the channel was worse off than it may be."""
    from topologies.interruption import interruptible

    with interruptible():
        outcome = measure(args.count, Progress(2 * args.count))
    return publish(report(outcome), args)


def measure(count: int, progress: Progress) -> Outcome:
    from topologies.testbed import Testbed

    with network_of(topology(RATE, {CHANNEL: TERMS}, allowance="1ms")) as network, Testbed(network) as testbed:
        testbed.await_channels()
        channel = network.channels[CHANNEL]
        longest_s = 2 * count * (GIVE_UP_S + REST_S)
        before = _after_probe(testbed)
        with StallWatch() as watch:
            sent, arrived, incidents = _under_traffic(testbed, channel, longest_s, count, progress)
        progress.end()
        found = damages(incidents, sent, arrived)
        return Outcome(found, _queues(testbed, channel, before), sent, sent - len(arrived), watch.stalls)


def _under_traffic(
    testbed: Testbed, channel: Channel, longest_s: float, count: int, progress: Progress
) -> tuple[int, list[Packet], list[Incident]]:
    """How much was sent, what of it arrived, and what happened meanwhile."""
    offers = [Offer(channel, SENT_BPS)]
    acquaint(testbed, offers)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        receivers = start_receivers(testbed, offers, directory, longest_s)
        noise = flood(testbed, longest_s, NOISE_BPS)
        sources = start_sources(testbed, offers, directory, longest_s)
        time.sleep(LEAD_S)
        incidents = _incidents(testbed, count, progress)
        for process in (noise, *sources.values()):
            process.send_signal(signal.SIGINT)
        sent = sent_by(sources, offers)[channel.name]
        for process in (noise, *receivers):
            result(process)
        return sent, read_arrivals(csv_file(directory, channel)), incidents


def _incidents(testbed: Testbed, count: int, progress: Progress) -> list[Incident]:
    """Killed and stopped by turns."""
    incidents = []
    url = testbed.network.hypervisors[HYPERVISOR].controller.rest_url
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as controller:
        for number, how in enumerate([signal.SIGKILL, signal.SIGSTOP] * count, start=1):
            progress.step(f"{how.name} to the shim")
            incidents.append(_incident(testbed, how, controller))
            time.sleep(BETWEEN_S if number % REST_EVERY else REST_S)
    return incidents


def _incident(testbed: Testbed, how: signal.Signals, controller: httpx.Client) -> Incident:
    """Signal the shim, and ask for the channel's state until that is `installed` again, or for GIVE_UP_S."""
    states: list[tuple[int, str]] = []
    at_ns = time.time_ns()
    os.kill(testbed.child(f"shim of {HYPERVISOR}").pid, how)
    while seen(states)[1] is None and time.time_ns() < at_ns + GIVE_UP_S * NS_PER_S:
        state = controller.get(f"/v1/channels/{CHANNEL}").json()["state"]
        states.append((time.time_ns(), state))
        time.sleep(POLL_S)
    return Incident(how, at_ns, *seen(states))


def seen(states: Sequence[tuple[int, str]]) -> tuple[int | None, int | None]:
    """When the state was first `degraded`, and when it was `installed` again after that; None: not yet."""
    degraded_ns = next((at_ns for at_ns, state in states if state == "degraded"), None)
    back_ns = next(
        (at_ns for at_ns, state in states if degraded_ns and at_ns > degraded_ns and state == "installed"), None
    )
    return degraded_ns, back_ns


def _queues(testbed: Testbed, channel: Channel, before: Counter[int]) -> Queues:
    """Counted after all traffic, since `before`."""
    time.sleep(SETTLE_S)
    packets = _packets(_views(testbed)) - before
    own = packets[channel.deadline_class.queue_id]
    others = packets.total() - own - packets[BEST_EFFORT_QUEUE]
    return Queues(own, others, testbed.channels()[channel.name]["bypassed"])


def _after_probe(testbed: Testbed) -> Counter[int]:
    """What the queues have counted once they were tried."""
    while any(view["proof"] is None for view in _views(testbed)):
        time.sleep(POLL_S)
    time.sleep(SETTLE_S)
    return _packets(_views(testbed))


def _views(testbed: Testbed) -> list[dict[str, Any]]:
    """The queues of the talker's uplink."""
    url = testbed.network.hypervisors[HYPERVISOR].controller.rest_url
    views = httpx.get(f"{url}/v1/queues", timeout=TIMEOUT_S, trust_env=False).json()
    return [view for view in views if view["interface"] == UPLINK]


def _packets(views: Sequence[dict[str, Any]]) -> Counter[int]:
    return Counter({view["queue_id"]: view["packets"] for view in views})


def damages(incidents: Sequence[Incident], sent: int, arrived: Sequence[Packet]) -> list[Damage]:
    """What each incident did until the next one."""
    times_ns = sorted(packet.arrival_ns for packet in arrived)
    lost_ns = lost_at_ns(sent, arrived)
    ends_ns = [*(incident.at_ns for incident in incidents[1:]), times_ns[-1] + 1 if times_ns else 0]
    return [_damage(incident, end_ns, times_ns, lost_ns) for incident, end_ns in zip(incidents, ends_ns, strict=True)]


def _damage(incident: Incident, end_ns: int, times_ns: Sequence[int], lost_ns: Sequence[int]) -> Damage:
    lost = [at_ns for at_ns in lost_ns if incident.at_ns - OUT_NS <= at_ns < end_ns - OUT_NS]
    lost_back = sum(at_ns >= incident.at_ns + OUT_NS for at_ns in lost)
    return Damage(incident, longest_gap_ns(times_ns, incident.at_ns, end_ns), len(lost), lost_back)


def longest_gap_ns(times_ns: Sequence[int], start_ns: int, end_ns: int) -> int:
    """The longest time between two neighbours in `times_ns`, which ascend, that overlaps the time from start to end."""
    gaps_ns = [after - before for before, after in pairwise(times_ns) if before < end_ns and after > start_ns]
    return max(gaps_ns, default=end_ns - start_ns)


def lost_at_ns(sent: int, arrived: Sequence[Packet]) -> list[int]:
    """When each packet that did not arrive was sent, as told by the one before it that did."""
    by_sequence = {packet.sequence: packet.sent_ns for packet in arrived}
    lost_ns: list[int] = []
    last_ns = min(by_sequence.values(), default=0)
    for sequence in range(sent):
        last_ns = by_sequence.get(sequence, last_ns + INTERVAL_NS)
        if sequence not in by_sequence:
            lost_ns.append(last_ns)
    return lost_ns


def seconds_after(start_ns: int, end_ns: int | None) -> float:
    """Infinite for what did not happen."""
    return float("inf") if end_ns is None else (end_ns - start_ns) / NS_PER_S


def report(outcome: Outcome) -> Report:
    kinds = {how: [each for each in outcome.damages if each.incident.how is how] for how in MOST_GAP_MS}
    return Report(
        experiment="failover",
        headers=("shim", "incidents", "", "gap ms", "lost", "lost on the way back", "degraded after s", "back after s"),
        rows=[row for how, found in kinds.items() for row in rows(how, found)],
        figures=figures(outcome),
        verdicts=[*(each for how, found in kinds.items() for each in verdicts(how, found)), *_queue_verdicts(outcome)],
        draw=lambda figure: draw(figure, outcome),
    )


def rows(how: signal.Signals, found: Sequence[Damage]) -> list[tuple[object, ...]]:
    """The medians, and the worst of each."""
    counts = [[each.lost for each in found], [each.lost_back for each in found]]
    times_s = [[each.degraded_s for each in found], [each.back_s for each in found]]

    def cells(name: str, of: Callable[[list[float]], float]) -> tuple[object, ...]:
        gap_ms = of([each.gap_ns / NS_PER_MS for each in found])
        return (how.name, len(found), name, f"{gap_ms:.1f}", *(f"{of([*each]):g}" for each in counts),
                *(f"{of(each):.2f}" for each in times_s))  # fmt: skip

    return [cells("median", median), cells("worst", max)]


def verdicts(how: signal.Signals, found: Sequence[Damage]) -> list[Verdict]:
    gap_ms, most_ms = max(each.gap_ns for each in found) / NS_PER_MS, MOST_GAP_MS[how]
    back_s, degraded_s = max(each.back_s for each in found), max(each.degraded_s for each in found)
    lost_back = sum(each.lost_back for each in found)
    return [
        Verdict(f"{how.name}: nothing arrived for {gap_ms:.1f} ms at worst, wanted {most_ms} or less",
                gap_ms <= most_ms),
        Verdict(f"{how.name}: back in EDF after {back_s:.2f} s at worst, wanted {MOST_BACK_S:g} or less",
                back_s <= MOST_BACK_S),
        Verdict(f"{how.name}: REST said degraded after {degraded_s:.2f} s at worst, wanted {MOST_DEGRADED_S:g} or less",
                degraded_s <= MOST_DEGRADED_S),
        Verdict(f"{how.name}: {lost_back} packets lost on the way back, wanted none", lost_back == 0),
    ]  # fmt: skip


def _queue_verdicts(outcome: Outcome) -> list[Verdict]:
    queues, left = outcome.queues, outcome.sent - outcome.lost
    return [
        Verdict(
            f"the class's queue counted {queues.own:,} packets; {left:,} arrived, {queues.bypassed:,} past the shim",
            queues.own == left and 0 < queues.bypassed < left,
        ),
        Verdict(f"the other real-time queues counted {queues.others:,} packets, wanted none", queues.others == 0),
    ]


def figures(outcome: Outcome) -> dict[str, Any]:
    incidents = [
        {
            "signal": each.incident.how.name,
            "gap_ns": each.gap_ns,
            "lost": each.lost,
            "lost_back": each.lost_back,
            "degraded_s": None if each.incident.degraded_ns is None else round(each.degraded_s, 3),
            "back_s": None if each.incident.back_ns is None else round(each.back_s, 3),
        }
        for each in outcome.damages
    ]
    queues = vars(outcome.queues)
    stalls = [stall.duration_ns for stall in outcome.stalls]
    return {"incidents": incidents, "queues": queues, "sent": outcome.sent, "lost": outcome.lost, "stalls_ns": stalls}


def draw(figure: Figure, outcome: Outcome) -> None:
    axes = figure.subplots()
    for how in MOST_GAP_MS:
        gaps_ms = [each.gap_ns / NS_PER_MS for each in outcome.damages if each.incident.how is how]
        axes.plot(range(1, len(gaps_ms) + 1), gaps_ms, "o-", label=how.name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("incident")
    axes.set_ylabel("longest time without an arrival, ms")
    axes.set_title("A channel whose shim dies or hangs")
    axes.legend()
