"""Bundles: what their channels ask together is the same however they came to be, and what is due is what is left."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.networks import SLOW, channel, vm

from controller.admission.bundle import ROOM_PACKETS, Bundle
from controller.admission.condition import Demand, EdfLink, are_kept, is_admitted
from controller.admission.paths import Port
from controller.model import Channel
from controller.units import NS_PER_MS
from dataplane.shim import ShimConfig

TALKER, LISTENER = vm("vm1", "left", 1), vm("vm2", "right", 2)
EMPTY = Bundle((Port("left", "middle", True), Port("middle", "right", False)), SLOW.name)


def audio(number: int, deadline_ns: int = 100 * NS_PER_MS, rate_bps: int = 1_000_000, burst: int = 3000) -> Channel:
    made = channel(f"audio{number}", TALKER, LISTENER, 17 + number, SLOW, rate_bps)
    return replace(made, deadline_ns=deadline_ns, burst_bytes=burst)


MILLISECONDS = st.integers(1, 100).map(lambda ms: ms * NS_PER_MS)
CHANNELS = st.lists(
    st.builds(audio, st.integers(0, 9), MILLISECONDS, st.integers(1000, 10**7), st.integers(64, 10**5)),
    unique_by=lambda each: each.name,
    max_size=8,
)


def test_what_may_arrive_is_the_burst_and_what_came_while_it_waited() -> None:
    """1,000,000 b/s of payload are 1,050,272 on the wire: 105,027 bits in 100 ms."""
    bundle = EMPTY.changed([], [audio(1), audio(2)])
    assert (bundle.rate_bps, bundle.burst_bytes, bundle.arriving_bytes) == (2_100_544, 6000, 2 * (3000 + 13_129))


def test_the_shortest_comes_first() -> None:
    bundle = EMPTY.changed([], [audio(1), audio(2, 40 * NS_PER_MS), audio(3, 60 * NS_PER_MS)])
    assert [each.name for each in bundle.demands] == ["audio2", "audio3", "audio1"]
    assert bundle.shortest_ns == 40 * NS_PER_MS
    assert [each.name for each in bundle.until(60 * NS_PER_MS)] == ["audio2", "audio3"]
    assert [each.name for each in bundle.until(60 * NS_PER_MS - 1)] == ["audio2"]


def test_what_has_no_time_left_asks_for_nothing() -> None:
    bundle = EMPTY.changed([], [audio(1), audio(2, 40 * NS_PER_MS)])
    assert bundle.left(40 * NS_PER_MS) == [Demand("audio1", 60 * NS_PER_MS, 1_050_272, 3000)]
    assert list(bundle.due(40 * NS_PER_MS, slack_ns=NS_PER_MS)) == [(NS_PER_MS, 1_050_272, 3000, 1546)]


@given(CHANNELS, CHANNELS)
def test_a_changed_bundle_is_as_one_made_anew(before: list[Channel], after: list[Channel]) -> None:
    changed = EMPTY.changed([], before).changed(before, after)
    anew = EMPTY.changed([], after)
    assert sorted(changed.demands, key=lambda each: each.name) == sorted(anew.demands, key=lambda each: each.name)
    assert replace(changed, demands=()) == replace(anew, demands=())


def test_who_crowds_a_shim_is_known_until_it_goes() -> None:
    """20,000,000 bytes are 12,936.6 packets."""
    large, small = audio(1, burst=20_000_000), audio(2)
    assert large.waiting_packets == 12_946
    bundle = EMPTY.changed([], [large, small])
    assert bundle.crowding == {"audio1"}
    assert bundle.changed([large], [audio(1)]).crowding == set()


def test_a_shim_holds_of_one_channel_half_of_all() -> None:
    assert ShimConfig("inner", "uplink", 0, 0).queue_capacity // 2 == ROOM_PACKETS


@given(CHANNELS, MILLISECONDS, MILLISECONDS, st.integers(10**7, 10**9))
def test_what_is_due_is_kept_if_what_is_left_is(
    channels: list[Channel], taken_ns: int, slack_ns: int, rate_bps: int
) -> None:
    bundle, link = EMPTY.changed([], channels), EdfLink("the uplink", rate_bps, slack_ns)
    assert are_kept(link, bundle.due(taken_ns, slack_ns)) == is_admitted(link, bundle.left(taken_ns))
