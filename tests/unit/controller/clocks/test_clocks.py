"""What a domain does with its clock and its peers': who is told, what the shim holds, what is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.domains import Driver, S, books, class_books, peer_tells, statistics
from support.networks import two_hypervisors

from controller.clocks.clock import TRUST_NS, UNKNOWN_NS, Clock, Source
from controller.domain.domain import Domain
from controller.domain.events import (
    ChannelsTold,
    ClockRead,
    Command,
    Event,
    MissCount,
    Missed,
    PeerClockReported,
    PeerGone,
    PeerJoined,
    Publish,
    ReportMisses,
    SetShim,
    ShimReported,
    Tell,
    TellClock,
    Tick,
    WatchClock,
)
from controller.domain.lifecycle import State
from controller.domain.notices import MissNotice
from controller.domain.reports import Role
from controller.model import Endpoint, Network
from controller.rest import view

OWN = Clock(Source.CHRONY, 80_000, "UTC")
STEADY = replace(OWN, error_ns=100_000)
OTHER = Clock(Source.CHRONY, 50_000, "UTC")
LOST = Clock(Source.CHRONY, why="is not synchronised")
VIDEO = 17


def distant() -> Network:
    """Both controllers can be reached from other machines."""
    network = two_hypervisors()
    hypervisors = {
        name: replace(each, controller=Endpoint(f"192.0.2.{each.datapath_id}", 1, 2, 3))
        for name, each in network.hypervisors.items()
    }
    return replace(network, hypervisors=hypervisors)


class Listener:
    """The domain `right`, in which both channels of `network` end."""

    def __init__(self, network: Network) -> None:
        self.domain = Domain(network, "right")
        self.commands: list[Command] = []
        self.hear(ChannelsTold(network.channels))

    def hear(self, *events: Event, now_ns: int = S) -> list[Command]:
        """What it orders in answer to `events`, of all that has to do with clocks."""
        self.commands = [command for event in events for command in self.domain.handle(event, now_ns)]
        return [each for each in self.commands if isinstance(each, WatchClock | TellClock | SetShim)]

    @property
    def settings_ns(self) -> int:
        """The clock error that the shim was last told of for `video`."""
        assert self.domain._settings is not None
        return int(self.domain._settings.channels[VIDEO]["clock_error_ns"])

    @property
    def shown(self) -> tuple[int | None, bool, tuple[str, ...]]:
        health = view.health(self.domain)
        problems = tuple(problem for problem in health.problems if problem.startswith("the clock"))
        return self.domain.clock_error_ns(self.domain.channels["video"]), health.is_healthy, problems


@pytest.fixture
def listener() -> Listener:
    return Listener(distant())


def joined(listener: Listener) -> Listener:
    listener.hear(PeerJoined("left", is_same_host=False))
    return listener


def test_on_one_machine_nobody_looks_at_the_clock_and_nothing_is_in_doubt() -> None:
    listener = Listener(two_hypervisors())
    assert listener.hear(PeerJoined("left", is_same_host=True), Tick()) == []
    assert (listener.settings_ns, listener.shown[0], listener.shown[2]) == (0, 0, ())
    assert view.clock(listener.domain).source is Source.SAME_HOST


def test_a_peer_that_turns_out_to_be_on_this_machine_ends_the_watch(listener: Listener) -> None:
    watch, shim = listener.hear(PeerJoined("left", is_same_host=True))
    assert (watch, isinstance(shim, SetShim)) == (WatchClock(False), True)
    assert listener.settings_ns == 0


def test_a_peer_on_this_machine_by_its_address_may_be_on_another() -> None:
    listener = Listener(two_hypervisors())
    watch, clock, shim = listener.hear(PeerJoined("left", is_same_host=False))
    assert watch == WatchClock(True)
    assert isinstance(clock, TellClock) and clock.clock.error_ns is None
    assert isinstance(shim, SetShim) and listener.settings_ns == UNKNOWN_NS


def test_what_both_clocks_may_be_off_is_what_the_shim_forgives(listener: Listener) -> None:
    assert listener.settings_ns == UNKNOWN_NS, "nothing is known yet"
    joined(listener)
    assert listener.hear(ClockRead(OWN)) == [TellClock("left", STEADY)]
    (shim,) = listener.hear(PeerClockReported("left", OTHER))
    assert isinstance(shim, SetShim) and listener.settings_ns == 150_000
    assert listener.shown == (150_000, False, ())
    assert listener.hear(ClockRead(replace(OWN, error_ns=90_000))) == [], "that is still within the bound"


def test_a_clock_that_is_lost_is_a_trouble_and_puts_all_in_doubt_at_once(listener: Listener) -> None:
    joined(listener).hear(ClockRead(OWN), PeerClockReported("left", OTHER))
    tell, shim = listener.hear(ClockRead(LOST))
    assert (tell, isinstance(shim, SetShim)) == (TellClock("left", LOST), True)
    assert listener.settings_ns == UNKNOWN_NS
    assert listener.shown[::2] == (None, ("the clock of right is not synchronised",))
    (published,) = [each for each in listener.commands if isinstance(each, Publish)]
    assert [(each.of, each.name) for each in published.notices if each.kind == "trouble"] == [("clock", "right")]  # type: ignore[attr-defined]
    listener.hear(*[ClockRead(OWN)] * 3)
    assert listener.shown[::2] == (150_000, ())


@pytest.mark.parametrize(
    ("clock", "problem"),
    [
        (LOST, "the clock of left is not synchronised"),
        (Clock(Source.PTP, 10, "beb8b9"), "the clock of left follows beb8b9, and this one UTC"),
    ],
)
def test_a_peers_clock_that_is_no_good_is_told_of(listener: Listener, clock: Clock, problem: str) -> None:
    joined(listener).hear(ClockRead(OWN), PeerClockReported("left", clock))
    assert listener.shown[::2] == (None, (problem,))


def test_a_peer_that_is_away_is_trusted_for_a_while(listener: Listener) -> None:
    joined(listener).hear(ClockRead(OWN), PeerClockReported("left", OTHER))
    listener.hear(PeerGone("left", "is not running"), Tick(), now_ns=S + TRUST_NS)
    assert listener.shown[0] == 150_000
    listener.hear(Tick(), now_ns=S + TRUST_NS + 1)
    assert listener.shown[::2] == (None, ("the clock of left was not heard of for a while",))


def test_the_clock_is_told_once_a_second_to_those_who_listen(listener: Listener) -> None:
    assert listener.hear(ClockRead(OWN), Tick()) == [], "there is no session"
    assert TellClock("left", STEADY) in joined(listener).commands
    assert listener.hear(Tick()) == [TellClock("left", STEADY)]


def test_each_verdict_says_how_good_the_clocks_were(listener: Listener) -> None:
    joined(listener).hear(ClockRead(OWN), PeerClockReported("left", OTHER))
    single = {"label": VIDEO, "lateness_ns": 700, "at_ns": 99}
    commands = listener.domain.handle(Missed((single,), (MissCount(VIDEO, 3, 10, 700, 500, 100, 33, 99),)), S)
    (report,) = [each for command in commands if isinstance(command, ReportMisses) for each in command.reports]
    (notice,) = [each for command in commands if isinstance(command, Publish) for each in command.notices]
    (miss,) = view.misses(listener.domain)
    assert isinstance(notice, MissNotice)
    assert report.clock_error_ns == notice.clock_error_ns == miss.clock_error_ns == 150_000


def test_both_ends_show_what_is_in_doubt() -> None:
    network = two_hypervisors()
    right = Driver(network, "right")
    right.connect()
    book = books(missed=1, within_clock_error=4, unjudged=2)
    told = statistics({VIDEO: book}, {5: class_books() | book})
    told["egress"]["clock_steps"] = 3
    right.hear(peer_tells(network, "left", Role.TALKER), ShimReported(told))
    left = Driver(network, "left")
    left.connect()
    left.hear(peer_tells(network, "right", Role.LISTENER), PeerJoined("right", is_same_host=True))
    left.domain.peers["right"] = replace(left.domain.peers["right"], ends=view.ends(right.domain).ends)
    for driver in (left, right):
        found = view.channel(driver.domain, "video")
        assert found is not None and found.state is State.INSTALLED
        assert (found.missed, found.within_clock_error, found.unjudged, found.clock_error_ns) == (1, 4, 2, 0)
    assert [(each.within_clock_error, each.unjudged) for each in view.classes(right.domain)] == [(4, 2), (0, 0)]
    assert view.clock(right.domain).steps == 3


def test_the_clock_of_a_peer_is_shown(listener: Listener) -> None:
    joined(listener).hear(ClockRead(OWN), PeerClockReported("left", OTHER))
    found = view.clock(listener.domain)
    assert (found.source, found.error_ns, found.reference, found.why) == (Source.CHRONY, 100_000, "UTC", "")
    (left,) = found.peers
    assert (left.domain, left.error_ns, left.difference_ns) == ("left", 50_000, 150_000)
    assert view.peers(listener.domain)[0].clock_difference_ns == 150_000


def test_a_clock_that_was_set_is_told_of(listener: Listener) -> None:
    for steps, is_told in ((1, False), (1, False), (2, True), (2, False), (1, False)):
        told = statistics({}, {}) | {"egress": {"clock_steps": steps}}
        listener.hear(ShimReported(told))
        words = [each.what for each in listener.commands if isinstance(each, Tell)]
        assert words == ["the wall clock of right was set"] * is_told
