"""Queue filters: the kernel puts a labelled frame into the HTB class of its traffic class (TC).

`set_queue` does nothing in the userspace datapath, and the shim's frames never pass Open vSwitch, so the qdisc itself
looks at the outermost label. Open vSwitch loses the filters when it builds a qdisc anew: apply them again then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute

from controller.errors import CannotRun
from ovs_config.links import index_of
from ovs_config.plan import BEST_EFFORT_QUEUE, BridgePlan, QosPlan
from ovs_config.waiting import wait_until

ETHERTYPE_MPLS = 0x8847
ROOT = 0x10000
"""`1:`, the handle that Open vSwitch gives its root qdisc."""

QDISC_TIMEOUT_S = 5
_PREFERENCE = 1
_HANDLE_MASK = 0xFFF
_TC_OFFSET = 2
_TC_MASK = 0x0E000000
_TC_SHIFT = 25
"""A u32 key is four bytes in network order; the third byte of a label holds its last 4 bits, TC and S."""


@dataclass(frozen=True, order=True)
class QueueFilter:
    """Labelled frames of traffic class `tc`, which leave by `interface`, go to the HTB class `class_id`."""

    interface: str
    tc: int
    class_id: int

    def __str__(self) -> str:
        return f"queue filter of {self.interface}: TC {self.tc}"


def planned_filters(plan: BridgePlan) -> set[QueueFilter]:
    """One filter for each class queue; a deadline class's queue id is its TC."""
    return {
        QueueFilter(port.interface, queue.queue_id, class_of(queue.queue_id))
        for port in plan.ports
        for queue in (port.qos.queues if port.qos else ())
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
    missing = sorted(missing_filters(ip, plan))
    for each in missing:
        ip.tc(
            "add-filter",
            "u32",
            index_of(ip, each.interface),
            handle=each.tc,
            parent=ROOT,
            prio=_PREFERENCE,
            protocol=ETHERTYPE_MPLS,
            target=each.class_id,
            keys=[f"{each.tc << _TC_SHIFT:#010x}/{_TC_MASK:#010x}+{_TC_OFFSET}"],
        )
    return [f"{each}: added" for each in missing]


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

    A filter is told by its handle, whose low bits are the TC: pyroute2 0.9 does not decode the key.
    """
    found = {}
    for port in plan.ports:
        for message in _u32_filters(ip, port.interface):
            tc, class_id = message["handle"] & _HANDLE_MASK, message.get("options").get("TCA_U32_CLASSID")
            if tc and message["info"] >> 16 == _PREFERENCE:
                found[QueueFilter(port.interface, tc, class_id)] = message
    return found


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
    index = index_of(ip, interface)
    wanted = {class_of(queue.queue_id) for queue in qos.queues}
    if not wait_until(lambda: wanted <= {found["handle"] for found in ip.get_classes(index)}, QDISC_TIMEOUT_S):
        raise CannotRun(
            f"Open vSwitch did not build the linux-htb queues of {interface} within {QDISC_TIMEOUT_S} s",
            "its log says why; the kernel needs the module sch_htb",
        )
