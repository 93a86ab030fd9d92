"""The conversation with one switch: a batch, a barrier, and what comes back."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from support.fake_datapath import FakeDatapath, flow_stats, multipart
from support.waiting import Mailbox, wait_until

from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    Confirmed,
    Contents,
    ContentsReported,
    MetersReported,
    QueueCount,
    QueuesReported,
    Refused,
    Send,
    Traffic,
)
from controller.openflow import sender as sender_module
from controller.openflow.pipeline import COOKIE_MARK, FORWARD, ClosedPort, Entry, FlowEntry, Meter, Purpose
from controller.openflow.sender import Sender

# isort: split
from os_ken.ofproto import ofproto_v1_3_parser as parser

FIRST, SECOND, THIRD = (FlowEntry(FORWARD, priority, {}, Purpose.FORWARDING) for priority in (1, 2, 3))


@pytest.fixture
def datapath() -> FakeDatapath:
    return FakeDatapath()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def sender(datapath: FakeDatapath, mailbox: Mailbox) -> Iterator[Sender]:
    made = Sender("left", datapath, mailbox.post)
    yield made
    made.stop()
    made._thread.join(10)
    assert not made._thread.is_alive()


def batch(number: int, *entries: Entry) -> Send:
    return Send("left", number, entries)


def assert_is_waiting(sender: Sender, datapath: FakeDatapath) -> None:
    """That a batch is not confirmed yet: were it so, the question behind it would be sent at once."""
    sender.order(AskContents("left"))
    with pytest.raises(queue.Empty):
        datapath.messages.get(timeout=0.05)


def test_a_batch_ends_with_a_barrier_and_is_confirmed_by_its_answer(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox
) -> None:
    sender.order(batch(7, FIRST, SECOND))
    *flows, barrier = datapath.until_barrier()
    assert [message.priority for message in flows] == [1, 2]
    assert mailbox.is_empty
    sender.on_barrier(barrier.xid)
    assert mailbox.next() == Confirmed("left", 7)


def test_each_message_has_an_identity_of_its_own(sender: Sender, datapath: FakeDatapath) -> None:
    sender.order(batch(7, FIRST, SECOND))
    messages = datapath.until_barrier()
    assert len({message.xid for message in messages}) == 3
    sender.on_barrier(messages[-1].xid)


def test_a_refusal_is_told_before_the_confirmation(sender: Sender, datapath: FakeDatapath, mailbox: Mailbox) -> None:
    sender.order(batch(7, FIRST, SECOND, THIRD))
    first, _, third, barrier = datapath.until_barrier()
    sender.on_error(third.xid, "no room")
    sender.on_error(first.xid, "no sense")
    sender.on_barrier(barrier.xid)
    assert [mailbox.next() for _ in range(3)] == [
        Refused("left", 7, THIRD, "no room"),
        Refused("left", 7, FIRST, "no sense"),
        Confirmed("left", 7),
    ]


def test_an_entry_for_a_port_that_is_not_there_is_refused_without_being_sent(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox
) -> None:
    sender.order(batch(7, ClosedPort(99), FIRST))
    flow, barrier = datapath.until_barrier()
    assert isinstance(flow, parser.OFPFlowMod)
    sender.on_barrier(barrier.xid)
    assert mailbox.next() == Refused("left", 7, ClosedPort(99), "the switch has no port 99")
    assert mailbox.next() == Confirmed("left", 7)


def test_an_entry_that_no_message_has_room_for_is_refused_alone(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox
) -> None:
    large = Meter(1, 1 << 32, 24)
    sender.order(batch(7, large, FIRST))
    flow, barrier = datapath.until_barrier()
    assert isinstance(flow, parser.OFPFlowMod)
    sender.on_barrier(barrier.xid)
    refused, confirmed = mailbox.next(), mailbox.next()
    assert isinstance(refused, Refused) and refused.entry == large
    assert refused.why.startswith("there is no message for it: ")
    assert confirmed == Confirmed("left", 7)
    sender.order(AskQueues("left"))
    assert isinstance(datapath.next(), parser.OFPQueueStatsRequest)


def test_a_meter_that_is_there_already_is_no_trouble(sender: Sender, datapath: FakeDatapath, mailbox: Mailbox) -> None:
    sender.order(batch(7, Meter(1, 1000, 24)))
    added, changed, barrier = datapath.until_barrier()
    sender.on_error(added.xid, "it exists")
    sender.on_error(changed.xid, "no room")
    sender.on_barrier(barrier.xid)
    assert mailbox.next() == Refused("left", 7, Meter(1, 1000, 24), "no room")
    assert mailbox.next() == Confirmed("left", 7)


def test_an_error_that_is_no_answer_to_a_batch_is_logged_only(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    sender.on_error(4711, "what is this")
    assert "the switch left: what is this" in caplog.text
    sender.order(batch(7))
    sender.on_barrier(datapath.next().xid)
    assert mailbox.next() == Confirmed("left", 7)


def test_the_next_batch_waits_for_the_answer_to_the_first(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox
) -> None:
    sender.order(batch(7, FIRST))
    sender.order(batch(8, SECOND))
    flow, barrier = datapath.until_barrier()
    assert datapath.messages.empty()
    sender.on_barrier(barrier.xid)
    assert mailbox.next() == Confirmed("left", 7)
    _, next_barrier = datapath.until_barrier()
    sender.on_error(flow.xid, "too late to be of the second batch")
    sender.on_barrier(next_barrier.xid)
    assert mailbox.next() == Confirmed("left", 8)


def test_another_barriers_answer_confirms_nothing(sender: Sender, datapath: FakeDatapath, mailbox: Mailbox) -> None:
    sender.order(batch(7, FIRST))
    flow, barrier = datapath.until_barrier()
    sender.on_barrier(flow.xid)
    sender.on_barrier(0)
    assert_is_waiting(sender, datapath)
    sender.on_barrier(barrier.xid)
    assert mailbox.next() == Confirmed("left", 7)


def test_a_switch_that_does_not_answer_refuses_the_batch(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "BARRIER_TIMEOUT_S", 0.01)
    sender.order(batch(7, FIRST))
    assert mailbox.next() == Refused("left", 7, None, "no answer within 0.01 s")
    assert mailbox.next() == Confirmed("left", 7)


def test_an_answer_that_comes_too_late_does_not_confirm_the_next_batch(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "BARRIER_TIMEOUT_S", 0.01)
    sender.order(batch(7, FIRST))
    late = datapath.until_barrier()[-1]
    assert isinstance(mailbox.next(), Refused)
    assert isinstance(mailbox.next(), Confirmed)
    monkeypatch.setattr(sender_module, "BARRIER_TIMEOUT_S", 20.0)
    set_xid = datapath.set_xid

    def late_answer_while_the_next_is_sent(message: object) -> int:
        if isinstance(message, parser.OFPFlowMod):
            sender.on_barrier(late.xid)
        return set_xid(message)

    monkeypatch.setattr(datapath, "set_xid", late_answer_while_the_next_is_sent)
    sender.order(batch(8, SECOND))
    barrier = datapath.until_barrier()[-1]
    assert_is_waiting(sender, datapath)
    assert mailbox.is_empty
    sender.on_barrier(barrier.xid)
    assert mailbox.next() == Confirmed("left", 8)


def test_questions(sender: Sender, datapath: FakeDatapath) -> None:
    sender.order(AskContents("left"))
    sender.order(AskQueues("left"))
    kinds = [type(datapath.next()) for _ in range(4)]
    assert kinds == [
        parser.OFPGroupDescStatsRequest,
        parser.OFPMeterConfigStatsRequest,
        parser.OFPFlowStatsRequest,
        parser.OFPQueueStatsRequest,
    ]


def test_a_question_waits_for_the_batch_before_it(sender: Sender, datapath: FakeDatapath) -> None:
    sender.order(batch(7, FIRST))
    sender.order(AskContents("left"))
    barrier = datapath.until_barrier()[-1]
    assert datapath.messages.empty()
    sender.on_barrier(barrier.xid)
    assert isinstance(datapath.next(), parser.OFPGroupDescStatsRequest)


def test_a_question_that_waits_is_not_asked_twice(sender: Sender, datapath: FakeDatapath) -> None:
    sender.order(batch(7, FIRST))
    barrier = datapath.until_barrier()[-1]
    for _ in range(3):
        sender.order(AskQueues("left"))
        sender.order(AskMeters("left"))
    sender.on_barrier(barrier.xid)
    kinds = [parser.OFPQueueStatsRequest, parser.OFPMeterStatsRequest]
    assert [type(datapath.next()) for _ in kinds] == kinds
    sender.order(AskQueues("left"))
    assert isinstance(datapath.next(), parser.OFPQueueStatsRequest)
    assert datapath.messages.empty()


def test_an_answer_in_parts_is_told_once_it_is_whole(sender: Sender, mailbox: Mailbox) -> None:
    one, two = COOKIE_MARK | 1, COOKIE_MARK | 2
    sender.on_flows(multipart(flow_stats((one, 1, 60)), has_more=True))
    sender.on_flows(multipart(flow_stats((two, 2, 120), (one, 1, 60)), has_more=True))
    assert mailbox.is_empty
    sender.on_flows(multipart([]))
    assert mailbox.next() == ContentsReported("left", Contents(flows={one: Traffic(2, 120), two: Traffic(2, 120)}))
    sender.on_flows(multipart(flow_stats((two, 5, 300))))
    assert mailbox.next() == ContentsReported("left", Contents(flows={two: Traffic(5, 300)}))


def test_queues_are_told_once_they_are_whole(sender: Sender, mailbox: Mailbox) -> None:
    def queues(*numbers: int) -> list[object]:
        return [
            SimpleNamespace(port_no=1, queue_id=number, tx_packets=number, tx_bytes=60, tx_errors=0)
            for number in numbers
        ]

    sender.on_queues(multipart(queues(1, 2), has_more=True))
    assert mailbox.is_empty
    sender.on_queues(multipart(queues(3)))
    told = tuple(QueueCount(1, number, Traffic(number, 60), 0) for number in (1, 2, 3))
    assert mailbox.next() == QueuesReported("left", told)
    sender.on_queues(multipart([]))
    assert mailbox.next() == QueuesReported("left", ())


def meters(*numbers: int) -> list[object]:
    """Each has dropped as many packets as its number says."""
    return [SimpleNamespace(meter_id=each, band_stats=[SimpleNamespace(packet_band_count=each)]) for each in numbers]


def test_meters_are_told_once_they_are_whole(sender: Sender, mailbox: Mailbox) -> None:
    sender.on_meters(multipart(meters(1, 2), has_more=True))
    assert mailbox.is_empty
    sender.on_meters(multipart(meters(3)))
    assert mailbox.next() == MetersReported("left", {1: 1, 2: 2, 3: 3})
    sender.on_meters(multipart(meters(4)))
    assert mailbox.next() == MetersReported("left", {4: 4})


def test_nothing_is_told_after_the_end(datapath: FakeDatapath, mailbox: Mailbox) -> None:
    sender = Sender("left", datapath, mailbox.post)
    sender.order(batch(7, FIRST))
    datapath.until_barrier()
    sender.stop()
    sender._thread.join(10)
    assert not sender._thread.is_alive()
    sender.on_flows(multipart([]))
    assert mailbox.is_empty


def test_a_switch_that_is_far_behind_is_hung_up_on_and_the_log_says_so(
    datapath: FakeDatapath, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender_module, "ORDERS_MAX", 2)
    sender = Sender("left", datapath, mailbox.post)
    sender.order(batch(1))
    datapath.until_barrier()
    with caplog.at_level(logging.WARNING):
        for number in range(2, 4):
            sender.order(batch(number))
        assert not datapath.is_closed
        sender.order(batch(4))
    assert datapath.is_closed
    assert caplog.messages == ["the switch left is too slow, 2 orders wait for it: hung up"]
    assert mailbox.is_empty, "who orders is the domain's thread, which must not wait for its own queue"
    sender.stop()  # though the orders are full
    sender._thread.join(10)
    assert not sender._thread.is_alive()


def test_its_thread_says_whose_it_is(sender: Sender) -> None:
    wait_until(lambda: "sender of left" in [thread.name for thread in threading.enumerate()])


def test_a_switch_that_tells_without_end_is_hung_up_on(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "CONTENTS_MAX", 3)
    for number in range(3):
        sender.on_flows(multipart(flow_stats((COOKIE_MARK | number, 1, 60)), has_more=True))
    assert not datapath.is_closed
    sender.on_groups(multipart([SimpleNamespace(group_id=7, type=0, buckets=[])], has_more=True))
    assert datapath.is_closed
    sender.on_flows(multipart([]))
    assert mailbox.next() == ContentsReported("left", Contents())


def test_so_is_one_that_tells_of_meters_without_end(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "CONTENTS_MAX", 3)
    sender.on_meters(multipart(meters(1, 2, 3), has_more=True))
    assert not datapath.is_closed
    sender.on_meters(multipart(meters(4), has_more=True))
    assert datapath.is_closed and mailbox.is_empty


def test_a_message_is_refused_once_however_often_the_switch_says_so(
    sender: Sender, datapath: FakeDatapath, mailbox: Mailbox
) -> None:
    sender.order(batch(7, FIRST))
    flow, barrier = datapath.until_barrier()
    for _ in range(3):
        sender.on_error(flow.xid, "no room")
    sender.on_barrier(barrier.xid)
    assert [mailbox.next(), mailbox.next()] == [Refused("left", 7, FIRST, "no room"), Confirmed("left", 7)]
