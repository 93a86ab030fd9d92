"""What the plan says for hypervisors and OVS switches, EDF and FIFO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.networks import FAST, RATE_BPS, SLOW, channel, two_hypervisors, vm

from controller.admission.guarantee import Guarantees
from controller.model import DeadlineClass, Endpoint, Link, Network, Scheduler, Switch, SwitchKind
from controller.network.wiring import port_to
from ovs_config.filters import IPV4_DSCP, IPV6_DSCP, TC, QueueFilter, planned_filters
from ovs_config.plan import LABELLED_MTU, BridgePlan, DatapathType, QosPlan, QueuePlan, plan_bridge

FLOOR_BPS = RATE_BPS // 100
BEST_EFFORT = QueuePlan(0, FLOOR_BPS, RATE_BPS, burst_bytes=0, priority=7)


def plan(network: Network, bridge: str) -> BridgePlan:
    return plan_bridge(network, bridge, DatapathType.NETDEV)


def qos_of(network: Network, bridge: str, interface: str) -> QosPlan | None:
    return next(port.qos for port in plan(network, bridge).ports if port.interface == interface)


def trunk_qos(network: Network, bridge: str, peer: str) -> QosPlan:
    qos = qos_of(network, bridge, port_to(network, bridge, peer).interface)
    assert qos is not None
    return qos


def queue_of(network: Network, deadline_class: DeadlineClass) -> QueuePlan:
    """Its queue at the uplink of `left`, where no shim is."""
    qos = qos_of(network.with_scheduler(Scheduler.QUEUES), "left", "left-up")
    assert qos is not None
    return next(queue for queue in qos.queues if queue.queue_id == deadline_class.queue_id)


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
    assert left.ports[0].qos == QosPlan(RATE_BPS, (BEST_EFFORT,))
    assert planned_filters(left) == set()


def test_queues_get_their_share_and_priority_by_deadline() -> None:
    """3,000 bytes within 5 ms need 4.8 Mb/s; within 100 ms, 240 kb/s: of 97 Mb/s over the floors, 20 parts and 1.

    There is room for what comes while a frame goes first, 124 us, and for the slow one 3,000 bytes as well, 371 us.
    """
    assert qos_of(two_hypervisors(Scheduler.QUEUES), "left", "left-up") == QosPlan(
        RATE_BPS,
        (
            BEST_EFFORT,
            QueuePlan(SLOW.queue_id, FLOOR_BPS + 4_619_047, RATE_BPS, burst_bytes=3005, priority=1, dscp=SLOW.dscp),
            QueuePlan(FAST.queue_id, FLOOR_BPS + 92_380_952, RATE_BPS, burst_bytes=3033, priority=0, dscp=FAST.dscp),
        ),
    )


def test_a_class_without_channels_has_the_floor_and_may_borrow() -> None:
    network = two_hypervisors()
    network = replace(network, channels={"video": network.channels["video"]})
    assert queue_of(network, SLOW) == QueuePlan(
        SLOW.queue_id, FLOOR_BPS, RATE_BPS, burst_bytes=0, priority=1, dscp=SLOW.dscp
    )
    assert queue_of(network, FAST).min_rate_bps == 98 * FLOOR_BPS


@pytest.mark.parametrize("limit_bps", [5_000_000, FLOOR_BPS // 2, 10 * RATE_BPS])
def test_a_limit_is_the_most_that_a_queue_gets(limit_bps: int) -> None:
    limited = replace(FAST, limit_bps=limit_bps)
    network = two_hypervisors()
    channels = {"video": replace(network.channels["video"], deadline_class=limited)}
    queue = queue_of(replace(network, classes=(limited, SLOW), channels=channels), limited)
    assert queue.max_rate_bps == min(limit_bps, RATE_BPS)
    assert queue.min_rate_bps == min(limit_bps, 98 * FLOOR_BPS)


def test_beside_a_shim_a_limit_caps_no_queue() -> None:
    """It may send more there, in its own order: a queue that held some back would be in the way of the rest."""
    limited = replace(FAST, limit_bps=2_500_000)
    network = replace(two_hypervisors(), classes=(limited, SLOW))
    qos, unlimited = (qos_of(each, "left", "left-up") for each in (network, two_hypervisors()))
    assert qos == unlimited is not None
    assert trunk_queue(network, limited).max_rate_bps == 2_500_000


def trunk_queue(network: Network, deadline_class: DeadlineClass) -> QueuePlan:
    queues = trunk_qos(network, "middle", "right").queues
    return next(queue for queue in queues if queue.queue_id == deadline_class.queue_id)


def test_a_burst_is_a_full_packet_at_least() -> None:
    network = two_hypervisors()
    tiny = {name: replace(each, burst_bytes=64) for name, each in network.channels.items()}
    assert queue_of(replace(network, channels=tiny), FAST).burst_bytes == 1546 + 33


@pytest.mark.parametrize("scheduler", Scheduler)
def test_the_queues_of_a_port_are_sure_of_no_more_than_it_carries(scheduler: Scheduler) -> None:
    network = two_hypervisors(scheduler)
    for bridge in ("left", "right", "middle"):
        for qos in filter(None, (port.qos for port in plan(network, bridge).ports)):
            assert sum(queue.min_rate_bps for queue in qos.queues) <= qos.max_rate_bps == RATE_BPS


def test_where_all_is_fifo_a_switch_has_best_effort_only() -> None:
    assert qos_of(two_hypervisors(Scheduler.FIFO), "middle", "middle-2") == QosPlan(RATE_BPS, (BEST_EFFORT,))


def test_class_queues_alone_need_no_shim_and_are_as_beside_one() -> None:
    left = plan(two_hypervisors(Scheduler.QUEUES), "left")
    assert [port.interface for port in left.ports] == ["left-up", "vm1-nic"]
    assert (left.veth_pairs, left.taps, left.labelled) == ((), (), ("left-up",))
    beside = qos_of(two_hypervisors(), "left", "left-up")
    assert left.ports[0].qos is not None and beside is not None
    marks = [[(each.queue_id, each.priority, each.dscp) for each in qos.queues] for qos in (left.ports[0].qos, beside)]
    assert marks[0] == marks[1]


@given(st.integers(1000, 10**8), st.integers(64, 10**6))
def test_beside_a_shim_queues_change_in_steps(rate_bps: int, burst_bytes: int) -> None:
    """So that a channel that changes a little changes no queue: that would stop Open vSwitch for a while."""
    network = two_hypervisors()
    changed = replace(network.channels["video"], rate_bps=rate_bps, burst_bytes=burst_bytes)
    queues = {each.queue_id: each for each in _queues(replace(network, channels={"video": changed}))}
    room_bytes = changed.wire_burst_bytes + 124 * changed.wire_rate_bps // 8_000_000
    assert room_bytes <= queues[FAST.queue_id].burst_bytes <= 1.5 * room_bytes + 5
    assert sum(each.min_rate_bps for each in queues.values()) <= RATE_BPS
    video = network.channels["video"]
    little = replace(network, channels={"video": replace(video, rate_bps=video.rate_bps + 1000, burst_bytes=3001)})
    assert _queues(little) == _queues(replace(network, channels={"video": video}))


def _queues(network: Network) -> tuple[QueuePlan, ...]:
    qos = qos_of(network, "left", "left-up")
    assert qos is not None
    return qos.queues


def test_a_port_between_switches_has_the_rate_of_its_link_and_the_queues_of_what_crosses_it() -> None:
    """Two switches in a row, `middle` and `far`; the cable between them carries 50 Mb/s."""
    network = two_hypervisors()
    right = network.hypervisors["right"]
    network = replace(
        network,
        hypervisors={**network.hypervisors, "right": replace(right, uplink=replace(right.uplink, switch="far"))},
        switches={**network.switches, "far": Switch("far", SwitchKind.OVS, datapath_id=0x11, domain="right")},
        links=(Link(("middle", "far"), RATE_BPS // 2),),
    )
    there, back = trunk_qos(network, "middle", "far"), trunk_qos(network, "far", "middle")
    assert there.max_rate_bps == back.max_rate_bps == RATE_BPS // 2
    arriving_bytes = 3000 + 1313  # what comes within the deadline, 5 ms or 100 ms, is the same for both
    assert [queue.burst_bytes for queue in there.queues] == [0, arriving_bytes + 13, arriving_bytes + 65]
    assert [queue.min_rate_bps for queue in back.queues] == [FLOOR_BPS // 2] * 3
    assert trunk_qos(network, "far", "right") == qos_of(two_hypervisors(), "middle", "middle-2")


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


def test_what_a_switch_is_asked_for_is_worked_out_once_for_all_its_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr("ovs_config.plan.Guarantees", lambda network: made.append(Guarantees(network)) or made[-1])
    assert len(plan(two_hypervisors(), "middle").ports) == 2
    assert len(made) == 1


def test_ovs_switch_has_the_class_queues_towards_hypervisors() -> None:
    network = two_hypervisors()
    middle = plan(network, "middle")
    assert [(port.interface, port.number) for port in middle.ports] == [("middle-1", 1), ("middle-2", 2)]
    assert middle.labelled == ("middle-1", "middle-2")
    assert middle.veth_pairs == middle.taps == middle.offloads_off == ()
    uplink = qos_of(two_hypervisors(Scheduler.QUEUES), "left", "left-up")
    assert uplink is not None
    towards = zip(trunk_qos(network, "middle", "right").queues, uplink.queues, strict=True)
    assert all(there == replace(first, burst_bytes=there.burst_bytes) for there, first in towards)
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


def test_a_lasting_bridge_shows_its_own_certificate_and_those_of_a_test_bed_one_for_all() -> None:
    network = replace(two_hypervisors(), tls_directory=Path("/pki"))
    lasting = plan_bridge(network, "left", DatapathType.NETDEV, is_lasting=True)
    assert lasting.tls is not None and lasting.tls.key == Path("/pki/switch-left-key.pem")
    assert {plan(network, bridge).tls for bridge in ("left", "right")} == {network.openvswitch_tls()}
    assert lasting == replace(plan(network, "left"), tls=lasting.tls, is_lasting=True), "nothing else differs"


@pytest.mark.parametrize("datapath", DatapathType)
def test_the_datapath_changes_nothing_but_its_type(datapath: DatapathType) -> None:
    system = plan_bridge(two_hypervisors(), "left", DatapathType.SYSTEM)
    assert plan_bridge(two_hypervisors(), "left", datapath) == replace(system, datapath_type=datapath)


def test_two_labels_fit_on_a_full_packet() -> None:
    assert LABELLED_MTU >= 1500 + 2 * 4
