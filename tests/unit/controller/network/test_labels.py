"""Labels: where they lie, how the deadline wraps, that a channel keeps its label."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import Conflict
from controller.network.labels import (
    CHANNEL_LABEL_COUNT,
    FIRST_LABEL,
    LABEL_COUNT,
    MAX_DEADLINE_NS,
    MIN_DEADLINE_NS,
    TICK_NS,
    absolute_deadline_label,
    assign_channel_labels,
    free_label,
    lateness_ns,
    relative_deadline_label,
)

WRAP_NS = LABEL_COUNT * TICK_NS
names = st.lists(st.text("abcdefgh-0123", min_size=1, max_size=8), unique=True)


def test_relative_deadline_counts_ticks_downwards() -> None:
    assert relative_deadline_label(5_000_000) == 500
    assert relative_deadline_label(5_009_999) == 500


@pytest.mark.parametrize("deadline_ns", [MIN_DEADLINE_NS - 1, MAX_DEADLINE_NS + 1])
def test_relative_deadline_outside_its_range(deadline_ns: int) -> None:
    with pytest.raises(ValueError, match=f"{deadline_ns} ns is outside"):
        relative_deadline_label(deadline_ns)


@given(st.integers(MIN_DEADLINE_NS, MAX_DEADLINE_NS))
def test_relative_deadline_is_never_a_reserved_label(deadline_ns: int) -> None:
    assert FIRST_LABEL <= relative_deadline_label(deadline_ns) < 1 << 20


def test_absolute_deadline_wraps_past_the_reserved_labels() -> None:
    assert absolute_deadline_label(0) == FIRST_LABEL
    assert absolute_deadline_label(WRAP_NS - 1) == (1 << 20) - 1
    assert absolute_deadline_label(WRAP_NS) == FIRST_LABEL


@pytest.mark.parametrize(("late_ns", "found_ns"), [(0, 0), (-1, -1), (1, 1), (5_000_000_000, 5_000_000_000)])
def test_lateness_across_the_wrap(late_ns: int, found_ns: int) -> None:
    assert lateness_ns(absolute_deadline_label(WRAP_NS), WRAP_NS + late_ns) == found_ns


@given(st.integers(0, 2**62), st.integers(-WRAP_NS // 2 + TICK_NS, WRAP_NS // 2 - TICK_NS))
def test_a_late_packet_is_never_called_on_time(deadline_ns: int, late_ns: int) -> None:
    found_ns = lateness_ns(absolute_deadline_label(deadline_ns), deadline_ns + late_ns)
    assert late_ns <= found_ns < late_ns + TICK_NS


@given(names)
def test_each_channel_has_its_own_label(channels: list[str]) -> None:
    labels = assign_channel_labels(channels)
    assert set(labels) == set(channels)
    assert len(set(labels.values())) == len(channels)
    assert all(FIRST_LABEL <= label < 1 << 16 for label in labels.values())


@given(names)
def test_the_order_of_the_file_does_not_matter(channels: list[str]) -> None:
    assert assign_channel_labels(channels) == assign_channel_labels(reversed(channels))


def test_a_channel_keeps_its_label_when_others_come() -> None:
    before = assign_channel_labels(["video", "audio"])
    after = assign_channel_labels(["video", "audio", "control", "another"])
    assert {name: after[name] for name in before} == before


def test_names_with_the_same_hash_get_different_labels() -> None:
    many = [f"c{index}" for index in range(5_000)]
    assert len(set(assign_channel_labels(many).values())) == 5_000


def test_the_label_after_a_taken_one() -> None:
    label = free_label("video", ())
    assert free_label("video", {label, label + 1}) == label + 2


def test_the_search_goes_round() -> None:
    last = FIRST_LABEL + CHANNEL_LABEL_COUNT - 1
    assert last == (1 << 16) - 1
    assert free_label("video", range(FIRST_LABEL + 5, last + 1)) == FIRST_LABEL


def test_no_label_is_left() -> None:
    with pytest.raises(Conflict, match="all 65520 channel labels are taken; remove channels first"):
        free_label("video", range(FIRST_LABEL, 1 << 16))
