"""What do channels lose when a part of RTvNIC or of Open vSwitch is killed, or when one of them changes? Fifty channels
of small packets between two hypervisors, while that happens to them, one case after the other."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from pyroute2 import IPRoute

from bench.report import Report, Verdict, publish
from bench.stalls import Stall, StallWatch
from bench.streams import (
    Offer,
    Packet,
    Stream,
    acquaint,
    csv_file,
    network_of,
    read_arrivals,
    result,
    sent_by,
    start_receivers,
    start_sources,
)
from controller.errors import CannotRun
from controller.model import Channel, Network
from controller.store.client import Store
from controller.store.decisions import Clerk, Decision
from controller.store.records import Owner
from controller.units import NS_PER_MS
from ovs_config.filters import QueueFilter, missing_filters
from ovs_config.plan import BridgePlan, plan_bridge
from rtvnic.arguments import integer
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from topologies.testbed import Testbed

SUMMARY = "what 50 channels lose when a process is killed, or when one of them changes"

COUNT, PAIRS = 50, 5
"""Channels, and the pairs of VMs that share them."""

PACKET_BYTES = 64
TERMS = {"deadline": "5ms", "min_rate": "2Mbps", "packet": f"{PACKET_BYTES}B"}
PACKETS_PER_S = 400
"""Of each channel. Two processors carry 500 without loss, 600 not in every run. At 1,000 the one thread of Open vSwitch
is full, which forwards each packet twice. The more traffic, the longer a controller takes to start."""

CHANGED, METERED = "c00", 49
CHANGES = 100
CHANGE_EVERY_S = 0.1
SEED = 1

LEAD_S, TAIL_S = 1.5, 1.0
"""Traffic before a case's incident, and after everything is as it should be again."""

LASTING_S = 10.0
"""A process that died sooner is not started again at once: so long it is left alone."""

MOST_REPAIR_S = 5
READY_S = 1.5
"""What has been ready for so long is ready again."""

POLL_S = 0.2
GIVE_UP_S = 15.0
TIMEOUT_S = 5.0
PATIENCE_S = 2.0


IsWell = Callable[[], bool]


@dataclass(frozen=True)
class Case:
    """Processes that are killed at once, or else what `does` to the channels, and what that may cost.

    None is no limit: then the figures are for reading. `others_only`: the channel CHANGED does not count. What `does`
    it returns how to tell that its traces are gone, beside what REST says.
    """

    name: str
    victims: tuple[str, ...] = ()
    most_lost: int | None = None
    most_gap_ms: int | None = None
    most_ready_s: float | None = None
    most_messages: int | None = None
    does: Callable[[Testbed, Store], IsWell] | None = None
    others_only: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a case cost. `ready_s` is how long after the incident everything was as it should be again; `messages` are
    entries sent to switches and settings to shims. `uncounted` packets were sent, but REST does not say so.
    """

    case: Case
    sent: int
    lost: int
    reordered: int
    gap_ns: int
    ready_s: float
    messages: int
    uncounted: int
    falls: int
    stalls: Sequence[Stall]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES], metavar="CASE",
                        help=f"of {', '.join(case.name for case in CASES)}; may be given several times")  # fmt: skip
    parser.add_argument("--packets-per-second", type=integer(range(1, 10_001)), default=PACKETS_PER_S, metavar="N",
                        help=f"of each channel (default: {PACKETS_PER_S})")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether the channels were worse off than they may be."""
    from topologies.interruption import interruptible

    cases = [case for case in CASES if args.only is None or case.name in args.only]
    with interruptible():
        outcomes = measure(cases, args.packets_per_second, Progress(len(cases)))
    return publish(report(outcomes, args.packets_per_second), args)


def measure(cases: Sequence[Case], packets_per_s: int, progress: Progress) -> list[Outcome]:
    from topologies.testbed import STORE, Testbed

    with network_of(topology()) as network, Testbed(network) as testbed:
        if not testbed.openvswitch.private:
            raise CannotRun("hitless would kill the system's Open vSwitch", "systemctl stop openvswitch-switch")
        testbed.await_channels()
        with Store(STORE, network.classes) as store:
            outcomes = []
            for case in cases:
                progress.step(case.name)
                rested_s = time.monotonic() + LASTING_S
                outcomes.append(_outcome(testbed, store, case, packets_per_s))
                time.sleep(max(0.0, rested_s - time.monotonic()) if case.victims else 0.0)
        progress.end()
        return outcomes


def topology() -> str:
    """The text of a file with COUNT channels between PAIRS of VMs."""
    vms = {}
    for pair in range(PAIRS):
        vms[f"t{pair}"] = {"hypervisor": "left", "ip": f"10.0.0.{pair + 1}"}
        vms[f"l{pair}"] = {"hypervisor": "right", "ip": f"10.0.0.{pair + 101}"}
    channels = {
        f"c{number:02}": {"from": f"t{number % PAIRS}", "to": f"l{number % PAIRS}", "protocol": "udp",
                          "dst_port": 6000 + number, **TERMS, "excess": "drop" if number == METERED else "postpone"}
        for number in range(COUNT)
    }  # fmt: skip
    hypervisors = {
        "left": {"uplink": {"rate": "1Gbps", "be_slack": "auto"}, "allowance": "1ms"},
        "right": {"uplink": "1Gbps"},
    }
    return json.dumps({"version": 1, "hypervisors": hypervisors, "vms": vms, "channels": channels}, indent=2)


# The cases


def _change(testbed: Testbed, store: Store) -> IsWell:
    """CHANGED is changed, removed and added again, CHANGES times at random; at last it is as it was."""
    network, chance = testbed.network, random.Random(SEED)
    clerk, first = Clerk(network), network.channels[CHANGED]
    is_there = True
    for _ in range(CHANGES):
        removes = is_there and chance.random() < 1 / 3
        store.change(clerk.remove(CHANGED, Owner.FILE) if removes else _another(clerk, first, chance))
        is_there = not removes
        time.sleep(CHANGE_EVERY_S)
    store.change(clerk.put(first, Owner.FILE))
    return lambda: True


def _another(clerk: Clerk, channel: Channel, chance: random.Random) -> Decision:
    """Another rate, which only the shim sees, or another deadline, with which the flow is another too."""
    rate_bps = channel.rate_bps + chance.randrange(0, 1_000_000, 1000)
    deadline_ns = channel.deadline_ns - chance.randrange(0, NS_PER_MS, 10_000)
    return clerk.put(replace(channel, rate_bps=rate_bps, deadline_ns=deadline_ns), Owner.FILE)


def _apply_again(testbed: Testbed, store: Store) -> IsWell:
    store.change(Clerk(testbed.network).apply(testbed.network.channels))
    return lambda: True


def _remove_entries(what: str) -> Callable[[Testbed, Store], IsWell]:
    """All flows, groups or meters of a bridge."""

    def remove(testbed: Testbed, _: Store) -> IsWell:
        before = _entries(testbed, what)
        testbed.openvswitch.run("ovs-ofctl", *OPENFLOW, f"del-{what}", BRIDGE)
        return lambda: _entries(testbed, what) == before

    return remove


def _entries(testbed: Testbed, what: str) -> list[str]:
    """Without the counters, and without the line that numbers the answer."""
    options = ("--no-stats",) if what == "flows" else ()
    lines = testbed.openvswitch.run("ovs-ofctl", *OPENFLOW, f"dump-{what}", BRIDGE, *options).splitlines()
    return sorted(line for line in lines if "xid=" not in line)


def _remove_queues(what: str, place: str) -> Callable[[Testbed, Store], IsWell]:
    """What `tc` calls so, of an uplink."""

    def remove(testbed: Testbed, _: Store) -> IsWell:
        plan = plan_bridge(testbed.network, BRIDGE, testbed.openvswitch.datapath_type)
        subprocess.run(["tc", what, "del", "dev", UPLINK, *place.split()], check=True)
        return lambda: not _missing_filters(plan)

    return remove


def _missing_filters(plan: BridgePlan) -> set[QueueFilter]:
    with IPRoute() as ip:
        return missing_filters(ip, plan)


BRIDGE, UPLINK = "left", "left-up"
OPENFLOW = ("-O", "OpenFlow13")
LEFT, RIGHT = "controller of left", "controller of right"
SHIM, STORE_SERVER, VSWITCHD, OVSDB_SERVER = "shim of left", "store server", "ovs-vswitchd", "ovsdb-server"

CASES: tuple[Case, ...] = (
    Case("nothing", most_lost=0, most_gap_ms=20, most_messages=0),
    Case("same-again", most_lost=0, most_gap_ms=20, most_messages=0, does=_apply_again),
    Case("changes", most_lost=0, does=_change, others_only=True),
    Case("controller", (LEFT,), most_lost=0, most_gap_ms=20, most_ready_s=3, most_messages=0),
    Case("peer", (RIGHT,), most_lost=0, most_gap_ms=20, most_ready_s=3, most_messages=0),
    Case("store", (STORE_SERVER,), most_lost=0, most_messages=0),
    Case("ovsdb", (OVSDB_SERVER,), most_lost=0, most_messages=0),
    Case("vswitchd", (VSWITCHD,), most_gap_ms=500, most_ready_s=GIVE_UP_S),
    Case("shim", (SHIM,), most_gap_ms=60, most_ready_s=3),
    Case("controllers", (LEFT, RIGHT), most_lost=0, most_gap_ms=20, most_ready_s=GIVE_UP_S, most_messages=0),
    Case("controller+store", (LEFT, STORE_SERVER), most_lost=0, most_gap_ms=20, most_ready_s=GIVE_UP_S),
    Case("controller+shim", (LEFT, SHIM), most_ready_s=GIVE_UP_S),
    Case("controller+vswitchd", (LEFT, VSWITCHD), most_ready_s=GIVE_UP_S),
    Case("controller+ovsdb", (LEFT, OVSDB_SERVER), most_ready_s=GIVE_UP_S),
    Case("peer+shim", (RIGHT, SHIM), most_ready_s=GIVE_UP_S),
    Case("peer+vswitchd", (RIGHT, VSWITCHD), most_ready_s=GIVE_UP_S),
    Case("peer+ovsdb", (RIGHT, OVSDB_SERVER), most_ready_s=GIVE_UP_S),
    Case("peer+store", (RIGHT, STORE_SERVER), most_lost=0, most_gap_ms=20, most_ready_s=GIVE_UP_S),
    Case("shim+ovsdb", (SHIM, OVSDB_SERVER), most_ready_s=GIVE_UP_S),
    Case("shim+store", (SHIM, STORE_SERVER), most_ready_s=GIVE_UP_S),
    Case("vswitchd+store", (VSWITCHD, STORE_SERVER), most_ready_s=GIVE_UP_S),
    Case("ovsdb+store", (OVSDB_SERVER, STORE_SERVER), most_ready_s=GIVE_UP_S),
    Case("vswitchd+ovsdb", (VSWITCHD, OVSDB_SERVER), most_ready_s=GIVE_UP_S),
    Case("vswitchd+shim", (VSWITCHD, SHIM), most_ready_s=GIVE_UP_S),
    Case("flows-removed", most_ready_s=MOST_REPAIR_S, does=_remove_entries("flows")),
    Case("groups-removed", most_ready_s=MOST_REPAIR_S, does=_remove_entries("groups")),
    Case("meters-removed", most_ready_s=MOST_REPAIR_S, does=_remove_entries("meters")),
    Case(
        "filters-removed",
        most_ready_s=MOST_REPAIR_S,
        does=_remove_queues("filter", "parent 1:"),
    ),
    Case("qdisc-removed", most_ready_s=MOST_REPAIR_S, does=_remove_queues("qdisc", "root")),
)


# One case


def _outcome(testbed: Testbed, store: Store, case: Case, packets_per_s: int) -> Outcome:
    channels = [each for each in testbed.network.channels.values() if not (case.others_only and each.name == CHANGED)]
    offers = [Offer(channel, packets_per_s * PACKET_BYTES * 8) for channel in testbed.network.channels.values()]
    acquaint(testbed, offers)
    before = _settled(testbed, channels)
    with tempfile.TemporaryDirectory() as name, StallWatch() as watch:
        ready_s, sent = _under_traffic(testbed, store, case, offers, Path(name))
        arrived = {channel.name: read_arrivals(csv_file(Path(name), channel)) for channel in channels}
    after = _settled(testbed, channels)
    streams = [Stream(channel, sent[channel.name], arrived[channel.name], {}) for channel in channels]
    told = {name: after.sent[name] - before.sent[name] for name in after.sent}
    return Outcome(
        case=case,
        sent=sum(stream.sent for stream in streams),
        lost=sum(stream.sent - len({packet.sequence for packet in stream.arrived}) for stream in streams),
        reordered=sum(stream.reordered for stream in streams),
        gap_ns=max(longest_gap_ns(stream.arrived) for stream in streams),
        ready_s=ready_s,
        messages=messages(before.messages, after.messages, killed_domains(case)),
        uncounted=sum(max(0, stream.sent - told[stream.channel.name]) for stream in streams),
        falls=sum(count < 0 for count in told.values()),
        stalls=watch.stalls,
    )


def _under_traffic(
    testbed: Testbed, store: Store, case: Case, offers: Sequence[Offer], directory: Path
) -> tuple[float, dict[str, int]]:
    """How long after the incident all was well again, and how much was sent of each channel."""
    longest_s = LEAD_S + CHANGES * 1.0 + GIVE_UP_S + TAIL_S
    receivers = start_receivers(testbed, offers, directory, longest_s, idle_s=GIVE_UP_S)
    sources = start_sources(testbed, offers, directory, longest_s)
    time.sleep(LEAD_S)
    for pid in [testbed.pid_of(victim) for victim in case.victims]:
        os.kill(pid, signal.SIGKILL)
    is_well = case.does(testbed, store) if case.does is not None else lambda: True
    ready_s = _ready_s(lambda: is_well() and not testbed.missing())
    time.sleep(TAIL_S)
    for process in sources.values():
        process.send_signal(signal.SIGINT)
    sent = sent_by(sources, offers)
    time.sleep(TAIL_S)
    for receiver in receivers:
        receiver.send_signal(signal.SIGINT)
    for receiver in receivers:
        result(receiver)
    return ready_s, sent


def _ready_s(is_well: IsWell) -> float:
    """How long it takes from now until all is well, and stays so; infinite if it does not come to that."""
    start_s = time.monotonic()
    since_s = start_s
    while (now_s := time.monotonic()) - since_s < READY_S:
        if not is_well():
            since_s = time.monotonic()
        if now_s - start_s > GIVE_UP_S:
            return float("inf")
        time.sleep(POLL_S)
    return since_s - start_s


@dataclass(frozen=True)
class Told:
    """What REST says: packets sent by channel, and messages by domain."""

    sent: Mapping[str, int]
    messages: Mapping[str, int]


def _settled(testbed: Testbed, channels: Sequence[Channel]) -> Told:
    """Once the counts have come to rest."""
    time.sleep(PATIENCE_S)
    found = testbed.channels()
    return Told(
        {channel.name: found[channel.name]["sent"] for channel in channels},
        {domain: _messages(testbed.network, domain) for domain in testbed.network.hypervisors},
    )


def _messages(network: Network, domain: str) -> int:
    url = network.hypervisors[domain].controller.rest_url
    switches = _get(url, "switches")
    return sum(switch["changes_sent"] for switch in switches)


def _get(url: str, what: str) -> Any:
    return httpx.get(f"{url}/v1/{what}", timeout=TIMEOUT_S, trust_env=False).json()


def killed_domains(case: Case) -> set[str]:
    """Those whose controllers begin anew, and with them their counts of messages."""
    return {victim.removeprefix("controller of ") for victim in case.victims if victim in (LEFT, RIGHT)}


def messages(before: Mapping[str, int], after: Mapping[str, int], begun_anew: set[str]) -> int:
    return sum(count - (0 if domain in begun_anew else before[domain]) for domain, count in after.items())


def longest_gap_ns(arrived: Sequence[Packet]) -> int:
    """Between two arrivals of a channel."""
    times_ns = sorted(packet.arrival_ns for packet in arrived)
    return max((after - before for before, after in pairwise(times_ns)), default=0)


# What is said of it


def report(outcomes: Sequence[Outcome], packets_per_s: int) -> Report:
    return Report(
        experiment="hitless",
        headers=("case", "sent", "lost", "reordered", "gap ms", "ready after s", "messages", "uncounted"),
        rows=[row(outcome) for outcome in outcomes],
        figures={"channels": COUNT, "packets_per_s": packets_per_s, "cases": [figures(each) for each in outcomes]},
        verdicts=[verdict for outcome in outcomes for verdict in verdicts(outcome)],
        draw=lambda figure: draw(figure, outcomes),
    )


def row(outcome: Outcome) -> tuple[object, ...]:
    return (
        outcome.case.name,
        f"{outcome.sent:,}",
        f"{outcome.lost:,}",
        outcome.reordered,
        f"{outcome.gap_ns / NS_PER_MS:.1f}",
        f"{outcome.ready_s:.2f}",
        outcome.messages,
        f"{outcome.uncounted:,}",
    )


def verdicts(outcome: Outcome) -> list[Verdict]:
    case, gap_ms = outcome.case, outcome.gap_ns / NS_PER_MS
    found = [Verdict(f"{case.name}: {outcome.reordered} packets out of order, wanted none", outcome.reordered == 0),
             Verdict(f"{case.name}: {outcome.falls} counts fell, wanted none", outcome.falls == 0)]  # fmt: skip
    for what, value, most in (
        ("packets lost", outcome.lost, case.most_lost),
        ("ms without an arrival", round(gap_ms, 1), case.most_gap_ms),
        ("s until all was well again", round(outcome.ready_s, 2), case.most_ready_s),
        ("messages to switches", outcome.messages, case.most_messages),
    ):
        if most is not None:
            found.append(Verdict(f"{case.name}: {value} {what}, wanted {most:g} or less", value <= most))
    return found


def figures(outcome: Outcome) -> dict[str, Any]:
    counts = {name: getattr(outcome, name) for name in ("sent", "lost", "reordered", "gap_ns", "messages", "uncounted")}
    ready_s = None if outcome.ready_s == float("inf") else round(outcome.ready_s, 3)
    stalls = [stall.duration_ns for stall in outcome.stalls]
    return {"case": outcome.case.name, **counts, "ready_s": ready_s, "falls": outcome.falls, "stalls_ns": stalls}


def draw(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    axes = figure.subplots()
    names = [outcome.case.name for outcome in outcomes]
    axes.barh(names, [outcome.gap_ns / NS_PER_MS for outcome in outcomes])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("longest time without an arrival, ms")
    axes.set_title("50 channels, and what happens to them")
