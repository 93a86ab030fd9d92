"""Network interfaces: the ones that RTvNIC makes, and the MTU and offloads of those that it uses.

Guarantee: every interface made here has the alias ALIAS, and only such ones are removed. Any thread.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns
from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from controller.errors import CannotRun
from controller.runtime import RUN_DIR
from ovs_config.plan import LABELLED_MTU, BridgePlan

MARK = "rtvnic "
ALIAS = f"{MARK}{RUN_DIR}"
"""Names the run too, so that two runs on one machine do not remove each other's interfaces."""

_OFFLOAD = re.compile(r"tx-checksum-.*|tx-.*-segmentation|tx-gso-.*|rx-gro.*")
"""The kernel's names of the features that leave a frame's checksum or segments to a later device."""

_MODULES = {"veth": "veth", "bridge": "bridge", "tuntap": "tun"}
"""By kind of interface, what a kernel that knows none of it lacks."""


def apply_links(ip: IPRoute, plan: BridgePlan) -> list[str]:
    """Make the interfaces of `plan` and adjust the others. Returns what was changed. Raises CannotRun."""
    changes = [f"veth pair {near} {far}: created" for near, far in plan.veth_pairs if _make_veth_pair(ip, near, far)]
    changes += [f"tap {tap}: created" for tap in plan.taps if _make_tap(ip, tap)]
    for port in plan.ports:
        if index_of(ip, port.interface) is None:
            raise CannotRun(f"the interface {port.interface} of {plan.name} does not exist", "create it first")
    changes += [f"{name}: MTU raised to {LABELLED_MTU}" for name in plan.labelled if raise_mtu(ip, name)]
    changes += [f"{name}: offloads turned off" for name in plan.offloads_off if disable_offloads(name)]
    return changes


def remove_links(ip: IPRoute, plan: BridgePlan | None = None) -> list[str]:
    """Remove every interface that this run directory's RTvNIC made, for `plan` or for any. Returns what was removed."""
    removed = []
    own = [link.get("ifname") for link in ip.get_links() if link.get("ifalias") == ALIAS]
    planned = own if plan is None else [*(near for near, _ in plan.veth_pairs), *plan.taps]
    for name in [name for name in own if name in planned]:
        index = index_of(ip, name)
        if index is not None:  # the other end of a veth pair is gone with the first
            ip.link("del", index=index)
        removed.append(f"interface {name}: removed")
    return removed


def add_link(ip: IPRoute, name: str, **what: Any) -> None:
    """Make the interface `name`, marked so that `remove_links` finds it, and up. Raises CannotRun."""
    _add(ip, name, **what)
    own(ip, name)


def add_veth_pair(ip: IPRoute, near: str, far: str) -> None:
    """The same for both ends of a cable on this machine. Raises CannotRun."""
    _add(ip, near, far, kind="veth", peer=far)
    for name in (near, far):
        own(ip, name)


def own(ip: IPRoute, name: str) -> None:
    """Mark the interface `name` as made here, so that `remove_links` finds it; and take it up."""
    mute_ipv6(name)
    options: dict[str, Any] = {"ifalias": ALIAS, "state": "up"}
    ip.link("set", index=index_of(ip, name), **options)


def mark(ip: IPRoute, name: str) -> None:
    """Have `remove_links` find the interface `name`."""
    ip.link("set", index=index_of(ip, name), ifalias=ALIAS)


def index_of(ip: IPRoute, interface: str) -> int | None:
    found = ip.link_lookup(ifname=interface)
    return int(found[0]) if found else None


def is_of_another_run(ip: IPRoute, interface: str) -> bool:
    """Whether RTvNIC made `interface`, but for another run directory."""
    index = index_of(ip, interface)
    alias = "" if index is None else ip.get_links(index)[0].get("ifalias") or ""
    return alias.startswith(MARK) and alias != ALIAS


def raise_mtu(ip: IPRoute, interface: str) -> bool:
    """Let `interface` carry full packets of a VM with both labels. Whether that needed a change. Raises CannotRun."""
    index = ip.link_lookup(ifname=interface)[0]
    if ip.get_links(index)[0].get("mtu") >= LABELLED_MTU:
        return False
    try:
        ip.link("set", index=index, mtu=LABELLED_MTU)
    except NetlinkError as error:
        cure = f"use another NIC or driver: ip -d link show {interface} has its maxmtu"
        raise CannotRun(f"the interface {interface} takes no MTU of {LABELLED_MTU}: {error.args[-1]}", cure) from None
    return True


def disable_offloads(interface: str, pid: int | None = None) -> bool:
    """Have the sender finish its checksums and segments: Open vSwitch's own process reads frames as they are.

    `interface` is in the network namespace of process `pid`, or in the caller's. Whether that needed a change. Raises
    CannotRun.
    """
    try:
        with network_of(pid), closing(IoctlEthtool(interface)) as ethtool:
            features = ethtool.get_features()
            changeable = [name for name, active, available, *_ in features if active and available]
            found = [name for name in changeable if _OFFLOAD.fullmatch(name)]
            for name in found:
                features[name] = False
            ethtool.set_features(features)
    except (EthtoolError, OSError):
        cure = f"ethtool -k {interface} says which there are"
        raise CannotRun(f"the offloads of {interface} cannot be turned off", cure) from None
    return bool(found)


def mute_ipv6(interface: str) -> None:
    """Keep the kernel's own IPv6 chatter (router solicitations, MLD) off `interface`."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")


@contextmanager
def network_of(pid: int | None) -> Iterator[None]:
    """The calling thread is in the network namespace of `pid` inside the with block; `None` changes nothing."""
    if pid is None:
        yield
        return
    with open("/proc/thread-self/ns/net") as own:
        netns.setns(f"/proc/{pid}/ns/net", flags=0)
        try:
            yield
        finally:
            netns.setns(own.fileno())


def _make_veth_pair(ip: IPRoute, near: str, far: str) -> bool:
    if index_of(ip, near) is not None:
        return False
    add_veth_pair(ip, near, far)
    return True


def _make_tap(ip: IPRoute, name: str) -> bool:
    """A persistent TAP: without carrier, and so down for Open vSwitch, until a process opens it."""
    if index_of(ip, name) is not None:
        return False
    add_link(ip, name, kind="tuntap", mode="tap")
    return True


def _add(ip: IPRoute, *names: str, **what: Any) -> None:
    """Make the interface `names[0]`, which brings the others with it. Raises CannotRun, also if one of them exists."""
    try:
        ip.link("add", ifname=names[0], **what)
    except (NetlinkError, OSError) as error:
        if error.args[0] != errno.EEXIST:
            reason, cure = error.args[-1], f"modprobe {_MODULES[what['kind']]}"
            raise CannotRun(f"the interface {names[0]} cannot be made: {reason}", cure) from None
        taken = next((name for name in names if index_of(ip, name) is not None), names[0])
        if is_of_another_run(ip, taken):
            cure = "end the other network that is up on this machine first"
        else:
            cure = f"give it another name in the file, or remove it: ip link delete {taken}"
        raise CannotRun(f"there is an interface {taken} on this machine already", cure) from None
