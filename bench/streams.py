"""Traffic over a test bed, for the experiments: what is sent on channels and beside them, and what becomes of it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import arrivals
from bench.stalls import Stall, StallWatch
from controller.errors import CannotRun
from controller.model import Channel, Network
from controller.units import NS_PER_S
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from topologies.testbed import Testbed

PAYLOAD_BYTES = 1470
FRAME_BYTES = PAYLOAD_BYTES + 8 + 20 + 14
"""UDP, IPv4 and Ethernet headers."""

NOISE_BPS = 300_000_000
NOISE_BURST = 8
"""Packets at a wake-up: a flood comes in bursts, and a source that wakes up for each packet costs most of a core."""

TALKER, LISTENER, NOISE, SINK = "talker", "listener", "noise", "sink"
NOISE_PORT = 5005
PRIORITY = 45
"""SCHED_FIFO, between Open vSwitch and the shim: a source that comes late would be measured as a slow network."""

HOST_BURST = "6200B"
"""Four full packets, for a channel that sends at its rate: a host that stood still delivers some of them at once."""

LEAD_S = 1.0
"""The flood starts so long before the channels and ends so long after them."""

IDLE_S = 1.0
SETTLE_S = 3.0
"""A receiver ends so long after its last packet; all counts are with the controllers so long after that."""

POLL_S = 0.2
PATIENCE_S = 15.0
"""A receiver that gets nothing ends so long after the traffic."""

COUNTS = ("sent", "received", "missed", "bypassed", "postponed", "excess_dropped", "demoted", "late_dropped")


@dataclass(frozen=True)
class Packet:
    """One that arrived: when it was sent, on the wall clock, how long it took, and which one of its stream it is."""

    sent_ns: int
    delay_ns: int
    sequence: int = 0

    @property
    def arrival_ns(self) -> int:
        return self.sent_ns + self.delay_ns


@dataclass(frozen=True)
class Stream:
    """What became of one channel's packets, in order of arrival. `told` is what /v1/channels said of it at the end."""

    channel: Channel
    sent: int
    arrived: Sequence[Packet]
    told: Mapping[str, Any]

    @property
    def lost(self) -> int:
        return self.sent - len(self.arrived)

    @property
    def delays_ns(self) -> list[int]:
        return [packet.delay_ns for packet in self.arrived]

    @property
    def missed(self) -> list[Packet]:
        """Packets that the listener got later than the deadline after the talker had sent them."""
        return [packet for packet in self.arrived if packet.delay_ns > self.channel.deadline_ns]

    @property
    def reordered(self) -> int:
        return arrivals.reordered([packet.sequence for packet in self.arrived])

    def rate_bps(self, skip_s: float) -> float:
        """Of the payload that arrived while the talker sent, without the first `skip_s`."""
        start_ns = min((packet.sent_ns for packet in self.arrived), default=0) + round(skip_s * NS_PER_S)
        end_ns = max((packet.sent_ns for packet in self.arrived), default=0)
        counted = sum(start_ns <= packet.arrival_ns < end_ns for packet in self.arrived)
        return counted * self.channel.packet_bytes * 8 * NS_PER_S / max(end_ns - start_ns, 1)


@dataclass(frozen=True)
class Offer:
    """What is sent on a channel: `rate_bps` of payload in packets of its size, `burst` of them at once."""

    channel: Channel
    rate_bps: int
    burst: int = 1


@dataclass(frozen=True)
class Exchange:
    """What became of all that was sent. `stalls` are the moments when the machine itself stood still."""

    streams: Sequence[Stream]
    stalls: Sequence[Stall]

    @property
    def missed(self) -> list[Packet]:
        return [packet for stream in self.streams for packet in stream.missed]

    @property
    def missed_in_stalls(self) -> int:
        return in_stalls(self.missed, self.stalls)


def in_stalls(packets: Sequence[Packet], stalls: Sequence[Stall]) -> int:
    """How many of `packets` were under way when a processor stood still."""
    return sum(any(stall.overlaps(packet.sent_ns, packet.arrival_ns) for stall in stalls) for packet in packets)


def excuse(missed: int, in_stalls: int) -> str:
    """For the text of a verdict on `missed` packets."""
    return f" ({in_stalls} of them while the machine stood still)" if missed else ""


def topology(rate: str, channels: Mapping[str, Mapping[str, object]], allowance: str, **sections: object) -> str:
    """The text of a file with the one uplink of `rate` that `channels` leave by, beside what floods it.

    Each of `channels` has what the form asks for but listener, protocol and port; its talker is TALKER by default.
    `sections` are others that the file has.
    """
    entries = {
        name: {"from": TALKER, "to": LISTENER, "protocol": "udp", "dst_port": port, **entry}
        for port, (name, entry) in enumerate(channels.items(), start=NOISE_PORT + 1)
    }
    talkers = dict.fromkeys([*(str(entry["from"]) for entry in entries.values()), NOISE], "left")
    places = talkers | dict.fromkeys([LISTENER, SINK], "right")
    hypervisors = {
        "left": {"uplink": {"rate": rate, "be_slack": "auto"}, "allowance": allowance},
        "right": {"uplink": "1Gbps"},
    }
    vms = {
        name: {"hypervisor": place, "ip": f"10.0.0.{number}"} for number, (name, place) in enumerate(places.items(), 1)
    }
    file = {"version": 1, "hypervisors": hypervisors, "vms": vms, "channels": entries, **sections}
    return json.dumps(file, indent=2)


@contextmanager
def network_of(text: str, is_admission_asked: bool = True) -> Iterator[Network]:
    """The network that `text` declares, in a file that lasts as long as the with block."""
    from controller.topology_file.load import load

    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "topology.yaml"
        file.write_text(text)
        yield load(file, is_admission_asked)


def exchange(
    testbed: Testbed, offers: Sequence[Offer], seconds: float, progress: Progress, *, noise_bps: int = NOISE_BPS
) -> Exchange:
    """Send what is offered for `seconds`, beside best effort of `noise_bps`, and return what became of it."""
    before = testbed.channels()
    acquaint(testbed, offers)
    with tempfile.TemporaryDirectory() as name, StallWatch() as watcher:
        directory = Path(name)
        receivers = start_receivers(testbed, offers, directory, seconds)
        noise = flood(testbed, seconds + 2 * LEAD_S, noise_bps) if noise_bps else None
        time.sleep(LEAD_S)
        sources = start_sources(testbed, offers, directory, seconds)
        watch(next(iter(sources.values())), seconds, progress)
        sent = sent_by(sources, offers)
        for process in [*receivers, *([noise] if noise else [])]:
            result(process)
        arrived = {offer.channel.name: read_arrivals(csv_file(directory, offer.channel)) for offer in offers}
    told = _settled(testbed, before, {name: len(packets) for name, packets in arrived.items()})
    channels = [offer.channel for offer in offers]
    return Exchange([Stream(each, sent[each.name], arrived[each.name], told[each.name]) for each in channels],
                    watcher.stalls)  # fmt: skip


def acquaint(testbed: Testbed, offers: Sequence[Offer]) -> None:
    """Have the talkers learn the listeners' MAC addresses: what a packet waits for that is in nobody's contract."""
    for talker, to in {(offer.channel.talker, str(offer.channel.destination)) for offer in offers}:
        testbed.popen(talker, ["ping", "-c", "1", "-W", "2", to]).communicate()


def start_receivers(
    testbed: Testbed, offers: Sequence[Offer], directory: Path, seconds: float, idle_s: float = IDLE_S
) -> list[subprocess.Popen[str]]:
    """One for each listener; they listen, write what arrives into `directory`, and end `idle_s` after the last."""
    lines = defaultdict(list)
    for offer in offers:
        most = 1000 + 2 * round(seconds * offer.rate_bps / (offer.channel.packet_bytes * 8))
        options = f"--idle {idle_s} --seconds {seconds + PATIENCE_S} --count {most}"
        file = csv_file(directory, offer.channel)
        line = f"receive --port {offer.channel.dst_port} {options} --delays {file}"
        lines[offer.channel.listener].append(line)
    return list(_together(testbed, lines, directory).values())


def start_sources(
    testbed: Testbed, offers: Sequence[Offer], directory: Path, seconds: float
) -> dict[str, subprocess.Popen[str]]:
    """By talker, one that sends on all of its channels."""
    lines = defaultdict(list)
    for offer in offers:
        channel = offer.channel
        pace = f"--rate {offer.rate_bps}bps --payload {channel.packet_bytes} --burst {offer.burst}"
        line = f"send --to {channel.destination}:{channel.dst_port} {pace} --seconds {seconds}"
        lines[channel.talker].append(line)
    return _together(testbed, lines, directory)


def sent_by(sources: Mapping[str, subprocess.Popen[str]], offers: Sequence[Offer]) -> dict[str, int]:
    """By channel, how many packets `sources` sent."""
    results = {talker: iter(result(process)) for talker, process in sources.items()}
    return {offer.channel.name: next(results[offer.channel.talker])["sent"] for offer in offers}


def _together(
    testbed: Testbed, lines: Mapping[str, Sequence[str]], directory: Path
) -> dict[str, subprocess.Popen[str]]:
    """By VM, a program that does what its lines say; all are ready."""
    programs = {}
    for vm, words in lines.items():
        file = directory / f"{vm}.txt"
        file.write_text("\n".join(words))
        programs[vm] = program(testbed, vm, "together", file, "--priority", PRIORITY)
    for process in programs.values():
        assert process.stdout is not None
        process.stdout.readline()
    return programs


def flood(testbed: Testbed, seconds: float, rate_bps: int = NOISE_BPS) -> subprocess.Popen[str]:
    """Best effort from NOISE to SINK."""
    to = testbed.network.vms[SINK].addresses[0].ip
    options = ("--to", f"{to}:{NOISE_PORT}", "--rate", f"{rate_bps}bps", "--seconds", seconds)
    return program(testbed, NOISE, "send", *options, "--payload", PAYLOAD_BYTES, "--burst", NOISE_BURST)


def program(testbed: Testbed, vm: str, *words: object) -> subprocess.Popen[str]:
    return testbed.popen(vm, [sys.executable, "-m", "bench.traffic", *map(str, words)])


def result(process: subprocess.Popen[str]) -> Any:
    """What a traffic program says at its end. Raises CannotRun."""
    output, errors = process.communicate()
    if process.returncode:
        raise CannotRun(f"a traffic program failed: {errors.strip()}", "run it as root, with leave to use SCHED_FIFO")
    return json.loads(output)


def watch(process: subprocess.Popen[str], seconds: float, progress: Progress) -> None:
    """Return when `process` has ended, which takes about `seconds`."""
    begun_s = time.monotonic()
    while process.poll() is None:
        progress.note(f"{min(time.monotonic() - begun_s, seconds):.0f} s")
        time.sleep(POLL_S)


def csv_file(directory: Path, channel: Channel) -> Path:
    return directory / f"{channel.name}.csv"


def read_arrivals(file: Path) -> list[Packet]:
    with file.open() as lines:
        return [
            Packet(int(row["sent_ns"]), int(row["delay_ns"]), int(row["sequence"])) for row in csv.DictReader(lines)
        ]


def _settled(
    testbed: Testbed, before: Mapping[str, Mapping[str, Any]], arrived: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """What the controllers have counted since `before`: once the shims told of all that `arrived`, or SETTLE_S on."""
    end_s = time.monotonic() + SETTLE_S
    while True:
        now = testbed.channels()
        told = {name: counted(before[name], now[name]) for name in arrived}
        is_all_told = all(told[name]["judged"] == told[name]["received"] == arrived[name] for name in arrived)
        if is_all_told or time.monotonic() > end_s:
            return told
        time.sleep(POLL_S)


def counted(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, int]:
    """Of one channel, from what /v1/channels said before and says now. `judged`: held to the deadline on arrival."""
    counts = {name: now[name] - before[name] for name in COUNTS}
    return counts | {"judged": now["lateness"]["count"] - before["lateness"]["count"]}
