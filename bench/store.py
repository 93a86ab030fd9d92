"""Does the channel store keep what it has acknowledged, and tell each controller of its own channels only? Three
members on loopback take 50 writes a second while their leader is killed again and again; then 1,000 domains watch."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from bench.members import Member, await_all, cluster
from bench.monitors import domain_name
from bench.report import Report, Verdict, publish
from controller.errors import RtvnicError
from controller.model import Channel, DeadlineClass
from controller.network.labels import free_label
from controller.store.client import Store
from controller.store.records import Change, Owner, Record, Snapshot
from controller.units import NS_PER_MS, NS_PER_S
from rtvnic.arguments import integer
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMMARY = "what a clustered channel store keeps while its leader is killed, and whom it tells what"

MEMBERS = 3
WRITERS = 5
TIME_S = 60
RATE = 50
"""Writes a second, of all writers together."""

KILL_EVERY_S = 5.0
DOWN_S = 1.0
MONITORS = 1000
UPDATES = 200
UPDATE_EVERY_S = 0.05
SETTLE_S = 1.0

CLASS = DeadlineClass("all", queue_id=1, dscp=10, above_ns=0, up_to_ns=NS_PER_S)
MIB = 1 << 20
MOST_MIB = 100
"""What a third of the monitors may cost a member."""


@dataclass(frozen=True)
class Write:
    """A channel that a writer asked for. `error` is empty when the store acknowledged it."""

    name: str
    start_ns: int
    end_ns: int
    error: str

    @property
    def took_ms(self) -> float:
        return (self.end_ns - self.start_ns) / NS_PER_MS


@dataclass
class Holding:
    """What one member holds: its rows by name and by label."""

    names: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Storm:
    """The writes, when a leader was killed, and what the members held afterwards."""

    writes: Sequence[Write]
    kills_ns: Sequence[int]
    holdings: Sequence[Holding]

    @property
    def acknowledged(self) -> list[Write]:
        return [write for write in self.writes if not write.error]

    @property
    def missing(self) -> int:
        """Acknowledged channels that a member does not have."""
        return sum(write.name not in holding.names for holding in self.holdings for write in self.acknowledged)

    @property
    def twice(self) -> int:
        """Names and labels that a member has more than once."""
        counts = [counter for holding in self.holdings for counter in (holding.names, holding.labels)]
        return sum(count > 1 for counter in counts for count in counter.values())


@dataclass(frozen=True)
class Watching:
    """What the monitors were sent, and how long after the call a change was with both its domains."""

    monitors: int
    rows: int
    foreign: int
    received_bytes: int
    latencies_ms: Sequence[float]
    expected: int
    astray: int
    before_bytes: Sequence[int]
    after_bytes: Sequence[int]


@dataclass(frozen=True)
class Outcome:
    storm: Storm
    watching: Watching


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seconds", type=integer(range(10, 3601)), default=TIME_S, help=f"of writing, 10 at least (default: {TIME_S})")
    add("--monitors", type=integer(range(2, 10_001)), default=MONITORS, metavar="N",
        help=f"domains that watch (default: {MONITORS})")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether anything was lost, doubled, or sent to the wrong one."""
    return publish(report(measure(args.seconds, args.monitors, Progress(2))), args)


def measure(time_s: int, monitors: int, progress: Progress) -> Outcome:
    with tempfile.TemporaryDirectory() as directory, cluster(Path(directory), MEMBERS) as members:
        progress.step(f"{RATE} writes/s for {time_s} s")
        storm = _storm(members, time_s, monitors)
        progress.step(f"{monitors} monitors")
        watching = _watching(members, monitors)
        progress.end()
        return Outcome(storm, watching)


def remotes(members: Sequence[Member]) -> str:
    return ",".join(str(member.remote) for member in members)


def _storm(members: Sequence[Member], time_s: int, domains: int) -> Storm:
    is_over = threading.Event()
    writers = [Writer(remotes(members), number, domains, is_over) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    kills_ns = []
    for _ in range(int(time_s / KILL_EVERY_S) - 1):
        time.sleep(KILL_EVERY_S - DOWN_S)
        kills_ns.append(_kill_leader(members))
    time.sleep(KILL_EVERY_S)
    is_over.set()
    for writer in writers:
        writer.join()
    await_all([member.is_connected for member in members])
    time.sleep(SETTLE_S)
    return Storm([write for writer in writers for write in writer.writes], kills_ns, [*map(_holding, members)])


def _kill_leader(members: Sequence[Member]) -> int:
    """Kill it and start it again after DOWN_S. Returns when it was killed."""
    await_all([lambda: any(member.is_leader() for member in members)])
    leader = next((member for member in members if member.is_leader()), members[0])
    leader.kill()
    killed_ns = time.monotonic_ns()
    time.sleep(DOWN_S)
    leader.start()
    return killed_ns


def _holding(member: Member) -> Holding:
    rows = member.rows("Channel", ("name", "label"))
    return Holding(Counter(row["name"] for row in rows), Counter(row["label"] for row in rows))


class Writer(threading.Thread):
    """Adds channels through a store of its own, RATE / WRITERS each second, or as fast as it can to catch up."""

    def __init__(self, remotes: str, number: int, domains: int, is_over: threading.Event) -> None:
        super().__init__(name=f"writer {number}", daemon=True)
        self.writes: list[Write] = []
        self._remotes = remotes
        self._number = number
        self._domains = domains
        self._is_over = is_over

    def run(self) -> None:
        with Store(self._remotes, [CLASS]) as store:
            due_s = time.monotonic()
            while not self._is_over.wait(max(0.0, due_s - time.monotonic())):
                self.writes.append(_write(store, f"w{self._number}-{len(self.writes)}", self._domains))
                due_s += WRITERS / RATE


def _write(store: Store, name: str, domains: int) -> Write:
    def add(before: Snapshot) -> Change:
        return Change(put=(_record(name, before, domains),))

    start_ns = time.monotonic_ns()
    try:
        store.change(add)
    except RtvnicError as error:
        return Write(name, start_ns, time.monotonic_ns(), str(error))
    return Write(name, start_ns, time.monotonic_ns(), "")


def _record(name: str, before: Snapshot, domains: int) -> Record:
    """A channel between two neighbours among the domains."""
    first = len(before.records) % domains
    channel = Channel(
        name=name,
        label=free_label(name, {record.channel.label for record in before.records.values()}),
        talker=f"vm{first}",
        listener=f"vm{(first + 1) % domains}",
        source=ip_address("10.0.0.1"),
        destination=ip_address("10.0.0.2"),
        protocol=None,
        src_port=None,
        dst_port=None,
        deadline_ns=5 * NS_PER_MS,
        rate_bps=1_000_000,
        burst_bytes=3000,
        deadline_class=CLASS,
        packet_bytes=1000,
        on_miss=("log",),
    )
    return Record(channel, Owner.REST, 0, (domain_name(first), domain_name((first + 1) % domains)))


def _watching(members: Sequence[Member], count: int) -> Watching:
    before = [member.memory_bytes() for member in members]
    with Store(remotes(members), [CLASS]) as store, _monitors(members, count) as process:
        after = [member.memory_bytes() for member in members]
        sent = dict(_update(store) for _ in range(UPDATES))
        time.sleep(SETTLE_S)
        output, _ = process.communicate()
    return watching(json.loads(output), sent, before, after)


@contextmanager
def _monitors(members: Sequence[Member], count: int) -> Iterator[subprocess.Popen[str]]:
    """The process of bench.monitors, once all of them have what they asked for."""
    words = [sys.executable, "-m", "bench.monitors", "--remotes", remotes(members), "--domains", str(count)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the monitors have ended; their message is above")
        yield process
    finally:
        process.kill()
        process.wait()


def _update(store: Store) -> tuple[int, tuple[int, frozenset[str]]]:
    """Change the rate of any channel: the version that made, when it was called for, and the domains to be told."""
    name = random.choice(list(store.read().records))

    def faster(before: Snapshot) -> Change:
        record = before.records[name]
        return Change(put=(replace(record, channel=replace(record.channel, rate_bps=record.channel.rate_bps + 1)),))

    start_ns = time.monotonic_ns()
    record = store.change(faster).records[name]
    time.sleep(UPDATE_EVERY_S)
    return record.version, (start_ns, frozenset(record.domains))


def watching(
    monitors: Sequence[dict[str, Any]],
    sent: dict[int, tuple[int, frozenset[str]]],
    before_bytes: Sequence[int],
    after_bytes: Sequence[int],
) -> Watching:
    """What the monitors say of the updates in `sent`, which has call time and domains by version."""
    latencies_ms, astray = [], 0
    for monitor in monitors:
        for version, arrived_ns in monitor["arrivals"]:
            start_ns, domains = sent[version]
            latencies_ms.append((arrived_ns - start_ns) / NS_PER_MS)
            astray += monitor["domain"] not in domains
    return Watching(
        monitors=len(monitors),
        rows=sum(monitor["rows"] for monitor in monitors),
        foreign=sum(monitor["foreign"] for monitor in monitors),
        received_bytes=sum(monitor["received_bytes"] for monitor in monitors),
        latencies_ms=latencies_ms,
        expected=sum(len(domains) for _, domains in sent.values()),
        astray=astray,
        before_bytes=before_bytes,
        after_bytes=after_bytes,
    )


def report(outcome: Outcome) -> Report:
    return Report(
        experiment="store",
        headers=("", "count", "p50", "p99", "max ms"),
        rows=rows(outcome),
        figures=figures(outcome),
        verdicts=verdicts(outcome),
        draw=lambda figure: draw(figure, outcome),
    )


def rows(outcome: Outcome) -> list[tuple[object, ...]]:
    writes_ms = [write.took_ms for write in outcome.storm.acknowledged]
    return [
        ("writes acknowledged", *spread(writes_ms)),
        ("updates at both domains", *spread(outcome.watching.latencies_ms)),
    ]


def spread(values_ms: Sequence[float]) -> tuple[object, ...]:
    """How many, the median, the 99th percentile and the largest; only how many where there are too few."""
    if len(values_ms) < 2:
        return (len(values_ms), None, None, None)
    p99 = quantiles(values_ms, n=100, method="inclusive")[-1]
    return (len(values_ms), *(f"{value:.1f}" for value in (median(values_ms), p99, max(values_ms))))


def verdicts(outcome: Outcome) -> list[Verdict]:
    return [*_storm_verdicts(outcome.storm), *_watching_verdicts(outcome.watching)]


def _storm_verdicts(storm: Storm) -> list[Verdict]:
    offered, acknowledged, kills = len(storm.writes), len(storm.acknowledged), len(storm.kills_ns)
    return [
        Verdict(
            f"the leader was killed {kills} times; {acknowledged:,} of {offered:,} writes acknowledged, wanted some",
            acknowledged > 0,
        ),
        Verdict(f"{storm.missing:,} acknowledged channels are missing at a member, wanted none", storm.missing == 0),
        Verdict(f"{storm.twice:,} names or labels are there twice, wanted none", storm.twice == 0),
    ]


def _watching_verdicts(found: Watching) -> list[Verdict]:
    others, arrived = found.foreign + found.astray, len(found.latencies_ms)
    most_mib, grown_mib = max(found.after_bytes) / MIB, (max(found.after_bytes) - max(found.before_bytes)) / MIB
    return [
        Verdict(
            f"{found.monitors:,} monitors were sent {found.rows:,} rows ({found.received_bytes / MIB:.1f} MiB), "
            f"{others:,} of them not their own, wanted none",
            others == 0,
        ),
        Verdict(f"{arrived:,} of {found.expected:,} updates arrived, wanted all", arrived == found.expected),
        Verdict(
            f"a member has {most_mib:.0f} MiB, {grown_mib:.0f} MiB of them for monitors, wanted {MOST_MIB} or less",
            grown_mib <= MOST_MIB,
        ),
    ]


def figures(outcome: Outcome) -> dict[str, Any]:
    storm = outcome.storm
    refused = Counter(write.error for write in storm.writes if write.error)
    return {
        "offered": len(storm.writes),
        "acknowledged": len(storm.acknowledged),
        "not_acknowledged": dict(refused),
        "write_ms": [round(write.took_ms, 1) for write in storm.acknowledged],
        "kills": len(storm.kills_ns),
        "missing": storm.missing,
        "twice": storm.twice,
        "watching": vars(outcome.watching),
    }


def draw(figure: Figure, outcome: Outcome) -> None:
    """How long each write took, with the moments at which a leader was killed."""
    axes = figure.subplots()
    writes = outcome.storm.acknowledged
    zero_ns = min((write.start_ns for write in writes), default=0)
    axes.plot([(write.start_ns - zero_ns) / NS_PER_S for write in writes], [write.took_ms for write in writes], ".")
    for killed_ns in outcome.storm.kills_ns:
        axes.axvline((killed_ns - zero_ns) / NS_PER_S, color="gray", linewidth=0.5)
    axes.set_yscale("log")
    axes.set_xlabel("s (a line: the leader is killed)")
    axes.set_ylabel("until acknowledged, ms")
    axes.set_title("Writes to a store of three members")
