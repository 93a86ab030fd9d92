"""What those who watch a domain are told, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.domains import Driver, S, peer_tells
from support.examples import distinct
from support.networks import two_hypervisors

from controller.domain.domain import Domain
from controller.domain.events import (
    ChannelsTold,
    Event,
    MissCount,
    Missed,
    PeerGone,
    Proof,
    Publish,
    QueuesProbed,
    QueuesReported,
    ShimGone,
    ShimReady,
    SwitchGone,
    Tick,
)
from controller.domain.lifecycle import State
from controller.domain.notices import Change, ChannelNotice, MissNotice, Notice, StateNotice, TroubleNotice
from controller.domain.reports import Role
from controller.model import Scheduler, SwitchKind
from controller.network.wiring import UPLINK_PORT
from controller.store.records import StoreBack, StoreGone

NETWORK = distinct(two_hypervisors(kind=SwitchKind.PLAIN))
MS = 1_000_000


def told(domain: Domain, event: Event, now_ns: int = S) -> list[Notice]:
    commands = domain.handle(event, now_ns)
    return [notice for each in commands if isinstance(each, Publish) for notice in each.notices]


@pytest.fixture
def left() -> Driver:
    """The domain `left`, all of it installed."""
    driver = Driver(NETWORK, "left")
    driver.connect()
    driver.hear(peer_tells(NETWORK, "right", Role.LISTENER))
    return driver


def late(*lateness_ns: int, label: int = 17) -> Missed:
    return Missed(
        tuple({"label": label, "lateness_ns": each, "at_ns": 0} for each in lateness_ns),
        (counted(label, len(lateness_ns), max(lateness_ns)),),
    )


def counted(label: int, misses: int, worst_ns: int) -> MissCount:
    return MissCount(label, misses, misses, worst_ns, worst_ns, 100 * MS, misses, 0)


def test_channels_that_come_change_and_go(left: Driver) -> None:
    video, audio = NETWORK.channels["video"], NETWORK.channels["audio"]
    changed = replace(video, burst_bytes=4000)
    new = replace(audio, name="new", label=19)
    found = told(left.domain, ChannelsTold({"video": changed, "new": new}))
    changes = {each.channel: each.change for each in found if isinstance(each, ChannelNotice)}
    assert changes == {"video": Change.CHANGED, "new": Change.ADDED, "audio": Change.REMOVED}


def test_the_same_channels_again_are_no_news(left: Driver) -> None:
    assert told(left.domain, ChannelsTold(NETWORK.channels)) == []


def test_a_shim_that_goes_and_comes_back(left: Driver) -> None:
    def states(found: list[Notice]) -> set[tuple[str, State, str]]:
        return {(each.channel, each.state, each.why) for each in found if isinstance(each, StateNotice)}

    gone = told(left.domain, ShimGone("is not running"))
    why = "the shim of left is not running"
    assert states(gone) == {("video", State.DEGRADED, why), ("audio", State.DEGRADED, why)}
    assert [each for each in gone if isinstance(each, TroubleNotice)] == [
        TroubleNotice(domain="left", at_ns=S, of="shim", name="left", is_over=False, why="is not running")
    ]
    back = told(left.domain, ShimReady(left.revision), 2 * S)
    assert states(back) == {("video", State.INSTALLED, ""), ("audio", State.INSTALLED, "")}
    assert [(each.of, each.is_over) for each in back if isinstance(each, TroubleNotice)] == [("shim", True)]


def test_a_queue_that_is_proved_without_a_shim() -> None:
    network = NETWORK.with_scheduler(Scheduler.QUEUES)
    driver = Driver(network, "left")
    driver.connect()
    driver.hear(peer_tells(network, "right", Role.LISTENER))
    found = told(driver.domain, QueuesProbed("left", {(UPLINK_PORT, 5): Proof.PROVED}))
    assert [(each.channel, each.state) for each in found if isinstance(each, StateNotice)] == [
        ("video", State.INSTALLED)
    ]


@pytest.mark.parametrize(
    ("trouble", "part"),
    [
        (SwitchGone("left"), ("switch", "left")),
        (PeerGone("right", "is not running"), ("peer", "right")),
        (StoreGone("does not answer"), ("store", "")),
    ],
)
def test_trouble_is_told_once(left: Driver, trouble: Event, part: tuple[str, str]) -> None:
    first = [each for each in told(left.domain, trouble) if isinstance(each, TroubleNotice)]
    assert [(each.of, each.name, each.is_over) for each in first] == [(*part, False)]
    assert first[0].why
    assert told(left.domain, trouble) == []


def test_the_end_of_trouble(left: Driver) -> None:
    left.domain.handle(StoreGone("does not answer"), S)
    (over,) = told(left.domain, StoreBack())
    assert isinstance(over, TroubleNotice) and (over.of, over.is_over) == ("store", True)


def test_the_wall_clock_is_told(left: Driver) -> None:
    left.domain.handle(Tick(wall_ns=1_000 * S), 10 * S)
    (notice,) = told(left.domain, StoreGone("does not answer"), 12 * S)
    assert notice.at_ns == 1_002 * S


def sums(found: list[Notice]) -> list[tuple[str, int, int]]:
    return [(each.channel, each.count, each.worst_lateness_ns) for each in found if isinstance(each, MissNotice)]


def test_the_first_miss_at_once_then_sums_of_100_ms(left: Driver) -> None:
    def misses(event: Event, now_ns: int) -> list[tuple[str, int, int]]:
        return sums(told(left.domain, event, now_ns))

    assert misses(late(5), S) == [("video", 1, 5)]
    assert misses(late(9, 7), S + 50 * MS) == []
    assert misses(late(1, label=18), S + 60 * MS) == [("audio", 1, 1)]
    assert misses(late(8), S + 100 * MS) == [("video", 3, 9)]
    assert misses(late(6), S + 101 * MS) == []
    assert misses(QueuesReported("left", ()), S + 250 * MS) == [("video", 1, 6)], "whatever happens next"
    assert misses(Tick(), 2 * S) == []


def test_misses_are_told_as_counted_although_only_some_come_one_by_one(left: Driver) -> None:
    event = replace(late(5, 7), counts=(counted(17, 10_000, 9), counted(18, 1, 3)))
    assert sums(told(left.domain, event)) == [("audio", 1, 3), ("video", 10_000, 9)]


def test_a_miss_of_no_channel_is_not_told(left: Driver) -> None:
    assert told(left.domain, late(5, label=999)) == []
