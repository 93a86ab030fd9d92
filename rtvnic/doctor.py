"""`rtvnic doctor`: what this machine lacks, and the cure. It tries things out rather than asks for versions.

What is tried is tried in a network of its own, and gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from controller.errors import CannotRun
from controller.units import NS_PER_MS, ms
from rtvnic.progress import Progress
from rtvnic.table import aligned

RT_RUNTIME = Path("/proc/sys/kernel/sched_rt_runtime_us")
WATCH_S = 2.0
STALL_TOLERABLE_NS = NS_PER_MS
RATE_BPS = 100_000_000


class State(StrEnum):
    FINE = "fine"
    POOR = "poor"
    """It works, but deadlines suffer."""
    LACKING = "lacking"


@dataclass(frozen=True)
class Line:
    """One line of the checklist; `cure` is empty where all is fine."""

    what: str
    state: State
    found: str
    cure: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 if nothing is lacking, 1 if something is."
    parser.add_argument("--json", action="store_true", help="print the checklist as JSON")


def run(args: argparse.Namespace) -> int:
    progress = Progress(len(CHECKS))
    lines = []
    for what, check in CHECKS.items():
        progress.step(what)
        lines += list(_lines(what, check))
    progress.end()
    if args.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        rows = [(line.what, line.state, line.found, line.cure or None) for line in lines]
        print(aligned(("check", "state", "found", "cure"), rows))
    return int(any(line.state is State.LACKING for line in lines))


def _lines(what: str, check: Callable[[str], Iterator[Line]]) -> Iterator[Line]:
    """The lines of `check`; where it cannot be carried out, that is the finding."""
    try:
        yield from check(what)
    except CannotRun as error:
        yield Line(what, State.LACKING, error.what, error.cure)


def open_vswitch(what: str) -> Iterator[Line]:
    from ovs_config import openvswitch

    found = [Line(what, State.LACKING, lack.what, lack.cure) for lack in openvswitch.lacks()]
    yield from found
    if not found:
        system = openvswitch.of_system()
        state = f"runs, {system.version}, datapath {system.datapath_type}" if system else "is started when needed"
        yield Line(what, State.FINE, state)


def mininet(what: str) -> Iterator[Line]:
    from topologies.vms import check_mnexec

    check_mnexec()
    yield Line(what, State.FINE, "VMs can be started")


def queues(what: str) -> Iterator[Line]:
    """Tries linux-htb and the filter that sorts labelled frames."""
    from pyroute2.netlink.exceptions import NetlinkError

    from bench.network import add_veth, private_network

    with private_network() as ip:
        add_veth(ip, "near", "far")
        index = ip.link_lookup(ifname="near")[0]
        try:
            ip.tc("add", "htb", index, 0x10000, default=0x10001)
            ip.tc("add-class", "htb", index, 0x10001, parent=0x10000, rate="1mbit")
            ip.tc("add-filter", "u32", index, parent=0x10000, prio=1, protocol=0x8847, target=0x10001, keys=["0/0+0"])
        except NetlinkError as error:
            raise CannotRun(f"the kernel refuses: {error.args[-1]}", "modprobe sch_htb cls_u32") from None
    yield Line(what, State.FINE, "htb and u32 work")


def shim(what: str) -> Iterator[Line]:
    """Runs one for a moment."""
    from bench.network import add_veth, private_network
    from dataplane.errors import ShimError
    from dataplane.shim import Shim, ShimConfig

    try:
        with private_network() as ip:
            add_veth(ip, "inner", "app")
            add_veth(ip, "uplink", "wire")
            with Shim(ShimConfig("inner", "uplink", RATE_BPS, 2 * NS_PER_MS)) as running:
                warnings = list(running.warnings)
    except ShimError as error:
        raise CannotRun(error.what, error.cure) from None
    yield from (Line(what, State.POOR, warning, "be root; see `ulimit -r` and `ulimit -l`") for warning in warnings)
    if not warnings:
        yield Line(what, State.FINE, "runs, with real-time priority and locked memory")


def real_time(what: str) -> Iterator[Line]:
    runtime_us = int(RT_RUNTIME.read_text()) if RT_RUNTIME.exists() else -1
    if runtime_us == -1:
        yield Line(what, State.FINE, "no throttling of real-time threads")
    else:
        found = f"real-time threads may be stopped after {runtime_us} us of each second"
        yield Line(what, State.POOR, found, "rtvnic tune")


def stalls(what: str) -> Iterator[Line]:
    """Watches the processors for some seconds."""
    from bench.stalls import StallWatch

    with StallWatch() as watch:
        time.sleep(WATCH_S)
    longest_ns = max((stall.duration_ns for stall in watch.stalls), default=0)
    if longest_ns < STALL_TOLERABLE_NS:
        yield Line(what, State.FINE, f"none above {ms(STALL_TOLERABLE_NS)} ms in {WATCH_S:g} s")
    else:
        found = f"the machine stood still for up to {ms(longest_ns)} ms in {WATCH_S:g} s"
        yield Line(what, State.POOR, found, "a quieter host, or processors of its own for this machine")


CHECKS = {
    "Open vSwitch": open_vswitch,
    "Mininet": mininet,
    "queues": queues,
    "shim": shim,
    "real time": real_time,
    "stalls": stalls,
}
