"""By how much earlier channels are sent whose packets come late: at literal times, and at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.networks import FAST, SLOW, channel, two_hypervisors

from controller.admission.condition import is_admitted
from controller.admission.guarantee import Guarantees
from controller.domain.adaptation import (
    LEAST_NS,
    MOST_PATIENCE_NS,
    PATIENCE_NS,
    STEP_NS,
    WORK_PER_S,
    Adaptations,
    largest_ns,
)
from controller.handlers.declared import ADAPT
from controller.model import Channel, Network, SwitchKind
from controller.peering.messages import MissReport

US, MS, S = 1_000, 1_000_000, 1_000_000_000
WALL_NS = 1_700_000_000 * S
"""The wall clock when ours says 0."""

NETWORK = two_hypervisors(kind=SwitchKind.PLAIN)
VIDEO, AUDIO = (replace(each, on_miss=(ADAPT,)) for each in NETWORK.channels.values())
TALKER, LISTENER = NETWORK.vms.values()


def network_of(*channels: Channel, slack_ns: int = 2 * MS) -> Network:
    return replace(NETWORK, channels={each.name: each for each in channels}).with_slacks({"left": slack_ns})


def urgent(burst_bytes: int) -> Channel:
    """A channel that sends so much at once, due within 1.5 ms: at 100 Mb/s with all else some 14,000 bytes at most."""
    return replace(channel("urgent", TALKER, LISTENER, 19, FAST), burst_bytes=burst_bytes, deadline_ns=1_500 * US)


def report(about: Channel, worst_ns: int, first_ns: int, clock_error_ns: int = 0) -> MissReport:
    """Of misses of which the first arrived at `first_ns`."""
    return MissReport(about.name, 1, 100, worst_ns, worst_ns, 100 * MS, 1, clock_error_ns, WALL_NS + first_ns)


class Script:
    """The adaptations of the channels of `left`, and a shim that takes all at once."""

    def __init__(self, *channels: Channel, slack_ns: int = 2 * MS) -> None:
        self.found = Adaptations()
        self.now_ns = 100 * S
        self.follow(*channels, slack_ns=slack_ns)

    def follow(self, *channels: Channel, slack_ns: int = 2 * MS) -> None:
        self.guarantees = Guarantees(network_of(*channels, slack_ns=slack_ns))
        adapting = [each for each in channels if ADAPT in each.on_miss]
        self.found.follow(self.guarantees, "left", adapting, self.now_ns)
        self.found.take(self.now_ns)

    def miss(self, worst_ns: int, after_ns: int = S, about: Channel = VIDEO, clock_error_ns: int = 0) -> int:
        """After so long, a packet that was late by `worst_ns` has just come. How much earlier are others sent now?"""
        self.now_ns += after_ns
        self.found.hear(about, report(about, worst_ns, self.now_ns, clock_error_ns), WALL_NS, self.now_ns)
        self.found.take(self.now_ns)
        return self.adapted_ns(about)

    def rest(self, seconds: int, about: Channel = VIDEO) -> list[int]:
        """How much earlier it is sent at the end of each of these seconds, without a miss."""
        seen = []
        for _ in range(seconds):
            self.now_ns += S
            self.found.rest(self.now_ns)
            self.found.take(self.now_ns)
            seen.append(self.adapted_ns(about))
        return seen

    def adapted_ns(self, about: Channel = VIDEO) -> int:
        return self.found.adapted_ns.get(about.name, 0)


@pytest.fixture
def script() -> Script:
    return Script(VIDEO, AUDIO)


def test_it_is_earlier_by_the_tardiness_and_half_of_it(script: Script) -> None:
    assert script.miss(1 * MS) == 1_500 * US
    assert script.adapted_ns(AUDIO) == 0


def test_it_is_a_little_earlier_at_least_and_in_whole_steps(script: Script) -> None:
    assert script.miss(1) == LEAST_NS
    assert script.miss(1_000_001) == LEAST_NS + 1_600 * US


def test_further_misses_add_to_it(script: Script) -> None:
    script.miss(1 * MS)
    assert script.miss(400 * US) == 2_100 * US


def test_what_may_be_the_clocks_error_is_no_reason(script: Script) -> None:
    assert script.miss(1 * MS, clock_error_ns=1 * MS) == 0
    assert script.miss(1 * MS, clock_error_ns=600 * US) == 600 * US


def test_packets_that_were_under_way_at_a_change_are_no_reason_for_another(script: Script) -> None:
    """VIDEO takes 5 ms; one that is late by 1 ms was sent 6 ms ago."""
    assert script.miss(1 * MS) == 1_500 * US
    assert script.miss(1 * MS, after_ns=6 * MS - 1) == 1_500 * US
    assert script.miss(1 * MS, after_ns=1) == 3_000 * US


def test_until_the_shim_has_taken_a_change_there_is_no_other(script: Script) -> None:
    script.found.hear(VIDEO, report(VIDEO, MS, script.now_ns), WALL_NS, script.now_ns)
    later_ns = script.now_ns + 10 * S
    script.found.hear(VIDEO, report(VIDEO, MS, later_ns), WALL_NS, later_ns)
    assert script.adapted_ns() == 1_500 * US


def test_a_listener_whose_clock_is_ahead_does_not_hurry_it(script: Script) -> None:
    script.miss(1 * MS)
    ahead_ns = script.now_ns + 3_600 * S
    script.found.hear(VIDEO, report(VIDEO, MS, ahead_ns), WALL_NS, script.now_ns + MS)
    assert script.adapted_ns() == 1_500 * US


def test_it_comes_back_by_halves(script: Script) -> None:
    script.miss(2 * MS)
    quiet = PATIENCE_NS // S
    halves = [3_000 * US] * (quiet - 1) + [1_500 * US] * quiet + [700 * US] * quiet + [0] * quiet
    assert script.rest(4 * quiet - 1) == halves
    assert script.found.by_channel["video"].adapted_ns == 0
    script.rest(1)
    assert script.found.by_channel == {}


def test_a_miss_keeps_it_from_coming_back(script: Script) -> None:
    script.miss(1 * MS)
    script.rest(PATIENCE_NS // S - 1)
    script.miss(1, after_ns=1)
    assert set(script.rest(PATIENCE_NS // S - 1)) == {2_000 * US}


def test_a_miss_after_a_step_back_undoes_it_and_the_next_one_waits_twice_as_long(script: Script) -> None:
    script.miss(2 * MS)
    waited = []
    for _ in range(8):
        seconds = 0
        while script.rest(1) == [3_000 * US]:
            seconds += 1
        waited.append(seconds)
        assert script.miss(100 * US, after_ns=100 * MS) == 3_000 * US
    assert waited == [4, 9, 19, 39, 79, 159, 319, 319]
    assert MOST_PATIENCE_NS == 320 * S


def test_after_a_step_back_that_held_the_next_one_waits_half_as_long(script: Script) -> None:
    script.miss(2 * MS)
    for seconds in (5, 10):
        assert script.rest(seconds)[-1] == 1_500 * US
        script.miss(100 * US, after_ns=100 * MS)
    assert script.rest(54) == [3_000 * US] * 19 + [1_500 * US] * 20 + [700 * US] * 10 + [0] * 5
    assert script.found.by_channel["video"].patience_ns == PATIENCE_NS


def test_also_a_step_back_to_the_plan_can_be_undone(script: Script) -> None:
    script.miss(1)
    assert script.rest(5)[-1] == 0
    assert script.miss(1) == LEAST_NS
    assert script.rest(9) == [LEAST_NS] * 9
    assert script.rest(1) == [0]


def test_what_is_forgotten_begins_anew(script: Script) -> None:
    script.miss(1)
    script.rest(10)
    script.miss(1)
    assert script.rest(5)[-1] == 0


def test_no_more_than_admission_allows() -> None:
    """At 100 Mb/s a frame that has begun, and both bursts, which count as full frames at least, take 0.62 ms."""
    script = Script(VIDEO, AUDIO, slack_ns=50 * MS)
    most_ns = script.miss(40 * MS)
    (port,) = script.guarantees.shims
    link, demands = script.guarantees.paths.edf_link(port), script.guarantees.demands(port)
    video = next(each for each in demands if each.name == "video")
    others = [each for each in demands if each is not video]

    def passes(by_ns: int) -> bool:
        return is_admitted(link, [*others, replace(video, deadline_ns=video.deadline_ns - by_ns)])

    assert most_ns > 4 * MS and passes(most_ns) and not passes(most_ns + STEP_NS)
    assert script.found.by_channel["video"].most_ns == most_ns
    assert script.miss(40 * MS) == most_ns


def test_where_admission_was_overridden_there_is_nothing_to_give() -> None:
    script = Script(VIDEO, urgent(1_000_000))
    assert script.guarantees.refusals
    assert script.miss(1 * MS) == 0


def test_what_others_need_now_is_taken_back() -> None:
    script = Script(VIDEO, AUDIO, slack_ns=50 * MS)
    before_ns = script.miss(40 * MS)
    script.follow(VIDEO, AUDIO, urgent(12_500), slack_ns=50 * MS)
    (port,) = script.guarantees.shims
    most_ns = largest_ns(script.guarantees.paths.edf_link(port), script.guarantees.demands(port), "video", {})
    assert 0 < most_ns - before_ns // 16 <= script.adapted_ns() <= most_ns < before_ns


def test_others_that_need_nothing_change_nothing(script: Script) -> None:
    script.miss(1 * MS)
    before = dict(script.found.by_channel)
    script.follow(VIDEO, AUDIO, urgent(3_000))
    assert script.found.by_channel == before


def test_who_does_not_want_it_any_more_or_is_gone_is_as_planned(script: Script) -> None:
    script.miss(1 * MS)
    script.miss(1 * MS, about=AUDIO)
    script.follow(replace(VIDEO, on_miss=("log",)))
    assert script.found.by_channel == {}


def test_a_deadline_that_became_shorter_than_what_was_adapted(script: Script) -> None:
    assert script.miss(40 * MS, about=AUDIO) == 60 * MS
    short = replace(AUDIO, deadline_ns=6 * MS)
    script.follow(VIDEO, short)
    assert script.adapted_ns(AUDIO) < 6 * MS


def test_a_flood_of_reports_does_not_cost_more_than_some_work_each_second() -> None:
    channels = [replace(channel(f"c{at}", TALKER, LISTENER, 20 + at, SLOW), on_miss=(ADAPT,)) for at in range(200)]
    script = Script(*[replace(each, rate_bps=10_000) for each in channels], slack_ns=90 * MS)
    for each in channels:
        script.found.hear(each, report(each, MS, script.now_ns), WALL_NS, script.now_ns)
    assert len(script.found.adapted_ns) == WORK_PER_S // 200
    script.rest(1)
    for each in channels:
        script.found.hear(each, report(each, MS, script.now_ns), WALL_NS, script.now_ns)
    assert len(script.found.adapted_ns) == 2 * WORK_PER_S // 200


class Machine(RuleBasedStateMachine):
    """Misses, time and changes of channels in any order, at a shim that takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.script = Script(VIDEO, AUDIO, slack_ns=50 * MS)
        self.channels: Mapping[str, Channel] = {each.name: each for each in (VIDEO, AUDIO)}

    @rule(name=st.sampled_from(["video", "audio"]), worst_ns=st.integers(1, S), ago_ns=st.integers(0, S))
    def miss(self, name: str, worst_ns: int, ago_ns: int) -> None:
        if name in self.channels:
            told = report(self.channels[name], worst_ns, self.script.now_ns - ago_ns)
            self.script.found.hear(self.channels[name], told, WALL_NS, self.script.now_ns)

    @rule()
    def take(self) -> None:
        self.script.found.take(self.script.now_ns)

    @rule(seconds=st.integers(1, 20))
    def pass_time(self, seconds: int) -> None:
        before = self.script.found.adapted_ns
        for _ in range(seconds):
            self.script.now_ns += S
            self.script.found.rest(self.script.now_ns)
        after = self.script.found.adapted_ns
        assert all(after.get(name, 0) <= before_ns for name, before_ns in before.items()), "no miss, nothing earlier"

    @rule(
        names=st.sets(st.sampled_from(["video", "audio"])),
        burst_bytes=st.integers(1, 16_000),
        deadline_ns=st.integers(2 * MS, 90 * MS),
    )
    def change(self, names: set[str], burst_bytes: int, deadline_ns: int) -> None:
        audio = replace(AUDIO, deadline_ns=deadline_ns)
        self.channels = {each.name: each for each in (VIDEO, audio) if each.name in names}
        self.script.guarantees = Guarantees(network_of(*self.channels.values(), urgent(burst_bytes), slack_ns=50 * MS))
        self.script.found.follow(self.script.guarantees, "left", self.channels.values(), self.script.now_ns)

    @invariant()
    def all_deadlines_are_kept(self) -> None:
        """Nobody is hurt by it, unless admission was overridden: then there is nothing."""
        adapted_ns = self.script.found.adapted_ns
        for port in self.script.guarantees.shims:
            link, demands = self.script.guarantees.paths.edf_link(port), self.script.guarantees.demands(port)
            due = [replace(each, deadline_ns=each.deadline_ns - adapted_ns.get(each.name, 0)) for each in demands]
            assert not adapted_ns or is_admitted(link, due)
        assert adapted_ns.keys() <= self.channels.keys()

    def teardown(self) -> None:
        """In the end all is as planned."""
        for _ in range(12 * MOST_PATIENCE_NS // S):
            self.script.now_ns += S
            self.script.found.rest(self.script.now_ns)
        assert self.script.found.by_channel == {}


def test_at_random() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=30, stateful_step_count=25, deadline=None))
