"""A bridge in the Open vSwitch that a run would use, at the priority that a run gives it, between two veth pairs.

    source ── in ═ bridge ═ out ── far

It labels all IPv4 that comes in by `in`, as it does for a talker, and sends it out. The lock of a run is held, so that
there is none beside it; a bridge of `rtvnic bridge` it leaves alone. Nothing of it stays behind. What is left if it is
killed goes with the next `rtvnic doctor --calibrate`; `rtvnic down` removes it too where no such bridge is in service.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple

from pyroute2 import IPRoute

from bench.forwarders import FIRST_CHANNEL_LABEL, Lane, make_lane
from controller.errors import CannotRun
from controller.network.labels import TTL_CHANNEL, TTL_RELATIVE, relative_deadline_label
from controller.run_lock import held
from controller.runtime import RUN_DIR
from controller.units import NS_PER_MS
from ovs_config.links import index_of, own
from ovs_config.openvswitch import OpenVSwitch, ensure_running
from ovs_config.ovsdb import TAG
from ovs_config.realtime import VSWITCHD_PRIORITY, real_time
from topologies.interruption import uninterrupted
from topologies.testbed import CPUS

BRIDGE = "rtvnic-cal"
LANE = "rtv-cal"
DEADLINE_NS = 5 * NS_PER_MS
TC = 5


@contextmanager
def bridged_lane() -> Iterator[Lane]:
    """The lane, with the bridge on it. Raises CannotRun, also if a run is up."""
    stack = ExitStack()
    try:
        yield _build(stack)
    finally:
        with uninterrupted():
            stack.close()


def _build(stack: ExitStack) -> Lane:
    stack.enter_context(held(RUN_DIR))
    openvswitch = ensure_running(RUN_DIR)
    stack.callback(openvswitch.stop)
    ip = stack.enter_context(IPRoute())
    _remove_links(ip)  # of one that was killed
    stack.callback(_remove_links, ip)
    lane = _make_links(ip)
    stack.callback(openvswitch.run, "ovs-vsctl", "--if-exists", "del-br", BRIDGE)
    _make_bridge(openvswitch, lane)
    if refusal := stack.enter_context(real_time(openvswitch.vswitchd_pid, VSWITCHD_PRIORITY, CPUS)):
        raise CannotRun(refusal, "run it as root, outside a container")
    return lane


def _make_links(ip: IPRoute) -> Lane:
    lane = make_lane(ip, LANE)
    for interface in astuple(lane):
        own(ip, interface)
    return lane


def _remove_links(ip: IPRoute) -> None:
    for interface in (f"{LANE}-in", f"{LANE}-out"):
        index = index_of(ip, interface)
        if index is not None:
            ip.link("del", index=index)


def _make_bridge(openvswitch: OpenVSwitch, lane: Lane) -> None:
    words = ["--may-exist", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, f"external_ids:{TAG}={BRIDGE}"]
    words += [f"datapath_type={openvswitch.datapath_type}", "fail_mode=secure", "protocols=OpenFlow13"]
    for port in (lane.inner, lane.outer):
        words += ["--", "--may-exist", "add-port", BRIDGE, port]
    openvswitch.run("ovs-vsctl", *words)
    openvswitch.run("ovs-ofctl", "--protocols=OpenFlow13", "add-flow", BRIDGE, _flow(lane))


def _flow(lane: Lane) -> str:
    """As a talker's: the channel label, then the deadline label."""
    channel = _push(FIRST_CHANNEL_LABEL, TTL_CHANNEL)
    deadline = _push(relative_deadline_label(DEADLINE_NS), TTL_RELATIVE)
    return f"ip,in_port={lane.inner},actions={channel},{deadline},output:{lane.outer}"


def _push(label: int, ttl: int) -> str:
    return f"push_mpls:0x8847,set_field:{label}->mpls_label,set_field:{TC}->mpls_tc,set_mpls_ttl({ttl})"
