"""Class queues: what part of a port each class gets, and what delay that assures; by hand, by rule and simulated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.htb_simulator import Queue, greedy, longest_delays_ns
from support.networks import FAST, SLOW, channel, vm

from controller.admission.queues import FLOOR_DIVISOR, Asked, class_bounds_ns, shares
from controller.model import Channel, DeadlineClass
from controller.units import NS_PER_MS, NS_PER_S

RATE_BPS = 100_000_000
FLOOR_BPS = RATE_BPS // FLOOR_DIVISOR
CLASSES = (FAST, SLOW)
FRAME_NS = 123_680
"""A full labelled frame, 1,546 bytes, at 100 Mb/s."""

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


def test_a_limit_bounds_the_share() -> None:
    limited = replace(FAST, limit_bps=5_000_000)
    member = replace(video(), deadline_class=limited)
    assert rates([member], [limited, SLOW])["fast"] == 5_000_000
    assert bounds([replace(member, rate_bps=5_000_000)], [limited, SLOW]) == {"fast": None}


def test_room_for_the_bursts_of_all_channels_of_a_class_and_for_what_comes_while_they_wait() -> None:
    """The fast ones, 2 Mb/s, wait for a frame, 123.68 us: 31 bytes. The slow one also for their bursts: 15,592 bytes
    in all, at the 98 Mb/s that they leave: 1,273 us, in which come 168 bytes."""
    given = shares(RATE_BPS, CLASSES, asked([video("a"), video("b", burst_bytes=64), audio()]))
    assert {name: share.burst_bytes for name, share in given.items()} == {"fast": 14_046 + 31, "slow": 125_000 + 168}


def test_the_highest_priority_waits_for_one_frame_and_for_its_own() -> None:
    """100,000 bits at 100 Mb/s."""
    assert bounds([video()]) == {"fast": FRAME_NS + NS_PER_MS}
    assert bounds([video(), audio()])["fast"] == FRAME_NS + NS_PER_MS


def test_the_next_waits_for_the_burst_before_it_and_for_all_that_comes_meanwhile() -> None:
    """12,368 + 100,000 + 1,000,000 bits at what 1 Mb/s leaves."""
    left_bps = RATE_BPS - video().wire_rate_bps
    assert bounds([video(), audio()])["slow"] == -(-1_112_368 * NS_PER_S // left_bps)


def test_a_larger_burst_on_arrival_takes_longer() -> None:
    arriving = {"fast": replace(asked_together([video()]), arriving_bytes=25_000)}
    assert class_bounds_ns(RATE_BPS, CLASSES, arriving) == {"fast": FRAME_NS + 2 * NS_PER_MS}


def test_no_bound_where_the_rates_are_more_than_the_share() -> None:
    assert bounds([video(wire_bps=98_000_000)])["fast"] is not None
    assert bounds([video(wire_bps=98_000_100)]) == {"fast": None}


def test_an_overloaded_class_takes_the_bounds_of_those_behind_it() -> None:
    assert bounds([video(wire_bps=200_000_000), audio(burst_bytes=1546)]) == {"fast": None, "slow": None}
    behind = bounds([video(), replace(audio(), rate_bps=200_000_000)])
    assert behind["fast"] is not None and behind["slow"] is None


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
    """Then its share alone sends the burst within the shortest deadline, whatever the others do."""
    wanted = asked(channels)
    if sum(each.need_bps for each in wanted.values()) <= RATE_BPS - 3 * FLOOR_BPS:
        for name, each in wanted.items():
            assert rates(channels)[name] >= each.need_bps
            assert bounds(channels)[name] is not None


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


# Simulated

BIG = DeadlineClass("big", queue_id=4, dscp=36, above_ns=0, up_to_ns=16 * NS_PER_MS)
SMALL = DeadlineClass("small", queue_id=3, dscp=26, above_ns=16 * NS_PER_MS, up_to_ns=40 * NS_PER_MS)


def delays_ns(
    classes: Sequence[DeadlineClass],
    wanted: dict[str, Asked],
    sizes: dict[str, Sequence[int]],
    starts_ns: Sequence[int],
) -> dict[str, int]:
    """Of classes that all send as much as they may, as soon as they may."""
    given = shares(RATE_BPS, classes, wanted)
    queues = [
        Queue(
            priority,
            given[each.name].rate_bps,
            given[each.name].burst_bytes,
            [*greedy(wanted[each.name].rate_bps, wanted[each.name].arriving_bytes, sizes[each.name], start_ns)],
        )
        for priority, (each, start_ns) in enumerate(zip(classes, starts_ns, strict=True))
    ]
    return dict(zip(wanted, longest_delays_ns(RATE_BPS, queues), strict=True))


def test_a_small_packet_waits_until_the_burst_of_a_class_before_it_has_gone() -> None:
    """However large its own share: HTB lets the other one send its burst first, and then all that comes."""
    wanted = {
        "big": Asked(73_518_000, 140_000, 140_000, 16 * NS_PER_MS),
        "small": Asked(10_503, 1546, 1546, 20 * NS_PER_MS),
    }
    small_ns = delays_ns((BIG, SMALL), wanted, {"big": [1546] * 400, "small": [1546]}, [0, 0])["small"]
    bound_ns = class_bounds_ns(RATE_BPS, (BIG, SMALL), wanted)["small"]
    assert bound_ns is not None
    assert 42 * NS_PER_MS < small_ns <= bound_ns < 44 * NS_PER_MS


SIZES = st.lists(st.integers(64, 1546), min_size=1, max_size=60) | st.integers(1, 80).map(lambda count: [1546] * count)
SOURCES = st.tuples(
    st.integers(10_000, 60_000_000),  # rate
    st.integers(1546, 60 * 1546),  # burst
    st.integers(1, 500).map(lambda ms: ms * NS_PER_MS),  # shortest deadline
    SIZES,
    st.just(0) | st.integers(0, 10 * NS_PER_MS),  # start
)


@settings(max_examples=100)
@given(st.lists(SOURCES, min_size=1, max_size=4))
def test_no_packet_takes_longer_than_its_bound(sources: list[tuple[int, int, int, list[int], int]]) -> None:
    """As long as all contracts are kept, whatever the shares."""
    classes = [
        DeadlineClass(f"c{number}", number + 1, number + 1, number, number + 1) for number in range(len(sources))
    ]
    wanted = {
        each.name: Asked(rate_bps, burst_bytes, burst_bytes, shortest_ns)
        for each, (rate_bps, burst_bytes, shortest_ns, _, _) in zip(classes, sources, strict=True)
    }
    sizes = {each.name: source[3] for each, source in zip(classes, sources, strict=True)}
    bounds_ns = class_bounds_ns(RATE_BPS, classes, wanted)
    for name, delay_ns in delays_ns(classes, wanted, sizes, [source[4] for source in sources]).items():
        bound_ns = bounds_ns[name]
        if bound_ns is None or bound_ns > wanted[name].shortest_ns:
            break  # refused, so nothing is said of those behind it
        assert delay_ns <= bound_ns
