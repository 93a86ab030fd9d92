"""Queue filters: the kernel puts a channel's packet into the HTB class of its deadline class.

`set_queue` does nothing in the userspace datapath, and the shim's frames never pass Open vSwitch, so the qdisc itself
looks at the outermost label, or at the DSCP where the shim has taken the labels off. Only channels have a DSCP: the
flows clear what a VM has set. Open vSwitch loses the filters when it builds a qdisc anew; `keeper` puts them back.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from controller.errors import CannotRun
from ovs_config.links import index_of
from ovs_config.plan import BEST_EFFORT_QUEUE, BridgePlan, QosPlan
from ovs_config.waiting import wait_until

ETHERTYPE_MPLS = 0x8847
ROOT = 0x10000
"""`1:`, the handle that Open vSwitch gives its root qdisc."""

QDISC_TIMEOUT_S = 5
_HANDLE_MASK = 0xFFF
_TAKEN = (errno.EEXIST, errno.ENOSPC)
"""The kernel's words for a handle that is in use; which of them depends on how close the two were."""


@dataclass(frozen=True, order=True)
class Mark:
    """Where a packet of one EtherType says what class it is of: a u32 key, four bytes in network order at `offset`.

    The kernel wants a preference of its own for each EtherType. Values are 1 to `most`.
    """

    preference: int
    name: str
    ethertype: int
    offset: int
    shift: int
    most: int

    def key(self, value: int) -> str:
        return f"{value << self.shift:#010x}/{self.most << self.shift:#010x}+{self.offset}"


TC = Mark(1, "TC", ETHERTYPE_MPLS, offset=2, shift=25, most=7)
"""The third byte of a label holds its last 4 bits, TC and S."""

IPV4_DSCP = Mark(2, "IPv4 DSCP", 0x0800, offset=0, shift=18, most=63)
IPV6_DSCP = Mark(3, "IPv6 DSCP", 0x86DD, offset=0, shift=22, most=63)
MARKS = {mark.preference: mark for mark in (TC, IPV4_DSCP, IPV6_DSCP)}


@dataclass(frozen=True, order=True)
class QueueFilter:
    """Packets whose `mark` has `value`, and which leave by `interface`, go to the HTB class `class_id`."""

    interface: str
    mark: Mark
    value: int
    class_id: int

    def __str__(self) -> str:
        return f"queue filter of {self.interface}: {self.mark.name} {self.value}"


def planned_filters(plan: BridgePlan) -> set[QueueFilter]:
    """One filter for each mark of each class queue; a deadline class's queue id is its TC."""
    return {
        QueueFilter(port.interface, mark, value, class_of(queue.queue_id))
        for port in plan.ports
        for queue in (port.qos.queues if port.qos else ())
        for mark, value in ((TC, queue.queue_id), (IPV4_DSCP, queue.dscp), (IPV6_DSCP, queue.dscp))
        if queue.queue_id != BEST_EFFORT_QUEUE
    }


def class_of(queue_id: int) -> int:
    """The HTB class that Open vSwitch makes for a queue: queue 0 is `1:1`."""
    return ROOT + queue_id + 1


def missing_filters(ip: IPRoute, plan: BridgePlan) -> set[QueueFilter]:
    """The planned filters that the kernel does not have."""
    return planned_filters(plan) - set(_present(ip, plan))


def add_missing_filters(ip: IPRoute, plan: BridgePlan) -> list[str]:
    """Add them, once Open vSwitch has built each port's classes. Returns what was added. Raises CannotRun."""
    for port in plan.ports:
        if port.qos is not None:
            _wait_for_classes(ip, port.interface, port.qos)
    try:
        return add_possible_filters(ip, plan)
    except NetlinkError as error:
        raise CannotRun(f"the kernel takes no queue filters: {error.args[-1]}", "modprobe cls_u32") from None


def add_possible_filters(ip: IPRoute, plan: BridgePlan) -> list[str]:
    """Add those missing filters whose class is there already. Returns what was added. Raises NetlinkError."""
    missing = sorted(missing_filters(ip, plan))
    there = {interface: classes_of(ip, interface) for interface in {each.interface for each in missing}}
    return [f"{each}: added" for each in missing if each.class_id in there[each.interface] and _add(ip, each)]


def classes_of(ip: IPRoute, interface: str) -> Mapping[int, int]:
    """The classes of Open vSwitch's HTB at `interface`, each with the packets that it has sent; empty without one."""
    index = index_of(ip, interface)
    if index is None or not _has_htb(ip, index):
        return {}
    return {
        found["handle"]: found.get("TCA_STATS2").get("TCA_STATS_BASIC")["packets"] for found in ip.get_classes(index)
    }


def has_queues(classes: Collection[int], qos: QosPlan) -> bool:
    """Whether `classes` are those of all queues of `qos`."""
    return all(class_of(queue.queue_id) in classes for queue in qos.queues)


def remove_unplanned_filters(ip: IPRoute, plan: BridgePlan) -> list[str]:
    """Remove filters that lead to a queue no longer planned: the kernel keeps a class that a filter points to."""
    planned = planned_filters(plan)
    stale = {each: message for each, message in _present(ip, plan).items() if each not in planned}
    for message in stale.values():
        ip.tc("del-filter", index=message["index"], handle=message["handle"], info=message["info"], parent=ROOT)
    return [f"{each}: removed" for each in stale]


def remove_qdisc(ip: IPRoute, interface: str) -> None:
    """Give `interface` back the kernel's default qdisc, if it still has the one of Open vSwitch."""
    index = index_of(ip, interface)
    if index is not None and _has_htb(ip, index):
        ip.tc("del", "htb", index, ROOT)


def _present(ip: IPRoute, plan: BridgePlan) -> dict[QueueFilter, Any]:
    """Our filters on the ports of `plan`, each with the kernel's message about it.

    A filter is told by its handle, whose low bits are the value: pyroute2 0.9 does not decode the key. What others
    add without a handle of their own is numbered from 0x800.
    """
    found = {}
    for port in plan.ports:
        for message in _u32_filters(ip, port.interface):
            value, class_id = message["handle"] & _HANDLE_MASK, message.get("options").get("TCA_U32_CLASSID")
            mark = MARKS.get(message["info"] >> 16)
            if mark is not None and 0 < value <= mark.most:
                found[QueueFilter(port.interface, mark, value, class_id)] = message
    return found


def _add(ip: IPRoute, wanted: QueueFilter) -> bool:
    """Whether it was not there yet: another process may have been quicker."""
    try:
        ip.tc(
            "add-filter",
            "u32",
            index_of(ip, wanted.interface),
            handle=wanted.value,
            parent=ROOT,
            prio=wanted.mark.preference,
            protocol=wanted.mark.ethertype,
            target=wanted.class_id,
            keys=[wanted.mark.key(wanted.value)],
        )
    except NetlinkError as error:
        if error.code not in _TAKEN:
            raise
        return False
    return True


def _u32_filters(ip: IPRoute, interface: str) -> list[Any]:
    """The kernel's messages about u32 filters and their hash tables on Open vSwitch's qdisc."""
    index = index_of(ip, interface)
    if index is None or not _has_htb(ip, index):
        return []
    filters = ip.get_filters(index=index, parent=ROOT)
    return [each for each in filters if each.get("kind") == "u32" and each.get("options")]


def _has_htb(ip: IPRoute, index: int) -> bool:
    return any(qdisc.get("kind") == "htb" and qdisc["handle"] == ROOT for qdisc in ip.get_qdiscs(index))


def _wait_for_classes(ip: IPRoute, interface: str, qos: QosPlan) -> None:
    if not wait_until(lambda: has_queues(classes_of(ip, interface), qos), QDISC_TIMEOUT_S):
        raise CannotRun(
            f"Open vSwitch did not build the linux-htb queues of {interface} within {QDISC_TIMEOUT_S} s",
            "its log says why; the kernel needs the module sch_htb",
        )
