"""What the plan says for hypervisors and OVS switches, EDF and FIFO."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.networks import FAST, RATE_BPS, SLOW, channel, two_hypervisors, vm

from controller.model import Endpoint, Network, Scheduler
from ovs_config.filters import IPV4_DSCP, IPV6_DSCP, TC, QueueFilter, planned_filters
from ovs_config.plan import LABELLED_MTU, BridgePlan, DatapathType, QosPlan, QueuePlan, plan_bridge

FLOOR_BPS = RATE_BPS // 100


def plan(network: Network, bridge: str) -> BridgePlan:
    return plan_bridge(network, bridge, DatapathType.NETDEV)


def qos_of(network: Network, bridge: str, interface: str) -> QosPlan | None:
    return next(port.qos for port in plan(network, bridge).ports if port.interface == interface)


def test_hypervisor_with_edf() -> None:
    left = plan(two_hypervisors(), "left")
    assert [(port.interface, port.number) for port in left.ports] == [
        ("left-up", 1),
        ("left-edf", 2),
        ("left-live", 3),
        ("vm1-nic", 10),
    ]
    assert left.veth_pairs == (("left-edf", "left-shim"),)
    assert left.taps == ("left-live",)
    assert set(left.labelled) == {"left-up", "left-edf", "left-shim"}
    assert left.offloads_off == ("vm1-nic",)


def test_hypervisor_with_fifo_has_one_queue_and_no_shim() -> None:
    left = plan(two_hypervisors(Scheduler.FIFO), "left")
    assert [port.interface for port in left.ports] == ["left-up", "vm1-nic"]
    assert (left.veth_pairs, left.taps, left.labelled) == ((), (), ("left-up",))
    assert left.ports[0].qos == QosPlan(RATE_BPS, (QueuePlan(0, FLOOR_BPS, 7),))
    assert planned_filters(left) == set()


def test_queues_get_the_rate_of_their_channels_and_priority_by_deadline() -> None:
    assert qos_of(two_hypervisors(), "left", "left-up") == QosPlan(
        RATE_BPS,
        (
            QueuePlan(0, FLOOR_BPS, priority=7),
            QueuePlan(SLOW.queue_id, FLOOR_BPS, priority=1),  # 100 kb/s asked, the floor is more
            QueuePlan(FAST.queue_id, 2_000_000, priority=0),
        ),
    )


def test_only_channels_in_the_direction_of_the_port_count() -> None:
    qos = qos_of(two_hypervisors(), "right", "right-up")
    assert qos is not None
    assert {queue.min_rate_bps for queue in qos.queues} == {FLOOR_BPS}


def test_a_channel_within_one_hypervisor_asks_nothing_of_the_uplink() -> None:
    network = two_hypervisors()
    vm3 = vm("vm3", "left", 3)
    local = channel("local", network.vms["vm1"], vm3, 19, FAST, rate_bps=50_000_000)
    network = replace(network, vms={**network.vms, "vm3": vm3}, channels={**network.channels, "local": local})
    assert qos_of(network, "left", "left-up") == qos_of(two_hypervisors(), "left", "left-up")


def test_ovs_switch_has_the_class_queues_towards_hypervisors() -> None:
    network = two_hypervisors()
    middle = plan(network, "middle")
    assert [(port.interface, port.number) for port in middle.ports] == [("middle-1", 1), ("middle-2", 2)]
    assert middle.labelled == ("middle-1", "middle-2")
    assert middle.veth_pairs == middle.taps == middle.offloads_off == ()
    assert qos_of(network, "middle", "middle-2") == qos_of(network, "left", "left-up")
    assert qos_of(network, "middle", "middle-1") == qos_of(network, "right", "right-up")


def test_traffic_class_and_dscp_lead_to_the_htb_class_of_their_queue() -> None:
    assert planned_filters(plan(two_hypervisors(), "left")) == {
        QueueFilter("left-up", TC, 3, class_id=0x10004),
        QueueFilter("left-up", IPV4_DSCP, 26, class_id=0x10004),
        QueueFilter("left-up", IPV6_DSCP, 26, class_id=0x10004),
        QueueFilter("left-up", TC, 5, class_id=0x10006),
        QueueFilter("left-up", IPV4_DSCP, 46, class_id=0x10006),
        QueueFilter("left-up", IPV6_DSCP, 46, class_id=0x10006),
    }


def test_a_key_is_what_a_packet_has_at_its_place() -> None:
    assert TC.key(5) == "0x0a000000/0x0e000000+2"
    assert IPV4_DSCP.key(46) == "0x00b80000/0x00fc0000+0"
    assert IPV6_DSCP.key(46) == "0x0b800000/0x0fc00000+0"


def test_bridge_row() -> None:
    network = two_hypervisors()
    left, middle = plan(network, "left"), plan(network, "middle")
    assert (left.datapath_id, middle.datapath_id) == ("0000000000000001", "0000000000000010")
    assert left.controller_target == "tcp:127.0.0.1:6653"
    assert middle.controller_target == left.controller_target, "the switch is in the domain of left"


def test_ipv6_controller_is_in_brackets() -> None:
    network = two_hypervisors()
    left = replace(network.hypervisors["left"], controller=Endpoint("::1", 6653, 8080))
    network = replace(network, hypervisors={**network.hypervisors, "left": left})
    assert plan(network, "left").controller_target == "tcp:[::1]:6653"


@pytest.mark.parametrize("datapath", DatapathType)
def test_the_datapath_changes_nothing_but_its_type(datapath: DatapathType) -> None:
    system = plan_bridge(two_hypervisors(), "left", DatapathType.SYSTEM)
    assert plan_bridge(two_hypervisors(), "left", datapath) == replace(system, datapath_type=datapath)


def test_two_labels_fit_on_a_full_packet() -> None:
    assert LABELLED_MTU >= 1500 + 2 * 4
