"""Small networks for tests, built from the model by hand: two hypervisors, one switch, one VM each, two channels."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

from controller.model import (
    Channel,
    DeadlineClass,
    Endpoint,
    Hypervisor,
    Network,
    Quota,
    Scheduler,
    Switch,
    SwitchKind,
    Uplink,
    Vm,
)
from controller.units import NS_PER_MS

FAST = DeadlineClass("fast", queue_id=5, dscp=46, above_ns=0, up_to_ns=5 * NS_PER_MS)
SLOW = DeadlineClass("slow", queue_id=3, dscp=26, above_ns=5 * NS_PER_MS, up_to_ns=100 * NS_PER_MS)
RATE_BPS = 100_000_000


def two_hypervisors(
    scheduler: Scheduler = Scheduler.EDF, kind: SwitchKind = SwitchKind.OVS, prefix: str = ""
) -> Network:
    """`left` and `right` joined by `middle`; channels `video` (fast, 2 Mb/s) and `audio` (slow) from left to right.

    `prefix` makes all names unique on a machine.
    """
    left, right, middle = (prefix + name for name in ("left", "right", "middle"))
    vms = [vm(f"{prefix}vm1", left, 1), vm(f"{prefix}vm2", right, 2)]
    channels = [
        channel("video", vms[0], vms[1], 17, FAST, rate_bps=2_000_000),
        channel("audio", vms[0], vms[1], 18, SLOW, rate_bps=100_000),
    ]
    return Network(
        file=Path("two_hypervisors.yaml"),
        hypervisors={left: hypervisor(left, 1, middle, scheduler), right: hypervisor(right, 2, middle, scheduler)},
        switches={middle: Switch(middle, kind, datapath_id=0x10, domain=left if kind is SwitchKind.OVS else "")},
        links=(),
        vms={each.name: each for each in vms},
        hosts={},
        classes=(FAST, SLOW),
        channels={each.name: each for each in channels},
    )


def hypervisor(name: str, number: int, switch: str, scheduler: Scheduler = Scheduler.EDF) -> Hypervisor:
    uplink = Uplink(switch, f"{name}-up", RATE_BPS, be_slack_ns=2 * NS_PER_MS, scheduler=scheduler)
    return Hypervisor(name, number, uplink, Endpoint("127.0.0.1", 6652 + number, 8079 + number, 6752 + number))


def with_quota(network: Network, vm: str) -> Network:
    """A copy in which `vm` may ask for channels."""
    quota = Quota(channels=4, rate_bps=10_000_000, burst_bytes=64_000, deadline_ns=NS_PER_MS)
    return replace(network, vms={**network.vms, vm: replace(network.vms[vm], quota=quota)})


def vm(name: str, hypervisor: str, number: int) -> Vm:
    addresses = (ip_interface(f"10.0.0.{number}/24"), ip_interface(f"fd00::{number}/64"))
    return Vm(name, hypervisor, f"02:00:00:00:00:{number:02x}", addresses, f"{name}-nic")


def channel(
    name: str, talker: Vm, listener: Vm, label: int, deadline_class: DeadlineClass, rate_bps: int = 1_000_000
) -> Channel:
    """An IPv4 channel for all traffic between two VMs, with the largest deadline of its class."""
    return Channel(
        name=name,
        label=label,
        talker=talker.name,
        listener=listener.name,
        source=ip_address(talker.addresses[0].ip),
        destination=ip_address(listener.addresses[0].ip),
        protocol=None,
        src_port=None,
        dst_port=None,
        deadline_ns=deadline_class.up_to_ns,
        rate_bps=rate_bps,
        burst_bytes=3000,
        deadline_class=deadline_class,
        packet_bytes=1472,
        on_miss=("log",),
    )
