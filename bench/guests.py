"""How soon does a guest have a channel that it asks for, alone and while another guest sends 10,000 requests a second?
And how soon is it called up about a late packet? A guest opens channels one after the other; then frames that are late
already are sent onto the uplink of its hypervisor, one by one."""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.askers import AskingVm
from bench.forged_misses import LATE_NS, frame
from bench.report import Report, Verdict, percentile_ms, publish, times_row
from bench.streams import network_of, result
from controller.units import NS_PER_MS
from guest.messages import Close, Missed, Renew, State, Status, Subscribe
from rtvnic.arguments import integer
from rtvnic.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from topologies.testbed import Testbed

SUMMARY = "from a guest's request to its channel, beside a flood of requests; from a late packet to its callback"

TOPOLOGY = """
version: 1
hypervisors:
  left: {uplink: 100Mbps, allowance: 1ms}
  right: {uplink: 100Mbps}
vms:
  asker: {hypervisor: left, ip: 10.0.0.1, quota: {channels: 4, rate: 10Mbps}}
  flooder: {hypervisor: left, ip: 10.0.0.2, quota: {channels: 4, rate: 10Mbps}}
  other: {hypervisor: left, ip: 10.0.0.4}
  listener: {hypervisor: right, ip: 10.0.0.3}
channels:
  other: {from: other, to: listener, deadline: 50ms, min_rate: 1Mbps}
"""
"""With a channel that is there already, so that the two controllers are connected: else the first has them do so."""

FLOOD_PER_S = 10_000
DEADLINE_NS, RATE_BPS, LEASE_S = 10 * NS_PER_MS, 1_000_000, 60
POLL_S = 0.004
PATIENCE_S = 5.0
ROUND_S = 0.25
"""A guest opens and closes a channel no more often, so that its own budget is never spent."""

QUIET_S = 0.15
"""After so long without a miss the next is told at once."""

LEAD_S = 2.0
MOST_SETUP_MS = 50.0
MOST_MEDIAN_MS, MOST_P99_MS = 10.0, 30.0


@dataclass(frozen=True)
class Outcome:
    """`alone_ns`, `beside_ns`: from asking to installed. `call_ups_ns`: from a late packet to the guest's socket.

    The flooder has sent `flood`, in `flood_s`; `book` is what its controller counted of it.
    """

    alone_ns: Sequence[int]
    beside_ns: Sequence[int]
    call_ups_ns: Sequence[int]
    flood: int
    flood_s: float
    book: dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--channels", type=integer(range(5, 1001)), default=60, help="to open, twice (default: 60)")
    parser.add_argument("--misses", type=integer(range(5, 2001)), default=200, help="to provoke (default: 200)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and say whether it is soon enough."""
    from topologies.interruption import interruptible

    progress = Progress(3)
    with interruptible():
        outcome = measure(args.channels, args.misses, progress)
    progress.end()
    return publish(report(outcome), args)


def measure(channels: int, misses: int, progress: Progress) -> Outcome:
    from topologies.testbed import Testbed

    with network_of(TOPOLOGY) as network, Testbed(network) as testbed, AskingVm(testbed, "asker") as asker:
        testbed.await_channels()
        progress.step(f"{channels} channels, one after the other")
        alone_ns = openings(testbed, asker, channels, progress)
        progress.step(f"{channels} channels beside {FLOOD_PER_S:,} requests a second")
        flood_s = channels * ROUND_S + LEAD_S
        flooder = flood(testbed, flood_s)
        time.sleep(LEAD_S / 2)
        beside_ns = openings(testbed, asker, channels, progress)
        sent = result(flooder)["sent"]
        progress.step(f"{misses} late packets")
        call_ups_ns = call_ups(testbed, asker, misses, progress)
        book = next(each for each in ask(testbed, "guests") if each["vm"] == "flooder")
        return Outcome(alone_ns, beside_ns, call_ups_ns, sent, flood_s, book)


def openings(testbed: Testbed, asker: AskingVm, count: int, progress: Progress) -> list[int]:
    found = []
    for number in range(count):
        begun_s = time.monotonic()
        found.append(_opening_ns(testbed, asker, 7000 + number))
        progress.note(f"{number + 1} of {count}")
        time.sleep(max(0.0, begun_s + ROUND_S - time.monotonic()))
    return found


def _opening_ns(testbed: Testbed, asker: AskingVm, port: int) -> int:
    """Of one channel, which is closed again."""
    begun_ns = time.monotonic_ns()
    request = asker.opening(testbed.network.vms["listener"], DEADLINE_NS, RATE_BPS, port, LEASE_S)
    answer = asker.await_installed(request, POLL_S)
    took_ns = time.monotonic_ns() - begun_ns
    if answer.status != Status.DONE or answer.state != State.INSTALLED:
        raise RuntimeError(f"no channel for port {port}: {Status(answer.status).name} {answer.reason}")
    asker.answer(Close(answer.channel_id))
    return took_ns


def call_ups(testbed: Testbed, asker: AskingVm, count: int, progress: Progress) -> list[int]:
    """From the instant at which a late frame is sent to that at which the guest's socket has the call-up."""
    network = testbed.network
    request = asker.opening(network.vms["listener"], DEADLINE_NS, RATE_BPS, 7000, LEASE_S)
    channel_id, nonce = asker.await_installed(request).channel_id, secrets.randbits(64)
    asker.send(Subscribe(channel_id, 10 * LEASE_S), nonce)
    asker.heard(PATIENCE_S)
    macs = [network.vms[name].mac for name in ("listener", "asker")]
    addresses = bytes.fromhex("".join(macs).replace(":", ""))
    queue_id = next(each.queue_id for each in network.classes if each.takes(DEADLINE_NS))
    found = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((network.hypervisors["left"].uplink.interface, 0))
        for number in range(count):
            time.sleep(QUIET_S)
            if not number % 50:
                asker.answer(Renew(channel_id, LEASE_S))
            late = frame(addresses, channel_id, queue_id, time.time_ns() - LATE_NS)
            begun_ns = time.monotonic_ns()
            wire.send(late)
            heard = asker.heard(PATIENCE_S)
            if heard is None or not isinstance(heard[0], Missed) or heard[1] != nonce:
                raise RuntimeError(f"no call-up, but {heard}")
            found.append(time.monotonic_ns() - begun_ns)
            progress.note(f"{number + 1} of {count}")
    return found


def flood(testbed: Testbed, seconds: float) -> Any:
    from topologies.cables import nic_of

    vms = testbed.network.vms
    ends = [str(vms[name].addresses[0].ip) for name in ("flooder", "listener")]
    words = [sys.executable, "-m", "bench.guest_flood", nic_of(vms["flooder"]), *ends, str(FLOOD_PER_S), str(seconds)]
    return testbed.popen("flooder", words)


def ask(testbed: Testbed, what: str) -> Any:
    import httpx

    url = testbed.network.hypervisors["left"].controller.rest_url
    return httpx.get(f"{url}/v1/{what}", timeout=10, trust_env=False).json()


def report(outcome: Outcome) -> Report:
    rows = [
        times_row("request to installed, alone", outcome.alone_ns),
        times_row("beside the flood", outcome.beside_ns),
        times_row("late packet to call-up", outcome.call_ups_ns),
    ]
    return Report(
        experiment="guests",
        headers=("", "count", "p50 ms", "p99 ms", "max ms"),
        rows=rows,
        figures=figures(outcome),
        verdicts=verdicts(outcome),
        draw=lambda figure: draw(figure, outcome),
    )


def verdicts(outcome: Outcome) -> list[Verdict]:
    per_s = outcome.flood / outcome.flood_s
    setup_ms = percentile_ms(outcome.beside_ns, 99)
    median_ms, p99_ms = (percentile_ms(outcome.call_ups_ns, each) for each in (50, 99))
    heard = outcome.book["requests"] + outcome.book["malformed"] + outcome.book["crowded_out"]
    return [
        Verdict(
            f"{per_s:,.0f} requests a second sent, of which the controller got {heard / outcome.flood_s:,.0f}; wanted "
            f"95 % of {FLOOD_PER_S:,}",
            per_s >= 0.95 * FLOOD_PER_S,
        ),
        Verdict(f"beside it a channel is there within {setup_ms:.1f} ms (p99), wanted {MOST_SETUP_MS:g} or less",
                setup_ms <= MOST_SETUP_MS),
        Verdict(f"call-up: median {median_ms:.2f} ms, wanted {MOST_MEDIAN_MS:g} or less", median_ms <= MOST_MEDIAN_MS),
        Verdict(f"call-up: p99 {p99_ms:.2f} ms, wanted {MOST_P99_MS:g} or less", p99_ms <= MOST_P99_MS),
    ]  # fmt: skip


def figures(outcome: Outcome) -> dict[str, Any]:
    times = {"alone": outcome.alone_ns, "beside": outcome.beside_ns, "call_up": outcome.call_ups_ns}
    quantiles = {
        f"{name}_p{percent}_ms": percentile_ms(times_ns, percent)
        for name, times_ns in times.items()
        for percent in (50, 99)
    }
    return {**quantiles, "flood": outcome.flood, "flood_s": outcome.flood_s, "flooder": outcome.book}


def draw(figure: Figure, outcome: Outcome) -> None:
    axes = figure.subplots()
    series = (("set up, alone", outcome.alone_ns), ("beside the flood", outcome.beside_ns),
              ("late packet to call-up", outcome.call_ups_ns))  # fmt: skip
    for name, times_ns in series:
        ordered_ms = [each / NS_PER_MS for each in sorted(times_ns)]
        axes.plot(ordered_ms, [100 * (at + 1) / len(ordered_ms) for at in range(len(ordered_ms))], label=name)
    axes.axvline(MOST_SETUP_MS, linestyle="--")
    axes.set_xlabel("ms")
    axes.set_ylabel("% within that time")
    axes.set_title("Guests")
    axes.legend()
