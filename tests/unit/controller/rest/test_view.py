"""What a domain in a known state says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.domains import Driver, S, books, class_books, peer_tells, statistics, summary
from support.examples import distinct, example
from support.networks import FAST, channel, two_hypervisors

from controller.domain.events import (
    Confirmed,
    Contents,
    ContentsReported,
    MetersReported,
    Missed,
    MissesReported,
    PeerGone,
    PeeringReported,
    PeerJoined,
    PeerReported,
    PortReported,
    Proof,
    QueueCount,
    QueuesProbed,
    QueuesReported,
    Refused,
    Send,
    ShimGone,
    ShimReady,
    ShimReported,
    SwitchConnected,
    Tick,
    Traffic,
)
from controller.domain.lifecycle import State
from controller.domain.reports import Role, Summary
from controller.model import Bypass, Excess, Network, Protocol, Scheduler, SwitchKind
from controller.network.wiring import LIVENESS_PORT, UPLINK_PORT
from controller.openflow.pipeline import Purpose
from controller.peering.messages import MissReport
from controller.peering.session import Link, Phase
from controller.rest import view
from controller.rest.resources import ChannelView, HealthView, MissView, PeerView, ShimView

NETWORK = distinct(two_hypervisors(kind=SwitchKind.PLAIN))


def channel_of(driver: Driver, name: str) -> ChannelView:
    found = view.channel(driver.domain, name)
    assert found is not None
    return found


@pytest.fixture
def talker() -> Driver:
    """The domain `left`, all of it installed."""
    driver = Driver(NETWORK, "left")
    driver.connect()
    driver.hear(peer_tells(NETWORK, "right", Role.LISTENER))
    return driver


@pytest.fixture
def listener() -> Driver:
    """The domain `right`, all of it installed."""
    driver = Driver(NETWORK, "right")
    driver.connect()
    driver.hear(peer_tells(NETWORK, "left", Role.TALKER))
    return driver


# Channels


def test_a_channels_contract_and_marks(talker: Driver) -> None:
    audio = channel_of(talker, "audio")
    assert (audio.talker, audio.listener, audio.source, audio.destination) == ("vm1", "vm2", "10.0.0.1", "10.0.0.2")
    assert (audio.protocol, audio.src_port, audio.dst_port) == (Protocol.UDP, None, 5004)
    assert (audio.deadline_ns, audio.min_rate_bps, audio.burst_bytes) == (100_000_000, 100_000, 3000)
    assert audio.path == ("vm1", "left", "middle", "right", "vm2")
    assert (audio.channel_label, audio.deadline_label) == (18, 10_000)
    assert (audio.deadline_class, audio.queue_id, audio.tc, audio.dscp, audio.on_miss) == ("slow", 3, 3, 26, ("log",))


def test_channels_come_in_the_order_of_the_file(talker: Driver) -> None:
    assert [each.name for each in view.channels(talker.domain)] == ["video", "audio"]
    assert view.channel(talker.domain, "radio") is None


def test_the_talkers_side_counts_what_its_switch_labelled_and_hears_the_rest(talker: Driver) -> None:
    talker.count("left", Purpose.TALKER, 17, Traffic(100, 150_000))
    talker.hear(ShimReported(statistics({17: books(queueing_delay=summary(100, 2_000))}, {})))
    lateness = Summary(count=97, min=-9, max=-1)
    talker.hear(peer_tells(NETWORK, "right", Role.LISTENER, packets=97, missed=2, bypassed=1, delay=lateness))
    video = channel_of(talker, "video")
    assert (video.state, video.why) == (State.INSTALLED, "")
    assert (video.sent, video.received, video.lost, video.missed, video.bypassed) == (100, 97, 3, 2, 1)
    assert video.queueing_delay == Summary(**summary(100, 2_000))
    assert video.lateness == lateness


def test_the_listeners_side_counts_what_its_switch_delivered_and_hears_the_rest(listener: Driver) -> None:
    listener.count("right", Purpose.LISTENER, 18, Traffic(97, 1))
    listener.hear(ShimReported(statistics({18: books(missed=2, bypassed=1, lateness=summary(97, -5))}, {})))
    delay = Summary(count=100, min=1, max=9)
    listener.hear(peer_tells(NETWORK, "left", Role.TALKER, packets=100, delay=delay))
    audio = channel_of(listener, "audio")
    assert (audio.sent, audio.received, audio.lost, audio.missed, audio.bypassed) == (100, 97, 3, 2, 1)
    assert (audio.queueing_delay, audio.lateness) == (delay, Summary(**summary(97, -5)))


@pytest.mark.parametrize("is_told", [False, True])
def test_what_a_peer_does_not_tell_is_not_known(talker: Driver, listener: Driver, is_told: bool) -> None:
    for driver, other, purpose in ((talker, "right", Purpose.TALKER), (listener, "left", Purpose.LISTENER)):
        driver.hear(
            ShimReported(statistics({}, {})), PeerReported(other, {}) if is_told else PeerGone(other, "is gone")
        )
        driver.count(driver.domain.name, purpose, 17, Traffic(100, 1))
    near, far = channel_of(talker, "video"), channel_of(listener, "video")
    assert (near.sent, near.conforming, near.postponed) == (100, 100, 0)
    assert (near.received, near.lost, near.missed, near.bypassed, near.clock_error_ns) == (None,) * 5
    assert (far.received, far.missed, far.bypassed) == (100, 0, 0)
    assert (far.sent, far.lost, far.conforming, far.postponed) == (None,) * 4


def test_what_the_shim_has_not_told_yet_is_not_known(talker: Driver, listener: Driver) -> None:
    sent, received = channel_of(talker, "video"), channel_of(listener, "video")
    assert (sent.sent, sent.conforming, sent.postponed, sent.late_dropped) == (0, None, None, None)
    assert (received.received, received.missed, received.unjudged, received.bypassed) == (0, None, None, None)
    fast, _ = view.classes(talker.domain)
    assert (fast.sent, fast.received, fast.missed, fast.demoted) == (None,) * 4
    assert view.clock(talker.domain).steps is None
    talker.hear(QueuesReported("left", (QueueCount(1, 5, Traffic(3, 300), 0),)))
    assert view.queues(talker.domain)[0].shim_packets is None


def test_counts_read_at_different_times_are_no_negative_loss(talker: Driver) -> None:
    talker.hear(peer_tells(NETWORK, "right", Role.LISTENER, packets=5))
    assert channel_of(talker, "video").lost == 0


def test_a_channel_of_two_flows_is_counted_as_one() -> None:
    web = replace(NETWORK.channels["video"], protocol=None, dst_port=80)
    network = replace(NETWORK, channels={"video": web})
    driver = Driver(network, "left")
    driver.connect()
    driver.hear(peer_tells(network, "right", Role.LISTENER))
    driver.count("left", Purpose.TALKER, 17, Traffic(10, 1000))
    assert channel_of(driver, "video").sent == 20
    assert view.ends(driver.domain).ends["video"].bytes == 2000


@pytest.mark.parametrize(
    ("other", "why"),
    [(State.INSTALLED, ""), (State.INSTALLING, ""), (State.WAITING, "no shim"), (State.REFUSED, "no room")],
)
def test_a_channel_is_as_good_as_the_worse_of_its_ends(talker: Driver, other: State, why: str) -> None:
    talker.hear(peer_tells(NETWORK, "right", Role.LISTENER, other, why=why))
    video = channel_of(talker, "video")
    assert (video.state, video.why) == (other, why)


def test_a_channel_whose_other_controller_does_not_answer_is_not_known_to_work(talker: Driver) -> None:
    talker.hear(PeerGone("right", "is not running"))
    video = channel_of(talker, "video")
    assert (video.state, video.why) == (State.WAITING, "the controller of right is not running")


def test_a_refused_channel_says_why() -> None:
    driver = Driver(NETWORK, "right")
    domain = driver.domain
    domain.handle(SwitchConnected("right"), S)
    (batch,) = domain.handle(ContentsReported("right", Contents()), S)
    assert isinstance(batch, Send)
    domain.handle(Refused("right", batch.batch, None, "no answer within 5 s"), S)
    domain.handle(Confirmed("right", batch.batch), S)
    assert view.switches(domain)[0].why == "no answer within 5 s"
    assert channel_of(driver, "video").why == "the switch right is not set up: no answer within 5 s"


def test_the_first_in_first_out_baseline_is_off() -> None:
    driver = Driver(NETWORK.with_scheduler(Scheduler.FIFO), "left")
    driver.connect()
    assert {(each.state, each.why, each.sent) for each in view.channels(driver.domain)} == {
        (State.OFF, "an uplink on its way is first in, first out", 0)
    }
    assert view.ends(driver.domain).ends == {}


def test_a_local_channel_is_received_as_it_is_sent() -> None:
    vm1, vm2 = NETWORK.vms.values()
    vm3 = replace(vm2, name="vm3", hypervisor="left")
    network = replace(NETWORK, vms={"vm1": vm1, "vm3": vm3}, channels={"near": channel("near", vm1, vm3, 19, FAST)})
    driver = Driver(network, "left")
    driver.connect()
    driver.count("left", Purpose.TALKER, 19, Traffic(10, 1000))
    near = channel_of(driver, "near")
    assert (near.state, near.sent, near.received, near.lost) == (State.INSTALLED, 10, 10, 0)
    assert near.path == ("vm1", "left", "vm3")


# What peers are told


def test_each_end_tells_what_it_alone_knows(talker: Driver, listener: Driver) -> None:
    own = statistics({17: books(missed=2, bypassed=1, queueing_delay=summary(3, 30), lateness=summary(4, -40))}, {})
    talker.hear(ShimReported(own))
    listener.hear(ShimReported(own))
    sent, received = view.ends(talker.domain).ends["video"], view.ends(listener.domain).ends["video"]
    assert (sent.role, sent.missed, sent.bypassed, sent.delay.max) == (Role.TALKER, 0, 0, 30)
    assert (received.role, received.missed, received.bypassed, received.delay.max) == (Role.LISTENER, 2, 1, -40)
    assert view.ends(talker.domain).domain == "left"


# Classes and queues


def test_classes_are_those_of_the_file_with_the_shims_books(talker: Driver) -> None:
    fast_books = class_books(packets=7, received_packets=5, missed=1, bypassed=2, queueing_delay=summary(7, 70))
    talker.hear(ShimReported(statistics({}, {5: fast_books})))
    fast, slow = view.classes(talker.domain)
    assert (fast.name, fast.queue_id, fast.tc, fast.dscp, fast.channels) == ("fast", 5, 5, 46, ("video",))
    assert (fast.above_ns, fast.up_to_ns) == (0, 5_000_000)
    assert (fast.sent, fast.received, fast.missed, fast.bypassed, fast.queueing_delay.p99) == (7, 5, 1, 2, 70)
    assert (slow.name, slow.sent, slow.lateness, slow.channels) == ("slow", 0, Summary(), ("audio",))


def test_queues_stand_beside_what_the_shim_has_sent_of_their_class(talker: Driver) -> None:
    counts = (
        QueueCount(1, 5, Traffic(3, 300), 1),
        QueueCount(1, 0, Traffic(9, 900), 0),
        QueueCount(77, 6, Traffic(), 0),
    )
    talker.hear(QueuesReported("left", counts), ShimReported(statistics({}, {5: class_books(packets=3, size=330)})))
    best_effort_view, fast_view, unknown = view.queues(talker.domain)
    assert (fast_view.switch, fast_view.interface) == ("left", "left-up")
    assert (fast_view.queue_id, fast_view.deadline_class, fast_view.errors) == (5, "fast", 1)
    assert (fast_view.packets, fast_view.bytes, fast_view.shim_packets, fast_view.shim_bytes) == (3, 300, 3, 330)
    assert (best_effort_view.deadline_class, best_effort_view.packets) == ("best-effort", 9)
    assert best_effort_view.shim_packets == 0
    assert (unknown.interface, unknown.deadline_class) == ("77", "")


def test_a_queue_says_whether_it_was_proved(talker: Driver) -> None:
    counts = tuple(QueueCount(1, queue_id, Traffic(), 0) for queue_id in (0, 3, 5))
    talker.hear(QueuesReported("left", counts))
    assert [queue.proof for queue in view.queues(talker.domain)] == [None, None, None]
    talker.hear(QueuesProbed("left", {(1, 0): Proof.PROVED, (1, 3): Proof.NOT_PROVED}))
    talker.hear(QueuesProbed("left", {(1, 3): Proof.PROVED, (2, 5): Proof.NOT_SUPPORTED}))
    assert [queue.proof for queue in view.queues(talker.domain)] == ["proved", "proved", None]


def test_where_there_is_no_shim_its_counts_are_not_known() -> None:
    fifo = Driver(NETWORK.with_scheduler(Scheduler.FIFO), "left")
    fifo.hear(QueuesReported("left", (QueueCount(1, 0, Traffic(3, 300), 0),)))
    core = Driver(example("ovs_core"), "left")
    core.hear(QueuesReported("east", (QueueCount(1, 0, Traffic(3, 300), 0),)))
    for driver in (fifo, core):
        (queue,) = view.queues(driver.domain)
        assert (queue.packets, queue.shim_packets, queue.shim_bytes) == (3, None, None)


def test_the_shim_counts_what_it_did_and_dropped(talker: Driver) -> None:
    assert view.shim(talker.domain) == ShimView(
        is_ready=True, is_bypassed=False, why="", since_ns=S, settings=1, egress={}, ingress={}
    )
    talker.hear(ShimReported(statistics({}, {}) | {"egress": {"queue_full": 3}, "ingress": {"missed": 2}}))
    assert view.shim(talker.domain).model_dump() == {
        "is_ready": True,
        "is_bypassed": False,
        "why": "",
        "since_ns": S,
        "settings": 1,
        "egress": {"queue_full": 3},
        "ingress": {"missed": 2},
    }
    talker.hear(ShimGone("is not running"))
    assert (view.shim(talker.domain).is_ready, view.shim(talker.domain).why) == (False, "is not running")


def test_a_shim_that_packets_go_past_is_trouble_and_says_since_when(talker: Driver) -> None:
    talker.hear(Tick(wall_ns=1000 * S), now_ns=4 * S)
    talker.hear(PortReported("left", LIVENESS_PORT, is_up=False), now_ns=5 * S)
    shim, video = view.shim(talker.domain), channel_of(talker, "video")
    assert (shim.is_ready, shim.is_bypassed, shim.since_ns) == (True, True, 1001 * S)
    assert (video.state, video.since_ns) == (State.DEGRADED, 1001 * S)
    assert video.why == "the shim of left does not forward; packets go past it"
    assert not view.health(talker.domain).is_healthy
    talker.hear(PortReported("left", LIVENESS_PORT, is_up=True), now_ns=6 * S)
    assert channel_of(talker, "video").state is State.INSTALLED
    assert view.health(talker.domain).is_healthy


def test_a_channel_that_wants_no_bypass_says_that_its_packets_are_dropped() -> None:
    strict = replace(NETWORK.channels["video"], on_bypass=Bypass.BLOCK)
    network = replace(NETWORK, channels=NETWORK.channels | {"video": strict})
    for name, peer, role in (("left", "right", Role.LISTENER), ("right", "left", Role.TALKER)):
        driver = Driver(network, name)
        driver.connect()
        driver.hear(peer_tells(network, peer, role), PortReported(name, LIVENESS_PORT, is_up=False))
        what = "packets are dropped" if name == "left" else "packets go past it"
        end = view.ends(driver.domain).ends["video"]
        assert (end.state, end.why) == (State.DEGRADED, f"the shim of {name} does not forward; {what}")


def test_what_exceeds_the_contract_is_counted_at_the_talker_whoever_dropped_it() -> None:
    strict = replace(NETWORK.channels["video"], excess=Excess.DROP)
    driver = Driver(replace(NETWORK, channels=NETWORK.channels | {"video": strict}), "left")
    driver.connect()
    driver.hear(peer_tells(NETWORK, "right", Role.LISTENER))
    excess = {"postponed": 3, "excess_dropped": 2, "demoted": 1, "late_dropped": 4, "queue_full": 5}
    driver.hear(ShimReported(statistics({17: books(**excess)}, {5: class_books(**excess)})))
    driver.hear(MetersReported("left", {17: 10}))
    video = channel_of(driver, "video")
    assert (video.postponed, video.excess_dropped, video.demoted, video.late_dropped, video.queue_full) == (
        3,
        12,
        1,
        4,
        5,
    )
    driver.count("left", Purpose.TALKER, 17, Traffic(100, 6000))
    assert channel_of(driver, "video").conforming == 100 - 3 - 12
    fast = next(each for each in view.classes(driver.domain) if each.name == "fast")
    assert (fast.postponed, fast.excess_dropped, fast.demoted, fast.late_dropped, fast.queue_full) == (3, 2, 1, 4, 5)


def test_a_class_is_proved_or_not_at_the_uplink_and_what_is_not_is_trouble(talker: Driver) -> None:
    def proof_of_fast() -> Proof | None:
        return next(each.proof for each in view.classes(talker.domain) if each.name == "fast")

    assert proof_of_fast() is None
    talker.hear(QueuesProbed("left", {(UPLINK_PORT, 5): Proof.PROVED}))
    assert proof_of_fast() is Proof.PROVED
    assert view.health(talker.domain).is_healthy
    talker.hear(QueuesProbed("left", {(UPLINK_PORT, 5): Proof.NOT_PROVED}))
    assert proof_of_fast() is Proof.NOT_PROVED
    assert view.health(talker.domain).problems == ("queue 5 of left-up is not proved",)


def test_without_a_shim_a_channel_is_degraded_while_the_queue_of_its_class_is_not_proved() -> None:
    network = NETWORK.with_scheduler(Scheduler.QUEUES)
    driver = Driver(network, "left")
    driver.connect()
    driver.hear(peer_tells(network, "right", Role.LISTENER), now_ns=2 * S)

    def video() -> tuple[State, str, int]:
        end = view.ends(driver.domain).ends["video"]
        return end.state, end.why, end.since_ns

    assert video() == (State.DEGRADED, "queue 5 of left-up is not tried yet", 2 * S)
    driver.hear(QueuesProbed("left", {(UPLINK_PORT, 5): Proof.PROVED}), now_ns=3 * S)
    assert video() == (State.INSTALLED, "", 2 * S)
    for proof in (Proof.NOT_PROVED, Proof.NOT_SUPPORTED):
        driver.hear(QueuesProbed("left", {(UPLINK_PORT, 5): proof}), now_ns=4 * S)
        assert video() == (State.DEGRADED, f"queue 5 of left-up is {proof}", 4 * S)
    driver.hear(QueuesProbed("left", {(UPLINK_PORT, 5): proof}), now_ns=5 * S)
    assert video()[2] == 4 * S


def test_no_proof_is_asked_of_the_queues_of_a_listeners_uplink_nor_beside_a_shim(talker: Driver) -> None:
    network = NETWORK.with_scheduler(Scheduler.QUEUES)
    listener = Driver(network, "right")
    listener.connect()
    for driver in (listener, talker):
        assert view.ends(driver.domain).ends["video"].state is State.INSTALLED


def test_the_bound_stands_beside_what_was_measured(talker: Driver) -> None:
    video = channel_of(talker, "video")
    assert video.bound_ns == video.allowance_ns + sum(hop.bound_ns or 0 for hop in video.hops)
    assert [(hop.at, hop.server) for hop in video.hops] == [
        ("the uplink of left", "edf"),
        ("the port of middle to right", "plain"),
    ]
    assert video.longest_ns is None
    late = summary(7, -2_000_000)
    talker.hear(peer_tells(NETWORK, "right", Role.LISTENER, delay=Summary(**late)))
    assert channel_of(talker, "video").longest_ns == 3_000_000


# Switches, peers, misses, topology, health


def test_a_switch_counts_what_it_dropped_by_cause(talker: Driver) -> None:
    talker.count("left", Purpose.SPOOFED, 10, Traffic(3, 180))
    talker.count("left", Purpose.UNKNOWN_CHANNEL, 0, Traffic(2, 120))
    (left,) = view.switches(talker.domain)
    assert (left.name, left.datapath_id, left.is_connected, left.state) == ("left", "0" * 15 + "1", True, "installed")
    flows = 1 + 3  # all that is not a VM's own, and three kinds of neighbour discovery
    assert {cause: count for cause, count in left.dropped.items() if count} == {
        "spoofed": 3 * flows,
        "unknown_channel": 2,
    }
    assert set(left.dropped) == {purpose.name.lower() for purpose in Purpose if purpose.is_drop}
    assert left.flows == len(talker.contents["left"].flows)


def test_the_flows_of_strangers_do_not_count(talker: Driver) -> None:
    (before,) = view.switches(talker.domain)
    stranger = 0x5254 << 48 | Purpose.SPOOFED << 40 | 4711
    held = talker.contents["left"]
    talker.domain.bridges["left"].contents = replace(held, flows={**held.flows, stranger: Traffic(9, 9)})
    (after,) = view.switches(talker.domain)
    assert after.dropped == before.dropped


def test_peers_share_channels(talker: Driver) -> None:
    talker.hear(PeerJoined("right", is_same_host=True))
    talker.hear(PeeringReported("right", Link(Phase.OPEN, 3, 4, 1, 0, 2, 90_000)))
    expected = PeerView(
        domain="right",
        peer_of="left",
        address="http://127.0.0.1:8081",
        is_reachable=True,
        why="",
        channels=("video", "audio"),
        session=Phase.OPEN,
        is_same_host=True,
        clock_difference_ns=0,
        sent=3,
        received=4,
        dropped=1,
        refused=0,
        reconnects=2,
        round_trip_ns=90_000,
    )
    assert view.peers(talker.domain) == [expected]


def test_a_peer_shares_only_the_channels_that_end_there() -> None:
    vm1 = NETWORK.vms["vm1"]
    third = replace(NETWORK.vms["vm2"], name="vm3", hypervisor="third")
    hypervisors = NETWORK.hypervisors | {"third": replace(NETWORK.hypervisors["right"], name="third")}
    far = channel("far", vm1, third, 19, FAST)
    network = replace(
        NETWORK, hypervisors=hypervisors, vms=NETWORK.vms | {"vm3": third}, channels=NETWORK.channels | {"far": far}
    )
    found = {peer.domain: peer.channels for peer in view.peers(Driver(network, "left").domain)}
    assert found == {"right": ("video", "audio"), "third": ("far",)}


def test_misses(listener: Driver) -> None:
    listener.hear(Missed(({"label": 17, "lateness_ns": 5, "at_ns": 99},)))
    assert view.misses(listener.domain) == [MissView(channel="video", lateness_ns=5, at_ns=99, clock_error_ns=0)]


def test_miss_reports_of_the_listeners_controller(talker: Driver) -> None:
    report = MissReport("video", 3, 10, 700, 500, 100_000_000, 33, 0, 99)
    talker.hear(Tick(wall_ns=5 * S), MissesReported("right", (report,)))
    (found,) = view.miss_reports(talker.domain)
    assert (found.channel, found.domain, found.total_misses, found.heard_at_ns) == ("video", "right", 33, 5 * S)
    assert channel_of(talker, "video").missed == 33


def test_the_topology_is_the_whole_file_whoever_tells_it() -> None:
    network = example("ovs_core")
    left, right = (view.topology(Driver(network, name).domain) for name in ("left", "right"))
    assert (left.domain, left.bridges) == ("left", ("left", "east"))
    assert left.model_copy(update={"domain": "right", "bridges": right.bridges}) == right
    assert left.switches == {"east": "ovs", "west": "ovs", "spare": "plain"}
    assert left.links == (("east", "west"), ("east", "spare"), ("spare", "west"))
    assert [vm.name for vm in left.vms] == ["camera", "screen"]
    assert left.hypervisors[0].vms == ("camera",)
    assert left.channels == ("video",)


def test_health_lists_everything_that_is_missing() -> None:
    driver = Driver(example("ovs_core"), "left")
    driver.hear(ShimGone("is not running"))
    health = view.health(driver.domain)
    assert not health.is_healthy
    assert health.problems == (
        "the switch left is waiting: the switch left is not connected",
        "the switch east is waiting: the switch east is not connected",
        "the shim of left is not running",
        "the controller of right has not answered yet",
    )


def test_health_when_all_is_well(talker: Driver) -> None:
    assert view.health(talker.domain) == HealthView(domain="left", is_healthy=True, problems=())


def test_a_domain_without_a_shim_is_healthy_without_one() -> None:
    network: Network = NETWORK.with_scheduler(Scheduler.FIFO)
    driver = Driver(network, "left")
    driver.connect()
    driver.hear(peer_tells(network, "right", Role.LISTENER))
    assert view.health(driver.domain).is_healthy


def test_an_installed_end_without_its_shim_is_degraded(talker: Driver) -> None:
    assert channel_of(talker, "video").state is State.INSTALLED
    talker.hear(ShimGone("is not running"))
    video = channel_of(talker, "video")
    assert (video.state, video.why) == (State.DEGRADED, "the shim of left is not running")
    assert view.ends(talker.domain).ends["video"].state is State.DEGRADED
    talker.hear(ShimReady(1))
    assert channel_of(talker, "video").state is State.INSTALLED
