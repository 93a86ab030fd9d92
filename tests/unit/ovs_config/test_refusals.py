"""What a kernel lacks is one line with a cure. The kernel is a fake one, which refuses whatever it is to change."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from support.examples import example
from support.networks import two_hypervisors

from controller.errors import CannotRun
from ovs_config import filters, links
from ovs_config.plan import DatapathType, plan_bridge
from topologies import cables

PLAN = plan_bridge(two_hypervisors(), "left", DatapathType.NETDEV)


class UnwillingKernel:
    """It has every interface that it is asked about, with an MTU of 1500 and the queues of PLAN, and no filter."""

    def __init__(self, code: int) -> None:
        self._code = code

    def link_lookup(self, ifname: str) -> list[int]:
        return [7]

    def get_links(self, index: int) -> list[Mapping[str, object]]:
        return [{"mtu": 1500}]

    def get_qdiscs(self, index: int) -> list[Mapping[str, object]]:
        return [{"kind": "htb", "handle": filters.ROOT}]

    def get_classes(self, index: int) -> list[Mapping[str, Any]]:
        (qos,) = (port.qos for port in PLAN.ports if port.qos)
        counts = {"TCA_STATS_BASIC": {"packets": 0}}
        return [{"handle": filters.class_of(queue.queue_id), "TCA_STATS2": counts} for queue in qos.queues]

    def get_filters(self, index: int, parent: int) -> list[Any]:
        return []

    def addr(self, *_: object, **__: object) -> None:
        raise NetlinkError(self._code)

    def tc(self, *_: object, **__: object) -> None:
        raise NetlinkError(self._code)

    def link(self, verb: str, **what: object) -> None:
        if what.get("state") != "up":
            raise NetlinkError(self._code)


@pytest.mark.parametrize(
    ("code", "ask", "message"),
    [
        (
            errno.EINVAL,
            lambda ip: links.raise_mtu(ip, "eth1"),
            "the interface eth1 takes no MTU of 1508: Invalid argument; use another NIC or driver: "
            "ip -d link show eth1 has its maxmtu",
        ),
        (
            errno.EOPNOTSUPP,
            lambda ip: links.add_veth_pair(ip, "near", "far"),
            "the interface near cannot be made: Operation not supported; modprobe veth",
        ),
        (
            errno.ENOENT,
            lambda ip: filters.add_missing_filters(ip, PLAN),
            "the kernel takes no queue filters: No such file or directory; modprobe cls_u32",
        ),
        (
            errno.EACCES,
            lambda ip: cables.configure_nic(ip, example("plain_host").hosts["recorder"]),
            "recorder cannot have the address 10.0.0.9: Permission denied; "
            "if this machine has no IPv6: sysctl net.ipv6.conf.default.disable_ipv6=0",
        ),
    ],
)
def test_what_the_kernel_refuses_is_one_line_with_a_cure(code: int, ask: Callable[[Any], object], message: str) -> None:
    with pytest.raises(CannotRun) as refusal:
        ask(UnwillingKernel(code))
    assert str(refusal.value) == message


def test_offloads_that_cannot_be_turned_off() -> None:
    with pytest.raises(CannotRun, match=r"^the offloads of no-such-one cannot be turned off; ethtool -k no-such-one "):
        links.disable_offloads("no-such-one")
