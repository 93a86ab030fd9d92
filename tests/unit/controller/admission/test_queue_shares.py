"""Class queues: what part of a port each class gets, and what delay that assures; by hand and by rule."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.networks import FAST, SLOW, channel, vm

from controller.admission.queues import FLOOR_DIVISOR, Asked, class_bounds_ns, shares
from controller.model import Channel, DeadlineClass
from controller.units import NS_PER_MS, NS_PER_S

RATE_BPS = 100_000_000
FLOOR_BPS = RATE_BPS // FLOOR_DIVISOR
CLASSES = (FAST, SLOW)
LATENCY_NS = {1: 247_360, 2: 371_040}
"""By how many classes have channels: full labelled frames of 1,546 bytes at 100 Mb/s, one for each and one more."""

TALKER, LISTENER = vm("vm1", "left", 1), vm("vm2", "right", 2)


def video(name: str = "video", wire_bps: int = 1_000_000, burst_bytes: int = 12_500, deadline_ms: int = 5) -> Channel:
    """A channel of the class FAST. By default its burst needs 20 Mb/s to be sent within 5 ms."""
    made = channel(name, TALKER, LISTENER, 17, FAST, rate_bps=wire_bps * 1472 // 1546)
    return replace(made, burst_bytes=burst_bytes, deadline_ns=deadline_ms * NS_PER_MS)


def audio(name: str = "audio", burst_bytes: int = 125_000) -> Channel:
    """A channel of the class SLOW. By default its burst needs 10 Mb/s to be sent within 100 ms."""
    return replace(channel(name, TALKER, LISTENER, 18, SLOW, rate_bps=1_000_000), burst_bytes=burst_bytes)


def asked(channels: Sequence[Channel]) -> dict[str, Asked]:
    """What they ask of a port at which each arrives as its contract says."""
    return {members[0].deadline_class.name: asked_together(members) for members in by_class(channels)}


def asked_together(members: Sequence[Channel]) -> Asked:
    burst_bytes = sum(each.wire_burst_bytes for each in members)
    rate_bps, shortest_ns = sum(each.wire_rate_bps for each in members), min(each.deadline_ns for each in members)
    return Asked(rate_bps, burst_bytes, burst_bytes, shortest_ns)


def rates(channels: Sequence[Channel], classes: Sequence[DeadlineClass] = CLASSES) -> dict[str, int]:
    return {name: share.rate_bps for name, share in shares(RATE_BPS, classes, asked(channels)).items()}


def bounds(channels: Sequence[Channel], classes: Sequence[DeadlineClass] = CLASSES) -> dict[str, int | None]:
    return class_bounds_ns(RATE_BPS, classes, asked(channels))


def test_without_channels_each_class_has_the_floor() -> None:
    assert rates([]) == {"fast": FLOOR_BPS, "slow": FLOOR_BPS}
    assert bounds([]) == {}


def test_one_class_gets_all_but_the_floors() -> None:
    assert rates([video()]) == {"fast": 98 * FLOOR_BPS, "slow": FLOOR_BPS}


def test_what_is_left_is_split_by_need() -> None:
    """20 Mb/s and 10 Mb/s of need share the 97 Mb/s that are left of three floors."""
    assert rates([video(), audio()]) == {"fast": FLOOR_BPS + 64_666_666, "slow": FLOOR_BPS + 32_333_333}


def test_a_rate_that_is_more_than_its_burst_needs_is_the_need() -> None:
    """40 Mb/s on the wire against the 10 Mb/s of the other class: four parts and one."""
    fast = rates([video(wire_bps=40_000_000), audio()])["fast"]
    assert fast == pytest.approx(FLOOR_BPS + 97_000_000 * 4 // 5, abs=1)


def test_a_class_with_hardly_a_need_has_the_floor_too() -> None:
    hardly = replace(audio(burst_bytes=1546), rate_bps=1000)
    assert rates([video(wire_bps=90_000_000), hardly])["slow"] >= FLOOR_BPS


def test_a_limit_bounds_the_share_and_so_the_delay() -> None:
    """12,500 bytes take 20 ms at the 5 Mb/s of the limit, however fast the port is."""
    limited = replace(FAST, limit_bps=5_000_000)
    member = replace(video(), deadline_class=limited)
    assert rates([member], [limited, SLOW])["fast"] == 5_000_000
    assert bounds([member], [limited, SLOW]) == {"fast": LATENCY_NS[1] + 20 * NS_PER_MS}


def test_room_for_the_bursts_of_all_channels_of_a_class() -> None:
    given = shares(RATE_BPS, CLASSES, asked([video("a"), video("b", burst_bytes=64), audio()]))
    assert {name: share.burst_bytes for name, share in given.items()} == {"fast": 12_500 + 1546, "slow": 125_000}


def test_the_bound_is_a_round_of_frames_and_the_burst_at_the_share() -> None:
    """100,000 bits at 98 Mb/s take 1,020,409 ns, rounded up."""
    assert bounds([video()]) == {"fast": LATENCY_NS[1] + 1_020_409}


def test_every_class_with_channels_adds_a_frame_to_the_round() -> None:
    """100,000 bits at 65,666,666 b/s and 1,000,000 at 33,333,333: 1,522,843 and 30,000,001 ns, rounded up."""
    assert bounds([video(), audio()]) == {"fast": LATENCY_NS[2] + 1_522_843, "slow": LATENCY_NS[2] + 30_000_001}


def test_a_larger_burst_on_arrival_takes_longer_at_the_same_share() -> None:
    arriving = {"fast": replace(asked_together([video()]), arriving_bytes=25_000)}
    assert class_bounds_ns(RATE_BPS, CLASSES, arriving) == {"fast": LATENCY_NS[1] + 2_040_817}


def test_no_bound_where_the_rates_are_more_than_the_share() -> None:
    assert bounds([video(wire_bps=98_000_000)])["fast"] is not None
    assert bounds([video(wire_bps=98_000_100)]) == {"fast": None}


def test_an_overloaded_class_does_not_take_the_bound_of_another() -> None:
    found = bounds([video(wire_bps=200_000_000), audio(burst_bytes=1546)])
    assert found["fast"] is None
    assert found["slow"] is not None


CHANNELS = st.lists(
    st.one_of(
        st.builds(video, st.uuids().map(str), st.integers(1000, 10**8), st.integers(64, 10**6), st.integers(1, 5)),
        st.builds(audio, st.uuids().map(str), st.integers(64, 10**6)),
    ),
    max_size=8,
)


@given(CHANNELS, st.one_of(st.none(), st.integers(1000, 10**9)), st.integers(10**6, 10**11))
def test_shares_are_at_most_the_rate_and_at_least_the_floor(
    channels: list[Channel], limit_bps: int | None, rate_bps: int
) -> None:
    classes = [replace(FAST, limit_bps=limit_bps), SLOW]
    given = shares(rate_bps, classes, asked(channels))
    assert sum(share.rate_bps for share in given.values()) + rate_bps // FLOOR_DIVISOR <= rate_bps
    assert given["fast"].rate_bps >= min(rate_bps // FLOOR_DIVISOR, limit_bps or rate_bps)
    assert given["slow"].rate_bps >= rate_bps // FLOOR_DIVISOR


@given(CHANNELS, st.integers(64, 10**6))
def test_whoever_comes_gives_to_its_class_and_takes_from_the_others(channels: list[Channel], burst_bytes: int) -> None:
    before, after = rates(channels), rates([*channels, audio("new", burst_bytes)])
    assert after["slow"] >= before["slow"]
    assert after["fast"] <= before["fast"]


@given(CHANNELS, st.data())
def test_a_port_shared_with_fewer_classes_is_not_slower(channels: list[Channel], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(CLASSES))
    left = [each for each in channels if each.deadline_class != gone]
    before, after = bounds(channels), bounds(left)
    for name, bound_ns in after.items():
        assert before[name] is None or (bound_ns is not None and bound_ns <= before[name])


@given(CHANNELS)
def test_a_class_gets_what_its_deadline_needs_where_the_port_has_it(channels: list[Channel]) -> None:
    """Then the burst is gone within the shortest deadline, save for the round of the other classes."""
    needs_bps = 0
    for members in by_class(channels):
        burst_bits = sum(8 * each.wire_burst_bytes for each in members)
        shortest_ns = min(each.deadline_ns for each in members)
        needs_bps += max(sum(each.wire_rate_bps for each in members), -(-burst_bits * NS_PER_S // shortest_ns))
    if needs_bps <= RATE_BPS - 3 * FLOOR_BPS:
        found = bounds(channels)
        for members in by_class(channels):
            bound_ns = found[members[0].deadline_class.name]
            assert bound_ns is not None
            assert bound_ns <= max(LATENCY_NS.values()) + min(each.deadline_ns for each in members)


@given(CHANNELS, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(channels: list[Channel], rng: random.Random) -> None:
    shuffled = list(channels)
    rng.shuffle(shuffled)
    assert shares(RATE_BPS, CLASSES, asked(shuffled)) == shares(RATE_BPS, CLASSES, asked(channels))
    assert bounds(shuffled) == bounds(channels)


def by_class(channels: Sequence[Channel]) -> list[list[Channel]]:
    """The channels of each class that has any."""
    names = {each.deadline_class.name: None for each in channels}
    members = [[each for each in channels if each.deadline_class.name == name] for name in names]
    return [each for each in members if each]
