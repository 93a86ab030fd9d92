"""A domain whose channels want `adapt`: what it has its shim do when misses are reported, and what it says of that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.domains import S
from support.examples import distinct
from support.networks import two_hypervisors

from controller.domain.adaptation import PATIENCE_NS
from controller.domain.domain import Domain
from controller.domain.events import (
    ChannelsTold,
    Command,
    Event,
    HandleMisses,
    MissesReported,
    Publish,
    SetShim,
    ShimReady,
    Tick,
)
from controller.domain.notices import AdaptationNotice
from controller.model import Network, Scheduler, SwitchKind
from controller.peering.messages import MissReport
from controller.rest import view
from controller.rest.resources import AdaptationView

MS = 1_000_000
WALL_NS = 1_700_000_000 * S


def network_of(*on_miss: str, scheduler: Scheduler = Scheduler.EDF) -> Network:
    """All channels want `on_miss`."""
    found = distinct(two_hypervisors(scheduler, SwitchKind.PLAIN))
    return replace(found, channels={name: replace(each, on_miss=on_miss) for name, each in found.channels.items()})


class Script:
    """The domain `name` at 10 s, its shim at work, and what it has ordered last."""

    def __init__(self, network: Network, name: str = "left") -> None:
        self.domain, self.now_ns, self.revision = Domain(network, name), 10 * S, 0
        self.hear(ChannelsTold(network.channels))
        self.hear(Tick(WALL_NS + self.now_ns))
        self.take()

    def hear(self, event: Event, after_ns: int = 0) -> list[Command]:
        self.now_ns += after_ns
        self.ordered = self.domain.handle(event, self.now_ns)
        self.revision = max([self.revision, *(each.revision for each in self.ordered if isinstance(each, SetShim))])
        return self.ordered

    def take(self) -> None:
        """The shim has taken its settings."""
        self.hear(ShimReady(self.revision))

    def report(self, *channels: str, worst_ns: int = MS, domain: str = "right", after_ns: int = S) -> list[Command]:
        first_ns = WALL_NS + self.now_ns + after_ns
        reports = (MissReport(each, 1, 100, worst_ns, worst_ns, 100 * MS, 1, 0, first_ns) for each in channels)
        return self.hear(MissesReported(domain, tuple(reports)), after_ns)

    def set_shims(self) -> list[SetShim]:
        return [each for each in self.ordered if isinstance(each, SetShim)]

    def notices(self) -> list[tuple[str, int]]:
        published = [notice for each in self.ordered if isinstance(each, Publish) for notice in each.notices]
        return [(each.channel, each.adapted_ns) for each in published if isinstance(each, AdaptationNotice)]

    def adaptation(self, channel: str = "video") -> AdaptationView | None:
        found = view.channel(self.domain, channel)
        assert found is not None
        return found.adaptation


@pytest.fixture
def script() -> Script:
    return Script(network_of("log", "adapt"))


def test_the_shim_is_told_at_once_and_of_nothing_else(script: Script) -> None:
    planned = script.domain.guarantees.downstream_ns(script.domain.channels["video"])
    script.report("video")
    (order,) = script.set_shims()
    assert order.settings.channels[17]["downstream_ns"] == planned + 1_500_000
    assert order.settings.channels[18]["downstream_ns"] == planned
    assert any(isinstance(each, HandleMisses) for each in script.ordered), "the other handlers hear of it as well"


def test_reports_of_several_channels_are_one_order(script: Script) -> None:
    script.report("video", "audio")
    assert len(script.set_shims()) == 1
    assert script.notices() == [("audio", 1_500_000), ("video", 1_500_000)]


def test_rest_says_what_it_is_and_since_when(script: Script) -> None:
    assert script.adaptation() == AdaptationView(adapted_ns=0, most_ns=None, since_ns=None)
    script.report("video")
    found = script.adaptation()
    assert found is not None and found.most_ns is not None
    assert (found.adapted_ns, found.since_ns) == (1_500_000, WALL_NS + script.now_ns)
    assert found.adapted_ns <= found.most_ns < script.domain.channels["video"].deadline_ns


def test_the_deadline_that_packets_are_stamped_with_stays(script: Script) -> None:
    before = view.channel(script.domain, "video")
    script.report("video")
    after = view.channel(script.domain, "video")
    assert before is not None and after is not None
    assert (after.deadline_ns, after.deadline_label) == (before.deadline_ns, before.deadline_label)


def test_it_comes_back_by_itself(script: Script) -> None:
    script.report("video")
    script.take()
    told: list[tuple[str, int]] = []
    orders: list[SetShim] = []
    for _ in range(4 * PATIENCE_NS // S):
        script.hear(Tick(WALL_NS + script.now_ns + S), S)
        told += script.notices()
        orders += script.set_shims()
        script.take()
    assert told == [("video", 700_000), ("video", 0)]
    assert script.adaptation() == AdaptationView(adapted_ns=0, most_ns=None, since_ns=None)
    planned = script.domain.guarantees.downstream_ns(script.domain.channels["video"])
    assert len(orders) == 2 and orders[-1].settings.channels[17]["downstream_ns"] == planned


def test_nothing_more_until_the_shim_has_taken_it(script: Script) -> None:
    script.report("video")
    script.report("video")
    assert script.set_shims() == []
    script.hear(ShimReady(script.revision - 1))
    script.report("video")
    assert script.set_shims() == []
    script.take()
    script.report("video")
    assert len(script.set_shims()) == 1


def test_it_goes_with_its_channel(script: Script) -> None:
    script.report("video")
    rest = {name: each for name, each in script.domain.channels.items() if name != "video"}
    script.hear(ChannelsTold(rest))
    assert script.notices() == [("video", 0)]
    assert script.domain.adaptations.by_channel == {}


def test_who_does_not_ask_for_it_is_as_planned() -> None:
    script = Script(network_of("log"))
    script.report("video")
    assert script.set_shims() == [] and script.notices() == []
    assert script.adaptation() is None


def test_at_the_listener_nothing_is_known_of_it() -> None:
    script = Script(network_of("adapt"), "right")
    script.report("video", domain="left")
    assert script.set_shims() == []
    assert script.adaptation() is None


def test_a_stranger_has_no_say(script: Script) -> None:
    script.report("video", domain="left")
    assert script.set_shims() == []


def test_without_a_shim_there_is_nothing_to_adapt() -> None:
    script = Script(network_of("adapt", scheduler=Scheduler.QUEUES))
    script.report("video")
    assert script.adaptation() is None
