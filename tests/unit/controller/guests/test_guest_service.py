"""What guests are answered."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from support.guest_desk import CAMERA, DEADLINE_NS, NETWORK, PORTS, RATE_BPS, SENSOR, Desk, opening
from support.guest_frames import PORT, arp_request, asked_in, asks, says

from controller.domain.lifecycle import State as LifecycleState
from controller.guests.contracts import Asked, Ending
from controller.guests.guest import ERRANDS_AT_ONCE, ERRANDS_PER_S, REMEMBERED_MAX, REMEMBERED_NS, Emit
from controller.guests.leases import LEASE_MAX_S, RETRY_NS, SETTLING_NS
from controller.guests.reading import Talking
from controller.guests.service import REFUSAL_COST, Deed, Service
from controller.guests.subscriptions import SUBSCRIPTIONS_MAX
from controller.peering.messages import MissReport
from controller.store.records import Owner
from controller.units import NS_PER_MS, NS_PER_S
from guest.messages import (
    CHANNELS_MAX,
    SERVICE_IPV4,
    Answer,
    Change,
    Close,
    List,
    Listed,
    Missed,
    Renew,
    State,
    Status,
    Subscribe,
)

REPORT = MissReport("", 3, 100, 7_000, 5_000, 100 * NS_PER_MS, 12, 50, 0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_open_gives_a_channel_that_the_guest_owns(desk: Desk) -> None:
    answer = desk.ask(opening(src_port=6000, burst_bytes=5000, packet_bytes=500))
    assert (answer.state, answer.lease_s, answer.bound_ns) == (State.INSTALLED, 60, 4_000_000)
    (name,) = desk.names
    record = desk.store.now.records[name]
    channel = record.channel
    assert (record.owner, channel.talker, channel.listener, channel.label) == (
        Owner.GUEST,
        "camera",
        "screen",
        answer.channel_id,
    )
    assert (channel.src_port, channel.dst_port, channel.burst_bytes, channel.packet_bytes) == (6000, 7000, 5000, 500)
    assert (channel.deadline_ns, channel.rate_bps, channel.on_miss) == (DEADLINE_NS, RATE_BPS, ("guest",))
    assert name.startswith("camera-")


def test_until_the_domain_has_heard_of_it_it_waits(desk: Desk) -> None:
    desk.is_told = False
    answer = desk.ask(opening())
    assert (answer.status, answer.state, answer.bound_ns) == (Status.DONE, State.WAITING, 0)
    assert desk.ask(Renew(answer.channel_id, 30)).state == State.WAITING
    desk.is_told = True
    assert desk.ask(Renew(answer.channel_id, 30)).state == State.INSTALLED


@pytest.mark.parametrize(
    ("state", "told"),
    [(LifecycleState.INSTALLING, State.INSTALLING), (LifecycleState.DEGRADED, State.DEGRADED),
     (LifecycleState.REFUSED, State.REFUSED), (LifecycleState.OFF, State.REFUSED)],
)  # fmt: skip
def test_a_channel_stands_as_the_domain_says(desk: Desk, state: LifecycleState, told: State) -> None:
    label, desk.state = desk.label(), state
    assert desk.ask(Renew(label, 60)).state == told


def test_what_is_opened_twice_is_one_channel(desk: Desk) -> None:
    before = desk.ask(opening(), now_ns=0)
    revision = desk.store.now.revision
    after = desk.ask(opening(lease_s=100), now_ns=NS_PER_S)
    assert (after.channel_id, after.lease_s) == (before.channel_id, 100)
    assert desk.store.now.revision == revision


def test_opened_with_another_contract_it_is_changed(desk: Desk) -> None:
    label = desk.label()
    assert desk.ask(opening(rate_bps=2 * RATE_BPS)).channel_id == label
    assert len(desk.names) == 1


def test_what_is_asked_again_with_the_same_nonce_is_done_once(desk: Desk) -> None:
    label = desk.label()
    assert desk.ask(Close(label), nonce=5).status == Status.DONE
    again = desk.deeds(Close(label), nonce=5, now_ns=REMEMBERED_NS - 1)
    assert isinstance(again[0], Emit)
    assert says(again[0].frame)[0] == Answer(Status.DONE, State.WAITING, label, 0, 0, 0, 0)
    assert desk.ask(Close(label), nonce=5, now_ns=REMEMBERED_NS).status == Status.UNKNOWN


def test_while_it_is_under_way_it_is_not_begun_again(desk: Desk) -> None:
    assert isinstance(desk.deeds(opening(), nonce=5)[0], Asked)
    assert desk.deeds(opening(), nonce=5) == []
    assert desk.deeds(opening(), nonce=5, now_ns=REMEMBERED_NS) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": ip_address("10.0.0.2")}, "10.0.0.2 is no address of 'camera'"),
        ({"destination": ip_address("10.0.0.99")}, "no VM or host of the topology file has the address 10.0.0.99"),
        ({"destination": CAMERA.addresses[0].ip}, "'camera' is the talker too"),
        ({"protocol": 1}, "1 is none of 6, 17, and not 0 for any"),
        ({"protocol": 0}, "'dst_port' needs a protocol"),
        ({"deadline_ns": 100_000}, "'100000ns' is out of range"),
        ({"deadline_ns": 1 << 62}, "deadline"),
        ({"rate_bps": 0}, "'0bps' is out of range"),
        ({"packet_bytes": 3000}, "packet"),
        ({"burst_bytes": 1 << 31}, "burst"),
        ({"lease_s": 0}, "a lease has 1 to 3600 s"),
        ({"lease_s": LEASE_MAX_S + 1}, "a lease has 1 to 3600 s"),
    ],
)
def test_what_is_invalid_is_refused_with_the_words_of_a_file(desk: Desk, changes: Any, reason: str) -> None:
    answer = desk.ask(opening(**changes))
    assert answer.status == Status.INVALID
    assert reason in answer.reason
    assert desk.names == set()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rate_bps": 10_000_000}, "10.5Mbps on the wire, of 10Mbps"),
        ({"burst_bytes": 65_000}, "65,000 bytes at once, of 64,000"),
        ({"deadline_ns": 2 * NS_PER_MS}, "a deadline of 2ms; 3ms is the least"),
    ],
)
def test_what_the_quota_does_not_allow(desk: Desk, changes: Any, reason: str) -> None:
    answer = desk.ask(opening(**changes))
    assert (answer.status, answer.reason) == (Status.OVER_QUOTA, f"the quota of 'camera' does not allow {reason}")


def test_the_quota_is_of_all_channels_together(desk: Desk) -> None:
    for number in range(4):
        assert desk.ask(opening(7000 + number)).status == Status.DONE
    assert "5 channels; it may have 4" in desk.ask(opening(8000)).reason
    assert desk.ask(opening(7000, rate_bps=7_000_000)).status == Status.OVER_QUOTA
    assert desk.ask(opening(8000, vm=SENSOR, rate_bps=500_000), SENSOR).status == Status.DONE


def test_of_what_admission_refuses_it_is_told_what_would_do(desk: Desk) -> None:
    answer = desk.ask(opening(burst_bytes=60_000))
    assert (answer.status, answer.rate_bps, answer.state) == (Status.REFUSED, 0, State.REFUSED)
    assert answer.reason.startswith("the uplink of left: not all deadlines can be kept")
    assert DEADLINE_NS < answer.deadline_ns < 10 * NS_PER_MS
    assert desk.ask(opening(burst_bytes=60_000, deadline_ns=answer.deadline_ns)).status == Status.DONE


def test_a_refusal_names_no_channel_of_another(desk: Desk) -> None:
    desk.label(burst_bytes=25_000)
    answer = desk.ask(opening(vm=SENSOR, rate_bps=500_000, burst_bytes=50_000), SENSOR)
    assert answer.status == Status.REFUSED
    assert answer.reason.startswith("the uplink of left: not all deadlines can be kept")
    assert not [name for name in desk.store.now.records if name in answer.reason]


def test_packets_of_somebody_elses_channel(desk: Desk) -> None:
    answer = desk.ask(opening(0, protocol=0))
    assert (answer.status, "selects the same packets as 'video'" in answer.reason) == (Status.CONFLICT, True)


def test_change(desk: Desk) -> None:
    label = desk.label(burst_bytes=5000)
    answer = desk.ask(Change(label, 0, 0, 0, 2 * RATE_BPS))
    assert (answer.status, answer.deadline_ns, answer.rate_bps) == (Status.DONE, DEADLINE_NS, 2 * RATE_BPS)
    assert desk.ask(Change(label, 0, 0, 4_000_000, 0)).deadline_ns == 4_000_000
    (name,) = desk.names
    assert desk.store.now.records[name].channel.burst_bytes == 5000
    assert desk.ask(Change(label, 0, 0, 0, 1 << 40)).status == Status.INVALID
    assert desk.ask(Change(label, 0, 0, 0, 20_000_000)).status == Status.OVER_QUOTA


@pytest.mark.parametrize("request_of", [
    lambda label: Renew(label, 60), lambda label: Change(label, 0, 0, 0, 1), Close, lambda label: Subscribe(label, 60),
])  # fmt: skip
def test_a_channel_of_another_is_unknown(desk: Desk, request_of: Any) -> None:
    label = desk.label()
    answer = desk.ask(request_of(label), SENSOR)
    assert answer.status == Status.UNKNOWN
    assert len(desk.names) == 1


@pytest.mark.parametrize("request_of", [lambda label: Renew(label, 60), Close])
def test_a_channel_of_the_file_is_not_the_guests_to_change(desk: Desk, request_of: Any) -> None:
    video = desk.store.now.records["video"].channel.label
    assert desk.ask(request_of(video)).status == Status.UNKNOWN
    assert "video" in desk.store.now.records


def test_a_lease_ends_unless_it_is_renewed(desk: Desk) -> None:
    kept, left = desk.label(), desk.label(port=7001)
    assert desk.ask(Renew(kept, 3600), now_ns=59 * NS_PER_S).lease_s == 3600
    desk.tick(60 * NS_PER_S - 1)
    assert len(desk.names) == 2
    desk.tick(60 * NS_PER_S)
    assert {each.channel.label for name, each in desk.store.now.records.items() if name in desk.names} == {kept}
    assert desk.ask(Renew(left, 60), now_ns=60 * NS_PER_S).status == Status.UNKNOWN


def test_a_lease_that_has_ended_is_not_renewed_while_the_store_is_told(desk: Desk) -> None:
    label = desk.label(lease_s=1)
    opened = {label: next(iter(desk.look("camera").values())).channel}
    assert desk.service.tick(opened, NS_PER_S) == [Ending(CAMERA, label)]
    assert desk.service.tick(opened, 2 * NS_PER_S) == []
    assert desk.ask(Renew(label, 60), now_ns=2 * NS_PER_S).status == Status.UNKNOWN


def test_a_store_that_does_not_answer_is_told_again_of_a_lease_that_has_ended(desk: Desk) -> None:
    desk.label(lease_s=1)
    desk.store.is_away = True
    desk.tick(NS_PER_S)
    desk.store.is_away = False
    desk.tick(NS_PER_S + RETRY_NS - 1)
    assert len(desk.names) == 1
    desk.tick(NS_PER_S + RETRY_NS)
    assert desk.names == set()


def test_what_waits_in_too_long_a_line_is_put_off(desk: Desk) -> None:
    (errand,) = desk.deeds(opening(), nonce=5)
    (emit,) = desk.service.put_off(errand, 0)
    assert says(emit.frame)[0].status == Status.BUSY
    assert desk.ask(opening(), nonce=5).status == Status.DONE


def test_the_end_of_a_lease_that_finds_no_room_is_tried_again(desk: Desk) -> None:
    desk.label(lease_s=1)
    opened = {each.channel.label: each.channel for each in desk.look("camera").values()}
    (ending,) = desk.service.tick(opened, NS_PER_S)
    assert desk.service.put_off(ending, NS_PER_S) == []
    assert desk.service.tick(opened, NS_PER_S + RETRY_NS) == [ending]


def test_a_store_that_does_not_answer_makes_guests_wait(desk: Desk) -> None:
    desk.store.is_away = True
    answer = desk.ask(opening())
    assert (answer.status, answer.reason) == (Status.BUSY, "the store does not answer")


def test_after_a_restart_what_the_store_has_gets_the_longest_lease(desk: Desk) -> None:
    label = desk.label(lease_s=1)
    desk.service = Service(NETWORK, "left", desk.look)
    desk.tick(NS_PER_S)
    desk.tick((LEASE_MAX_S + 1) * NS_PER_S - 1)
    assert len(desk.names) == 1
    desk.tick((LEASE_MAX_S + 1) * NS_PER_S)
    assert desk.names == set()
    assert desk.ask(Renew(label, 60), now_ns=5000 * NS_PER_S).status == Status.UNKNOWN


def test_after_a_restart_it_is_renewed_at_once(desk: Desk) -> None:
    label = desk.label()
    desk.service = Service(NETWORK, "left", desk.look)
    assert desk.ask(Renew(label, 60)).status == Status.DONE
    assert desk.ask(List(0)).channels[-1].lease_s in (0, 60)


def test_what_an_operator_has_removed_has_no_lease_after_a_while(desk: Desk) -> None:
    label = desk.label()
    (name,) = desk.names
    desk.store.change(desk.store.clerk.remove(name, Owner.GUEST))
    desk.tick(SETTLING_NS - 1)
    assert desk.ask(Renew(label, 60), now_ns=SETTLING_NS - 1).status == Status.DONE
    desk.tick(SETTLING_NS)
    assert desk.ask(Renew(label, 60), now_ns=SETTLING_NS).status == Status.UNKNOWN


def test_a_list_is_in_order_and_in_parts(desk: Desk) -> None:
    channel = desk.store.now.records["video"].channel
    many = {
        100 + at: Talking(replace(channel, label=100 + at), False, LifecycleState.INSTALLED, None) for at in range(40)
    }
    desk.service = Service(NETWORK, "left", lambda _: dict(reversed(many.items())))
    labels, after = [], 0
    while found := desk.ask(List(after)).channels:
        assert len(found) <= CHANNELS_MAX
        labels += [each.channel_id for each in found]
        after = labels[-1]
    assert labels == list(many)


def test_a_list_says_what_each_channel_is(desk: Desk) -> None:
    label = desk.label()
    found = desk.ask(List(0))
    assert isinstance(found, Listed)
    mine = next(each for each in found.channels if each.channel_id == label)
    assert (mine.lease_s, mine.state, mine.protocol, mine.dst_port) == (60, State.INSTALLED, 17, 7000)
    assert (mine.deadline_ns, mine.rate_bps) == (DEADLINE_NS, RATE_BPS)


def heard(deeds: list[Deed]) -> list[tuple[Any, int]]:
    return [says(deed.frame) for deed in deeds if isinstance(deed, Emit)]


def test_who_subscribes_is_called_up(desk: Desk) -> None:
    label = desk.label()
    channel = desk.look("camera")[label].channel
    assert desk.ask(Subscribe(label, 60), nonce=9).status == Status.DONE
    ((missed, nonce),) = heard(desk.service.call_up(channel, REPORT, 60 * NS_PER_S - 1))
    assert missed == Missed(label, 3, 100, 12, 7_000, 5_000, 100 * NS_PER_MS, 50)
    assert nonce == 9
    assert desk.service.call_up(channel, REPORT, 60 * NS_PER_S) == []


def test_of_all_channels_those_that_tell_guests(desk: Desk) -> None:
    label = desk.label()
    desk.ask(Subscribe(0, 60), nonce=9)
    video = desk.store.now.records["video"].channel
    for channel in (desk.look("camera")[label].channel, video):
        assert desk.service.may_hear_of(channel)
        assert [nonce for _, nonce in heard(desk.service.call_up(channel, REPORT, 0))] == [9]
    assert desk.service.call_up(replace(video, talker="sensor"), REPORT, 0) == []


def test_a_report_that_no_clock_can_have_made_is_told_as_well_as_a_datagram_can(desk: Desk) -> None:
    channel = desk.store.now.records["video"].channel
    desk.ask(Subscribe(0, 60))
    strange = replace(REPORT, misses=2**33, packets=2**64, worst_ns=-1, mean_ns=-1, window_ns=2**65)
    ((missed, _),) = heard(desk.service.call_up(channel, strange, 0))
    assert (missed.misses, missed.packets, missed.window_ns) == (2**32 - 1, 2**64 - 1, 2**64 - 1)
    assert (missed.worst_ns, missed.mean_ns) == (0, 0)


@pytest.mark.parametrize("other", [{"on_miss": ("log",)}, {"talker": "archive"}, {"talker": "screen"}])
def test_nobody_hears_of_channels_that_do_not_tell_guests_or_of_talkers_that_may_not_ask(
    desk: Desk, other: dict[str, Any]
) -> None:
    assert not desk.service.may_hear_of(replace(desk.store.now.records["video"].channel, **other))


def test_a_channel_that_does_not_tell_guests_cannot_be_subscribed_to(desk: Desk) -> None:
    video = replace(desk.store.now.records["video"].channel, on_miss=("log",))
    desk.service = Service(
        NETWORK, "left", lambda _: {video.label: Talking(video, False, LifecycleState.INSTALLED, None)}
    )
    answer = desk.ask(Subscribe(video.label, 60))
    assert (answer.status, answer.reason) == (Status.INVALID, "the on_miss of channel 'video' lacks 'guest'")


def test_a_subscription_ends_when_asked_to_and_the_last_nonce_counts(desk: Desk) -> None:
    label = desk.label()
    channel = desk.look("camera")[label].channel
    desk.ask(Subscribe(0, 60), nonce=9)
    desk.ask(Subscribe(0, 60), nonce=10)
    assert [nonce for _, nonce in heard(desk.service.call_up(channel, REPORT, 0))] == [10]
    desk.ask(Subscribe(0, 0))
    assert desk.service.call_up(channel, REPORT, 0) == []


def test_subscriptions_have_an_end(desk: Desk) -> None:
    for port in range(SUBSCRIPTIONS_MAX):
        desk.hear(asks(CAMERA, Subscribe(0, 60), port=1000 + port))
    assert desk.ask(Subscribe(0, 60)).status == Status.OVER_QUOTA
    desk.tick(60 * NS_PER_S)
    assert desk.ask(Subscribe(0, 60)).status == Status.DONE
    assert desk.ask(Subscribe(0, LEASE_MAX_S + 1)).status == Status.INVALID


def test_who_has_the_store_do_too_much_is_put_off(desk: Desk) -> None:
    answers = [desk.ask(opening()).status for _ in range(ERRANDS_AT_ONCE + 1)]
    assert answers == [Status.DONE] * ERRANDS_AT_ONCE + [Status.BUSY]
    assert desk.ask(opening(vm=SENSOR, rate_bps=500_000), SENSOR).status == Status.DONE
    assert desk.ask(opening(), now_ns=NS_PER_S // ERRANDS_PER_S).status == Status.DONE


def test_a_refusal_costs_more(desk: Desk) -> None:
    too_much = opening(burst_bytes=60_000)
    refused = ERRANDS_AT_ONCE // (REFUSAL_COST + 1) + 1
    answers = [desk.ask(too_much).status for _ in range(refused + 1)]
    assert answers == [Status.REFUSED] * refused + [Status.BUSY]


def test_no_more_is_remembered_than_there_is_room_for(desk: Desk) -> None:
    """However fast the budget comes back."""
    guest = desk.service._by_name["camera"]
    for number in range(REMEMBERED_MAX):
        guest.budget.take(-1, 0)
        desk.deeds(opening(), nonce=number)
    guest.budget.take(-1, 0)
    (emit,) = desk.deeds(opening(), nonce=1000)
    assert isinstance(emit, Emit)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        asked_in(b"RTVG", CAMERA.mac, CAMERA.addresses[0].ip),
        asks(SENSOR, List(0)),
        asked_in(b"x", CAMERA.mac, ip_address("10.0.0.2")),
        asked_in(b"x", SENSOR.mac, CAMERA.addresses[0].ip),
    ],
    ids=["no frame", "no message", "another's frame", "another's address", "another's MAC address"],
)
def test_what_is_no_question_is_counted_and_not_answered(desk: Desk, frame: bytes) -> None:
    assert desk.hear(frame) == []
    assert desk.service.books({}, {})["camera"].malformed == 1


def test_the_services_address_is_told(desk: Desk) -> None:
    (emit,) = desk.hear(arp_request(CAMERA.mac, CAMERA.addresses[0].ip))
    assert isinstance(emit, Emit) and emit.port == PORTS["camera"]
    assert SERVICE_IPV4.packed in emit.frame


def test_a_port_of_nobody_who_may_ask_is_not_heard(desk: Desk) -> None:
    assert desk.service.hear(PORTS["archive"], asks(NETWORK.vms["archive"], List(0)), 0) == []
    assert desk.service.name_at(PORTS["archive"]) is None


def test_books(desk: Desk) -> None:
    desk.label()
    desk.ask(Renew(1, 60))
    desk.ask(Subscribe(0, 60))
    desk.service.call_up(desk.store.now.records["video"].channel, REPORT, 0)
    book = desk.service.books({"camera": 7}, {"camera": 4})["camera"]
    assert (book.requests, book.refused, book.busy, book.subscriptions, book.call_ups) == (3, 1, 0, 1, 1)
    assert (book.crowded_out, book.call_ups_dropped) == (7, 4)
    assert PORT > 0
