"""How the scheduler benchmark judges what it measured."""

from __future__ import annotations

import pytest

from bench.forwarders import BEST_EFFORT, DEADLINES_MS, LABELLED, Rates, frames
from bench.scheduler import Case, report
from controller.network.labels import TTL_RELATIVE


def case(bare_pps: list[int], shim_pps: list[int]) -> Case:
    return Case(LABELLED, 64, *([Rates(1_000_000, pps) for pps in rounds] for rounds in (bare_pps, shim_pps)))


@pytest.mark.parametrize(("shim_pps", "holds"), [(400_000, True), (399_999, False)])
def test_the_shim_must_move_four_fifths(shim_pps: int, holds: bool) -> None:
    assert report([case([500_000], [shim_pps])], queue_ns=100).holds is holds


@pytest.mark.parametrize(("queue_ns", "holds"), [(500, True), (501, False)])
def test_the_queue_must_cost_half_a_microsecond_at_most(queue_ns: float, holds: bool) -> None:
    assert report([case([500_000], [500_000])], queue_ns).holds is holds


def test_one_disturbed_round_decides_nothing() -> None:
    assert case([500_000, 510_000, 490_000], [450_000, 1000, 460_000]).ratio == 0.9


def test_the_table_shows_what_was_offered() -> None:
    assert report([case([500_000], [450_000])], 100).rows == [("labelled, 64 B", "500", "1000", "450", "1000", "0.90")]


@pytest.mark.parametrize("size", [64, 1514])
@pytest.mark.parametrize("kind", [LABELLED, BEST_EFFORT])
def test_frames_have_the_size_asked_for(kind: str, size: int) -> None:
    assert {len(frame) for frame in frames(kind, size)} == {size}


def test_labelled_frames_are_as_open_vswitch_hands_them_over() -> None:
    stacks = [(int.from_bytes(frame[14:18]), int.from_bytes(frame[18:22])) for frame in frames(LABELLED, 64)]
    assert [deadline >> 12 for deadline, _ in stacks] == [ms * 100 for ms in DEADLINES_MS]
    assert {deadline & 0xFF for deadline, _ in stacks} == {TTL_RELATIVE}
    assert {(deadline >> 8 & 1, channel >> 8 & 1) for deadline, channel in stacks} == {(0, 1)}
