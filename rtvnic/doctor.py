"""`rtvnic doctor`: what this machine lacks, and the cure. It tries things out rather than asks for versions.

What is tried is tried in a network of its own, and gone afterwards.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import CannotRun
from controller.units import NS_PER_MS, NS_PER_S, NS_PER_US, ms
from rtvnic import tune
from rtvnic.arguments import seconds
from rtvnic.calibrate import calibrate
from rtvnic.checklist import Line, State, lines_of, show

if TYPE_CHECKING:
    from pyroute2 import IPRoute

    from controller.domain.events import Proof
    from ovs_config.plan import BridgePlan, QosPlan

RT_RUNTIME = Path("/proc/sys/kernel/sched_rt_runtime_us")
A_SYSCTL = Path("/proc/sys/net/ipv4/ip_forward")
TUN = Path("/dev/net/tun")
OPENVSWITCH_MODULE = Path("/sys/module/openvswitch")
KERNELS = Path("/lib/modules")
TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""Is there once systemd-timesyncd has set the clock."""
FEWEST_CPUS = 2
LOCAL_EXPERIMENT = 0x88B5
"""An EtherType that nobody else's frames have (IEEE 802)."""
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")
STAMP_TIMEOUT_S = 1.0
WATCH_S = 2.0
STALL_TOLERABLE_NS = NS_PER_MS
RATE_BPS = 100_000_000
CALIBRATION_NS = 20 * NS_PER_S
SCRATCH_QUEUE = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 if nothing is lacking, 1 if something is."
    parser.add_argument("--json", action="store_true", help="print the checklist, or what was measured, as JSON")
    parser.add_argument("--calibrate", action="store_true", help="measure the allowance that topology files want")
    parser.add_argument("--seconds", type=duration, default=CALIBRATION_NS, metavar="N",
        help="how long each of the three measurements takes, 1 or more (default: 20)")  # fmt: skip


def duration(text: str) -> int:
    """A type for seconds that suffice to measure something; in ns."""
    found_ns = seconds(text)
    if found_ns < NS_PER_S:
        raise argparse.ArgumentTypeError(f"'{text}' is too short; write 1 or more")
    return found_ns


def run(args: argparse.Namespace) -> int:
    if args.calibrate:
        return calibrate(args.seconds, args.json)
    return show(lines_of(CHECKS), args.json)


def open_vswitch(what: str) -> Iterator[Line]:
    from ovs_config import openvswitch

    found = [Line(what, State.LACKING, lack.what, lack.cure) for lack in openvswitch.lacks()]
    yield from found
    if not found:
        system = openvswitch.of_system()
        state = f"runs, {system.version}, datapath {system.datapath_type}" if system else "is started when needed"
        yield Line(what, State.FINE, state)


def mininet(what: str) -> Iterator[Line]:
    """Not having it is no obstacle to real VMs."""
    from topologies.vms import check_mnexec

    try:
        check_mnexec()
    except CannotRun as lack:
        yield Line(what, State.POOR, f"{lack.what}: no test bed, neither `rtvnic up` nor most of `bench`", lack.cure)
    else:
        yield Line(what, State.FINE, "VMs can be started")


def queues(what: str) -> Iterator[Line]:
    """Sends marked frames through queues like those of Open vSwitch, and looks which one they came out of."""
    from controller.domain.events import Proof

    proof, refusal = _proof_of_a_queue()
    if proof is Proof.PROVED:
        yield Line(what, State.FINE, f"{proof}: marked frames come out of the queue of their class")
    elif proof is Proof.NOT_PROVED:
        found = f"{proof}: marked frames do not come out of the queue of their class"
        yield Line(what, State.LACKING, found, "another kernel: its cls_u32 or sch_htb does not do what it should")
    else:
        yield Line(what, State.LACKING, f"{proof}: the kernel refuses: {refusal}", "modprobe -a sch_htb cls_u32")


def _proof_of_a_queue() -> tuple[Proof, str]:
    """What the probe says of a class queue on a scratch interface, and what the kernel refused if it did."""
    from pyroute2.netlink.exceptions import NetlinkError

    from bench.network import add_veth, private_network
    from controller.domain.events import Proof
    from ovs_config.filters import add_possible_filters
    from ovs_config.probe import probe_port

    plan, qos = scratch_plan("near")
    with private_network() as ip:
        add_veth(ip, "near", "far")
        try:
            build_queues(ip, "near", qos)
            add_possible_filters(ip, plan)
        except NetlinkError as error:
            return Proof.NOT_SUPPORTED, str(error.args[-1])
        return probe_port(ip, "near", qos)[SCRATCH_QUEUE], ""


def scratch_plan(interface: str) -> tuple[BridgePlan, QosPlan]:
    """Best effort and one class, on one port."""
    from ovs_config.plan import BridgePlan, DatapathType, PortPlan, QosPlan, QueuePlan

    queues = [QueuePlan(queue_id, RATE_BPS, RATE_BPS, 0, 0, dscp) for queue_id, dscp in ((0, 0), (SCRATCH_QUEUE, 46))]
    qos = QosPlan(RATE_BPS, tuple(queues))
    ports = (PortPlan(interface, 1, qos),)
    return BridgePlan("scratch", "", DatapathType.SYSTEM, "", ports, (), (), (), ()), qos


def build_queues(ip: IPRoute, interface: str, qos: QosPlan) -> None:
    """As Open vSwitch does: a root class, and below it one for each queue. Raises NetlinkError."""
    from ovs_config.filters import ROOT, class_of

    (index,) = ip.link_lookup(ifname=interface)
    rate, top = f"{qos.max_rate_bps}bit", ROOT + 0xFFFE
    ip.tc("add", "htb", index, ROOT, default=class_of(0))
    ip.tc("add-class", "htb", index, top, parent=ROOT, rate=rate)
    for queue in qos.queues:
        ip.tc("add-class", "htb", index, class_of(queue.queue_id), parent=top, rate=rate)


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


def tun(what: str) -> Iterator[Line]:
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        cure = f"modprobe tun; in a container: --device {TUN}"
        raise CannotRun(f"{TUN} does not open: {error.strerror}", cure) from None
    yield Line(what, State.FINE, f"{TUN} opens")


def sysctl(what: str) -> Iterator[Line]:
    """Opens one for writing, and writes nothing."""
    try:
        os.close(os.open(A_SYSCTL, os.O_WRONLY))
    except OSError as error:
        raise CannotRun(
            f"{A_SYSCTL} cannot be written: {error.strerror}", "run it as root; in a container: --privileged"
        ) from None
    yield Line(what, State.FINE, "can be written")


def datapath(what: str) -> Iterator[Line]:
    """Which of Open vSwitch's two carries the packets."""
    kernel = os.uname().release
    module = KERNELS / kernel / "kernel/net/openvswitch"
    if OPENVSWITCH_MODULE.exists():
        yield Line(what, State.FINE, "the kernel's")
    elif any(module.glob("openvswitch.ko*")):
        yield Line(what, State.POOR, "in user space, unless the kernel's module is loaded", "modprobe openvswitch")
    else:
        yield Line(what, State.FINE, f"in user space: kernel {kernel} has no module for it")


def time_stamps(what: str) -> Iterator[Line]:
    """Sends a frame to this machine itself and compares the kernel's stamp with the clock."""
    try:
        age_ns = _age_of_a_frame_ns()
    except OSError as error:
        cure = "run it as root, with the loopback interface up"
        raise CannotRun(f"no frame comes back with AF_PACKET: {error.strerror or error}", cure) from None
    yield Line(what, State.FINE, f"the kernel stamps frames: one was read {age_ns // NS_PER_US} us after its stamp")


def _age_of_a_frame_ns() -> int:
    """How long ago the kernel says that a frame arrived which was just read. Raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
        packets.settimeout(STAMP_TIMEOUT_S)
        packets.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        packets.bind(("lo", LOCAL_EXPERIMENT))
        packets.send(bytes(12) + LOCAL_EXPERIMENT.to_bytes(2) + bytes(46))
        _, ancillary, *_ = packets.recvmsg(64, socket.CMSG_SPACE(TIMESPEC.size))
        now_ns = time.time_ns()
    for level, kind, stamp in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = TIMESPEC.unpack(stamp)
            return int(now_ns - seconds * NS_PER_S - nanoseconds)
    raise OSError("it has no stamp")


def clock(what: str) -> Iterator[Line]:
    """Who sets it. On one machine nobody has to: both ends of a channel read the same clock."""
    from controller.clocks.clock_watch import read_clock

    found = read_clock()
    if found.error_ns is not None:
        yield Line(what, State.FINE, f"set by {found.source}, wrong by {ms(found.error_ns)} ms at most")
    elif TIMESYNCD.exists():
        said = "set by systemd-timesyncd, which does not say how well: between machines no miss is certain"
        yield Line(what, State.POOR, said, "for two machines: apt install chrony, which takes its place")
    else:
        said = f"same host only: it {found.why}; that matters as soon as a channel leads to another machine"
        yield Line(what, State.POOR, said, "for two machines: apt install chrony, and let it start")


def processors(what: str) -> Iterator[Line]:
    from ovs_config.realtime import data_plane_cpus, usable_cpus

    usable = usable_cpus()
    cpus = data_plane_cpus(usable)
    if len(usable) < FEWEST_CPUS:
        found = "one: the data plane waits while anything else runs"
        yield Line(what, State.POOR, found, f"give this machine {FEWEST_CPUS} or more")
    else:
        share = f"{tune.span(cpus)} for the data plane" if cpus else "too few to keep any for the data plane alone"
        yield Line(what, State.FINE, f"{len(usable)}, {share}")


def governor(what: str) -> Iterator[Line]:
    yield _tuned(what, tune.governors(), "no processor has to speed up first")


def receive_buffers(what: str) -> Iterator[Line]:
    yield _tuned(what, tune.receive_buffers(), "large enough, or not for this machine to choose")


def _tuned(what: str, changes: Iterator[tune.Change], fine: str) -> Line:
    """What `rtvnic tune` would change, if anything."""
    due = [change for change in changes if change.due]
    if not due:
        return Line(what, State.FINE, fine)
    first = due[0]
    more = f", and {len(due) - 1} more" if len(due) > 1 else ""
    return Line(what, State.POOR, f"{first.setting} is {first.was}{more}; wanted {first.wanted}", "rtvnic tune")


CHECKS = {
    "Open vSwitch": open_vswitch,
    "datapath": datapath,
    "Mininet": mininet,
    "tun device": tun,
    "/proc/sys": sysctl,
    "queues": queues,
    "time stamps": time_stamps,
    "shim": shim,
    "clock": clock,
    "processors": processors,
    "CPU governor": governor,
    "receive buffers": receive_buffers,
    "real time": real_time,
    "stalls": stalls,
}
