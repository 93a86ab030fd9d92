"""When a handler's turn is, and what is summed up until then."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.miss_handlers import CHANNEL, reported

from controller.handlers.turns import CHANNELS_MAX, End, How, Start, Turns, summed
from controller.units import NS_PER_MS, NS_PER_S

DONE = End(How.DONE)
AUDIO = replace(CHANNEL, name="audio")


def test_the_first_miss_starts_at_once() -> None:
    turns = Turns(NS_PER_S)
    assert (turns.take(0), turns.due_ns) == (None, None)
    turns.add(CHANNEL, reported(), now_ns=5)
    assert turns.due_ns == 5
    assert turns.take(5) == Start(CHANNEL, reported())
    assert (turns.take(5), turns.due_ns, turns.running, turns.counts.started) == (None, None, 1, 1)


def test_what_comes_meanwhile_is_one_start_when_its_time_has_come() -> None:
    turns = Turns(NS_PER_S)
    turns.add(CHANNEL, reported(), 0)
    first = turns.take(0)
    assert first is not None
    turns.end(first, DONE, 10)
    turns.add(CHANNEL, reported(misses=2, worst_ns=9, mean_ns=6, first_at_ns=50), 100)
    turns.add(CHANNEL, reported(misses=1, worst_ns=5, mean_ns=3, first_at_ns=80, total_misses=20), 200)
    assert (turns.due_ns, turns.take(NS_PER_S - 1)) == (NS_PER_S, None)
    second = turns.take(NS_PER_S)
    assert second is not None
    assert (second.report.misses, second.report.worst_ns, second.report.mean_ns) == (3, 9, 5)
    assert (second.report.first_at_ns, second.report.total_misses) == (50, 20)
    assert turns.counts.summed == 1


def test_a_channel_waits_for_its_own_start_to_end_and_for_no_other() -> None:
    turns = Turns(100)
    turns.add(CHANNEL, reported(), 0)
    first = turns.take(0)
    assert first is not None
    turns.add(CHANNEL, reported(misses=4), 10)
    turns.add(AUDIO, reported("audio"), 10)
    assert turns.take(1000) == Start(AUDIO, reported("audio"))
    assert (turns.take(1000), turns.due_ns, turns.waiting) == (None, None, 1)
    turns.end(first, DONE, 1001)
    assert turns.take(1001) == Start(CHANNEL, reported(misses=4))


def test_who_is_due_the_longest_comes_first() -> None:
    turns = Turns(100)
    for now_ns, channel in enumerate((CHANNEL, AUDIO)):
        turns.add(channel, reported(channel.name), now_ns)
    assert [start.channel.name for start in (turns.take(50), turns.take(50)) if start] == ["video", "audio"]


def test_what_has_no_room_is_dropped_and_counted() -> None:
    turns = Turns(NS_PER_S)
    for number in range(CHANNELS_MAX + 1):
        turns.add(replace(CHANNEL, name=f"c{number}"), reported(), 0)
    assert (turns.waiting, turns.counts.dropped) == (CHANNELS_MAX, 1)
    turns.add(replace(CHANNEL, name="c0"), reported(), 0)
    assert (turns.counts.summed, turns.counts.dropped) == (1, 1)


def test_starts_of_long_ago_are_forgotten() -> None:
    turns = Turns(10)
    for now_ns in range(100):
        turns.add(replace(CHANNEL, name=f"c{now_ns}"), reported(), now_ns)
        start = turns.take(now_ns)
        assert start is not None
        turns.end(start, DONE, now_ns)
    assert len(turns._last_ns) <= 11


def test_how_starts_end_is_counted() -> None:
    turns = Turns(1)
    ends = [DONE, End(How.FAILED, "fell over", tries=3), End(How.TIMED_OUT, "slept"), DONE]
    for now_ns, end in enumerate(ends):
        turns.add(CHANNEL, reported(), now_ns)
        start = turns.take(now_ns)
        assert start is not None
        turns.end(start, end, now_ns)
    counts = turns.counts
    assert (counts.started, counts.failed, counts.timed_out, counts.retried, counts.why) == (4, 1, 1, 2, "slept")


def test_a_sum_of_nothing_has_no_mean() -> None:
    assert summed(reported(misses=0), reported(misses=0)).mean_ns == 0


class Any(RuleBasedStateMachine):
    """Every history of reports, starts and ends. No miss gets lost; no channel starts too soon, or twice at a time."""

    EVERY_NS = 10 * NS_PER_MS

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns(self.EVERY_NS)
        self.now_ns = 0
        self.given = self.taken = 0
        self.running: list[Start] = []
        self.last_ns: dict[str, int] = {}

    @rule(name=st.sampled_from("abc"), misses=st.integers(1, 5))
    def add(self, name: str, misses: int) -> None:
        self.given += misses
        self.turns.add(replace(CHANNEL, name=name), reported(name, misses=misses), self.now_ns)

    @rule(by_ns=st.integers(0, 2 * EVERY_NS))
    def wait(self, by_ns: int) -> None:
        self.now_ns += by_ns

    @rule()
    def take(self) -> None:
        due_ns = self.turns.due_ns
        start = self.turns.take(self.now_ns)
        assert (start is not None) == (due_ns is not None and due_ns <= self.now_ns)
        if start is not None:
            name = start.channel.name
            assert name not in {each.channel.name for each in self.running}
            assert self.now_ns >= self.last_ns.get(name, -self.EVERY_NS) + self.EVERY_NS
            self.last_ns[name] = self.now_ns
            self.taken += start.report.misses
            self.running.append(start)

    @precondition(lambda self: self.running)
    @rule(index=st.integers(0, 10))
    def end(self, index: int) -> None:
        self.turns.end(self.running.pop(index % len(self.running)), DONE, self.now_ns)

    @invariant()
    def no_miss_is_lost(self) -> None:
        waiting = sum(start.report.misses for start in self.turns._waiting.values())
        assert self.given == self.taken + waiting

    @invariant()
    def what_waits_gets_its_turn(self) -> None:
        held_up = {start.channel.name for start in self.running}
        free = self.turns._waiting.keys() - held_up
        assert (self.turns.due_ns is not None) == bool(free)
        if self.turns.due_ns is not None:
            assert self.turns.due_ns <= self.now_ns + self.EVERY_NS


TestAnyHistory = Any.TestCase
