"""Which switch is which, and what becomes of its sender when it comes, goes, or comes twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.examples import example
from support.fake_datapath import FakeDatapath
from support.waiting import Mailbox, wait_until

from controller.domain.events import (
    AskContents,
    Confirmed,
    Contents,
    ContentsReported,
    Send,
    SwitchConnected,
    SwitchGone,
)
from controller.openflow.switches import Switches

# isort: split
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

NETWORK = example("ovs_core")
LEFT, EAST, WEST = (NETWORK.datapath_id(name) for name in ("left", "east", "west"))


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def switches(mailbox: Mailbox) -> Iterator[Switches]:
    """Those of the domain `left`: its bridge `left` and the switch `east`."""
    made = Switches(NETWORK, "left", mailbox.post, lambda *_: None)
    yield made
    for sender in made._senders.values():
        sender.stop()
        sender._thread.join(10)


def test_a_switch_that_connects_is_told_by_its_name(switches: Switches, mailbox: Mailbox) -> None:
    switches.connect(FakeDatapath(EAST))
    switches.connect(FakeDatapath(LEFT))
    assert (mailbox.next(), mailbox.next()) == (SwitchConnected("east"), SwitchConnected("left"))


def test_it_tells_at_once_which_of_its_ports_are_down(switches: Switches, mailbox: Mailbox) -> None:
    datapath = FakeDatapath(LEFT, ports=range(1, 6))
    datapath.ports[2].state, datapath.ports[4].config = ofp.OFPPS_LINK_DOWN, ofp.OFPPC_PORT_DOWN
    switches.connect(datapath)
    assert mailbox.next() == SwitchConnected("left", frozenset({2, 4}))
    assert mailbox.is_empty


def test_an_order_goes_to_the_switch_that_it_names(switches: Switches) -> None:
    left, east = FakeDatapath(LEFT), FakeDatapath(EAST)
    switches.connect(left)
    switches.connect(east)
    switches.order(AskContents("east"))
    assert isinstance(east.next(), parser.OFPGroupDescStatsRequest)
    assert left.messages.empty()


def test_an_order_for_a_switch_that_is_not_there_is_dropped(switches: Switches) -> None:
    switches.order(AskContents("left"))
    datapath = FakeDatapath(LEFT)
    switches.connect(datapath)
    switches.order(Send("left", 1, ()))
    assert isinstance(datapath.next(), parser.OFPBarrierRequest)


def test_a_switch_of_nobody_or_of_another_domain_is_logged_once_and_left_alone(
    switches: Switches, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    stranger, other = FakeDatapath(0xABC), FakeDatapath(WEST)
    for datapath in (stranger, other, stranger, stranger, other):
        switches.connect(datapath)
    assert caplog.messages == [
        f"a switch with datapath id {datapath_id:016x} is not in the topology file: left alone"
        for datapath_id in (0xABC, WEST)
    ]
    assert stranger.messages.empty() and other.messages.empty()
    assert switches.sender_of(stranger) is None
    switches.disconnect(stranger)
    assert mailbox.is_empty


def test_a_switch_that_goes_is_told_and_its_sender_ends(switches: Switches, mailbox: Mailbox) -> None:
    datapath = FakeDatapath(LEFT)
    switches.connect(datapath)
    sender = switches.sender_of(datapath)
    assert sender is not None
    switches.disconnect(datapath)
    assert (mailbox.next(), mailbox.next()) == (SwitchConnected("left"), SwitchGone("left"))
    wait_until(lambda: not sender._thread.is_alive())
    assert switches.sender_of(datapath) is None
    switches.order(AskContents("left"))
    assert datapath.messages.empty()


def test_a_second_connection_takes_the_place_of_the_first(switches: Switches, mailbox: Mailbox) -> None:
    first, second = FakeDatapath(LEFT), FakeDatapath(LEFT)
    switches.connect(first)
    former = switches.sender_of(first)
    assert former is not None
    switches.connect(second)
    assert (mailbox.next(), mailbox.next()) == (SwitchConnected("left"), SwitchConnected("left"))
    wait_until(lambda: not former._thread.is_alive())
    assert switches.sender_of(first) is None
    switches.order(Send("left", 7, ()))
    (barrier,) = second.until_barrier()
    assert first.messages.empty()
    sender = switches.sender_of(second)
    assert sender is not None
    sender.on_barrier(barrier.xid)
    assert mailbox.next() == Confirmed("left", 7)


def test_the_end_of_the_first_connection_is_not_the_end_of_the_second(switches: Switches, mailbox: Mailbox) -> None:
    first, second = FakeDatapath(LEFT), FakeDatapath(LEFT)
    switches.connect(first)
    switches.connect(second)
    switches.disconnect(first)
    sender = switches.sender_of(second)
    assert sender is not None
    sender._post(ContentsReported("left", Contents()))
    assert [mailbox.next() for _ in range(3)][2] == ContentsReported("left", Contents())
    assert mailbox.is_empty


def test_no_more_strangers_are_remembered_than_there_is_room_for(
    switches: Switches, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("controller.openflow.switches.STRANGERS_MAX", 2)
    for datapath_id in (0xA, 0xB, 0xC, 0xD):
        switches.connect(FakeDatapath(datapath_id))
    assert len(caplog.messages) == len(switches._strangers) == 2
