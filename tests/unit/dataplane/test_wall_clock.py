"""The C core's idea of the wall clock, at readings of any quality, and what it makes of a lateness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dataplane._core import ffi, lib

BOOT_WALL_NS = 1_700_000_000_000_000_000
STEP_NS: int = lib.WALL_CLOCK_STEP_NS
DOUBT_NS: int = lib.WALL_CLOCK_DOUBT_NS
HOUR_NS = 3600 * 10**9


@dataclass(frozen=True)
class Reading:
    """After `pause_ns`, and after the clock was set by `step_ns`: the wall clock is read in the midst of a while."""

    pause_ns: int
    before_ns: int
    after_ns: int
    step_ns: int = 0


def readings(steps_ns: st.SearchStrategy[int]) -> st.SearchStrategy[list[Reading]]:
    gaps_ns = st.integers(0, 3_000_000)
    one = st.builds(Reading, st.integers(0, 10**9), gaps_ns, gaps_ns, steps_ns)
    return st.lists(one, min_size=1, max_size=30)


class Follower:
    """The core's clock, and the true times beside it."""

    def __init__(self) -> None:
        self.clock: Any = ffi.new("struct wall_clock *")
        self.mono_ns = 10**9
        self.offset_ns = BOOT_WALL_NS

    def follow(self, reading: Reading) -> bool:
        self.offset_ns += reading.step_ns
        earliest_ns = self.mono_ns + reading.pause_ns
        wall_ns = earliest_ns + reading.before_ns + self.offset_ns
        self.mono_ns = earliest_ns + reading.before_ns + reading.after_ns
        moment = ffi.new("struct moment *", (earliest_ns, wall_ns, self.mono_ns))
        return bool(lib.wall_clock_follow(self.clock, moment))

    @property
    def is_in_doubt(self) -> bool:
        return bool(lib.wall_clock_is_in_doubt(self.clock, self.mono_ns))


@given(readings(st.just(0)))
def test_a_clock_that_nobody_sets_never_steps_however_badly_it_is_read(sequence: list[Reading]) -> None:
    follower = Follower()
    for reading in sequence:
        assert not follower.follow(reading)
        assert not follower.is_in_doubt
        assert follower.clock.offset_ns <= follower.offset_ns <= follower.clock.offset_most_ns
    best_ns = min(each.before_ns + each.after_ns for each in sequence)
    assert follower.clock.offset_most_ns - follower.clock.offset_ns <= best_ns


@example([Reading(0, 2_799_529, 0), Reading(0, 0, 1, 2_799_530), Reading(0, 0, 0, -100_001)])
@given(readings(st.integers(-HOUR_NS, HOUR_NS)))
def test_a_step_that_a_reading_can_tell_is_seen(sequence: list[Reading]) -> None:
    follower = Follower()
    unseen_ns = 0
    for number, reading in enumerate(sequence):
        loosely_ns = follower.clock.offset_most_ns - follower.clock.offset_ns + reading.before_ns + reading.after_ns
        has_stepped = follower.follow(reading)
        can_tell = abs(reading.step_ns) > STEP_NS + loosely_ns + unseen_ns
        unseen_ns = 0 if has_stepped else unseen_ns + abs(reading.step_ns)
        if number and can_tell:
            assert has_stepped
            assert follower.is_in_doubt
            assert follower.clock.doubt_end_ns == follower.mono_ns + DOUBT_NS


@given(st.sampled_from((10_000_000, -10_000_000, HOUR_NS, -HOUR_NS)), st.integers(0, 2 * DOUBT_NS))
def test_after_a_step_stamps_say_nothing_for_half_a_wrap(step_ns: int, pause_ns: int) -> None:
    follower = Follower()
    follower.follow(Reading(0, 20, 20))
    assert follower.follow(Reading(10**9, 20, 20, step_ns))
    assert not follower.follow(Reading(pause_ns, 20, 20))
    assert follower.is_in_doubt == (pause_ns + 40 < DOUBT_NS)


@given(st.integers(-(10**10), 10**10), st.integers(0, 10**10))
def test_a_lateness_is_a_miss_or_within_the_clocks_error_or_none(lateness_ns: int, clock_error_ns: int) -> None:
    is_miss = lib.books_is_miss(lateness_ns, clock_error_ns)
    is_uncertain = lib.books_is_uncertain(lateness_ns, clock_error_ns)
    assert is_miss + is_uncertain == (lateness_ns > 0)
    assert is_miss == (lateness_ns > 0 and lateness_ns - clock_error_ns > 0)
