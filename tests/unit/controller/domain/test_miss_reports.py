"""The way of a miss through both domains: from the shim's count to the command that handles it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.domains import Driver, S, books, domain_of, peer_tells, statistics
from support.networks import two_hypervisors

from controller.domain.domain import Domain
from controller.domain.events import (
    ChannelsTold,
    HandleMisses,
    MissCount,
    Missed,
    MissesReported,
    PeerGone,
    PeerJoined,
    PeerReported,
    ReportMisses,
    ShimReported,
    TellEnds,
    Tick,
)
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Role
from controller.peering.messages import MissReport

NETWORK = two_hypervisors()
COUNT = MissCount(17, 3, 10, 700, 500, 100, 33, 99)
REPORT = MissReport("video", 3, 10, 700, 500, 100, 33, 0, 99)


@pytest.fixture
def talker() -> Domain:
    return domain_of(NETWORK, "left")


def test_the_listeners_domain_reports_to_the_talkers() -> None:
    listener = domain_of(NETWORK, "right")
    strange = MissCount(999, *[1] * 7)
    commands = listener.handle(Missed((), (COUNT, strange)), S)
    assert [each for each in commands if isinstance(each, ReportMisses)] == [ReportMisses("left", (REPORT,))]


def test_the_talkers_domain_has_them_handled(talker: Domain) -> None:
    commands = talker.handle(MissesReported("right", (REPORT,)), S)
    assert commands == [HandleMisses(talker.channels["video"], REPORT)]
    assert talker.total_misses == {17: 33}


def test_whoever_is_not_the_listeners_controller_is_not_believed(talker: Domain) -> None:
    assert talker.handle(MissesReported("middle", (REPORT,)), S) == []
    unknown = MissReport("unknown", *[1] * 8)
    assert talker.handle(MissesReported("right", (unknown,)), S) == []
    listener = domain_of(NETWORK, "right")
    assert listener.handle(MissesReported("left", (REPORT,)), S) == []


def test_what_the_ends_say_makes_up_for_reports_that_were_lost(talker: Domain) -> None:
    talker.handle(MissesReported("right", (REPORT,)), S)
    for missed, expected in ((30, 33), (40, 40)):
        end = EndReport(role=Role.LISTENER, state=State.INSTALLED, missed=missed)
        talker.handle(PeerReported("right", {"video": end}), S)
        assert talker.remote_end(talker.channels["video"]).missed == expected


def missed(talker: Domain, told: int | None) -> int | None:
    """On `video`, in all, once the listener's end has `told` so many."""
    end = EndReport(role=Role.LISTENER, state=State.INSTALLED, missed=told)
    talker.handle(PeerReported("right", {"video": end}), S)
    return talker.remote_end(talker.channels["video"]).missed


def test_a_listeners_shim_that_counts_anew_is_believed(talker: Domain) -> None:
    talker.handle(MissesReported("right", (REPORT,)), S)
    assert [missed(talker, told) for told in (30, 33, 0, 1)] == [33, 33, 0, 1]


def test_a_listeners_controller_that_knows_no_counts_yet_says_nothing_of_its_shim(talker: Domain) -> None:
    assert missed(talker, None) is None
    talker.handle(MissesReported("right", (REPORT,)), S)
    assert [missed(talker, told) for told in (33, None, 33)] == [33, 33, 33]
    assert [missed(talker, told) for told in (None, 0, 1)] == [33, 0, 1], "it counts anew"


def test_a_report_of_a_shim_that_counts_anew_may_come_before_what_the_end_says(talker: Domain) -> None:
    talker.handle(MissesReported("right", (REPORT,)), S)
    assert missed(talker, 33) == 33
    talker.handle(MissesReported("right", (replace(REPORT, total_misses=2),)), S)
    assert [missed(talker, told) for told in (0, 1, 2)] == [2, 2, 2]


def test_the_misses_of_a_channel_that_is_gone_are_forgotten(talker: Domain) -> None:
    video = NETWORK.channels["video"]
    for again in (video, replace(video, label=99)):
        talker.handle(ChannelsTold(NETWORK.channels), S)
        talker.handle(MissesReported("right", (REPORT,)), S)
        assert missed(talker, 0) == 33
        if again is video:
            talker.handle(ChannelsTold({"audio": NETWORK.channels["audio"]}), S)
            assert talker.total_misses == {}
        talker.handle(ChannelsTold({**NETWORK.channels, "video": again}), S)
        assert missed(talker, None) is None


def test_a_channel_that_changes_keeps_its_misses(talker: Domain) -> None:
    talker.handle(MissesReported("right", (REPORT,)), S)
    changed = replace(NETWORK.channels["video"], deadline_ns=3_000_000)
    talker.handle(ChannelsTold({**NETWORK.channels, "video": changed}), S)
    assert missed(talker, 0) == 33


def told(commands: list[object]) -> list[TellEnds]:
    return [command for command in commands if isinstance(command, TellEnds)]


def test_a_session_begins_with_all_ends_and_each_second_all_are_told(talker: Domain) -> None:
    assert told(talker.handle(Tick(), S)) == []
    (first,) = told(talker.handle(PeerJoined("right", is_same_host=True), S))
    assert (first.domain, first.is_all, set(first.ends)) == ("right", True, {"video", "audio"})
    (again,) = told(talker.handle(Tick(), 2 * S))
    assert again.is_all
    talker.handle(PeerGone("right", "is not running"), 2 * S)
    assert told(talker.handle(Tick(), 3 * S)) == []


def test_a_peer_is_told_what_the_shim_has_counted_as_soon_as_that_is_known() -> None:
    right = domain_of(NETWORK, "right")
    (first,) = told(right.handle(PeerJoined("left", is_same_host=True), S))
    assert {end.missed for end in first.ends.values()} == {None}
    (news,) = told(right.handle(ShimReported(statistics({17: books(missed=33)}, {})), S))
    assert {name: end.missed for name, end in news.ends.items()} == {"video": 33, "audio": 0}
    assert told(right.handle(ShimReported(statistics({17: books(missed=34)}, {})), S)) == []


def test_a_talker_waits_until_the_listener_knows_its_last_change() -> None:
    script = Driver(NETWORK, "left")
    script.hear(ChannelsTold(NETWORK.channels, versions={"video": 2, "audio": 2}))
    script.connect()
    for version, state in ((1, State.WAITING), (2, State.INSTALLED)):
        script.hear(peer_tells(NETWORK, "right", Role.LISTENER, version=version))
        assert script.domain.ends["video"].state is state
