"""The label stack in C: equal to the controller's, and robust against any bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.frames import (
    ETHERTYPE_IP,
    ETHERTYPE_MPLS,
    channel_of,
    deadline_label_of,
    frame,
    label_entry,
    labelled,
    ttl_of,
)

from controller.model import CHANNELS_MAX
from controller.network import labels
from dataplane._core import ffi, lib

PERIOD_NS = labels.LABEL_COUNT * labels.TICK_NS
LAST_LABEL = labels.FIRST_LABEL + labels.LABEL_COUNT - 1
wall_times = st.integers(0, 2**62)
any_label = st.integers(0, LAST_LABEL)


def test_a_shim_has_room_for_all_channels_of_a_network() -> None:
    assert lib.CHANNELS_MAX == CHANNELS_MAX


def parse(data: bytes) -> int:
    return int(lib.labels_parse(data, len(data), ffi.new("struct labels *")))


@given(wall_times)
@example(0)
@example(PERIOD_NS - 1)
@example(PERIOD_NS)
def test_stamps_are_the_controllers(wall_ns: int) -> None:
    assert lib.labels_absolute(wall_ns) == labels.absolute_deadline_label(wall_ns)


@given(any_label, wall_times)
@example(labels.FIRST_LABEL, PERIOD_NS // 2)
@example(labels.FIRST_LABEL, PERIOD_NS // 2 - 1)
@example(LAST_LABEL, 0)
@example(0, 0)
def test_lateness_is_the_controllers(label: int, now_ns: int) -> None:
    assert lib.labels_lateness_ns(label, now_ns) == labels.lateness_ns(label, now_ns)


@given(st.integers(labels.MIN_DEADLINE_NS, labels.MAX_DEADLINE_NS))
def test_relative_deadlines_are_the_controllers(deadline_ns: int) -> None:
    label = labels.relative_deadline_label(deadline_ns)
    assert lib.labels_relative_ns(label) <= deadline_ns < lib.labels_relative_ns(label + 1)


@given(wall_times, st.integers(-PERIOD_NS // 2 + labels.TICK_NS, PERIOD_NS // 2 - labels.TICK_NS - 1))
def test_a_stamp_is_rounded_down_and_never_late_for_being_wrapped(deadline_ns: int, lateness_ns: int) -> None:
    now_ns = deadline_ns + lateness_ns
    if now_ns >= 0:
        said_ns = lib.labels_lateness_ns(lib.labels_absolute(deadline_ns), now_ns)
        assert 0 <= said_ns - lateness_ns < labels.TICK_NS


@given(any_label, any_label, st.integers(0, 7), st.integers(0, 255))
def test_a_labelled_frame_is_read(deadline: int, channel: int, tc: int, ttl: int) -> None:
    data = labelled(deadline, channel, tc, ttl)
    found = ffi.new("struct labels *")
    assert lib.labels_parse(data, len(data), found) == lib.LABELS_LABELLED
    assert (found.deadline, found.channel, found.tc, found.ttl) == (deadline, channel, tc, ttl)


@given(any_label, any_label, st.integers(0, 7), st.booleans())
def test_stamping_changes_the_label_and_its_ttl_only(before: int, stamp: int, tc: int, is_sure: bool) -> None:
    original = labelled(before, 4711, tc)
    data = bytearray(original)
    ttl = labels.TTL_STAMPED if is_sure else labels.TTL_UNSURE
    lib.labels_stamp(ffi.from_buffer(data), stamp, is_sure)
    assert (deadline_label_of(data), ttl_of(data), channel_of(data)) == (stamp, ttl, 4711)
    assert bytes(data) == labelled(stamp, 4711, tc, ttl=ttl)


BOTTOM, OTHER = label_entry(20, is_bottom=True), label_entry(20)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "SHORT"),
        (frame(ETHERTYPE_MPLS, length=0)[:13], "SHORT"),
        (frame(ETHERTYPE_MPLS, length=0), "SHORT"),
        (frame(ETHERTYPE_MPLS, OTHER[:3], length=0), "SHORT"),
        (frame(ETHERTYPE_MPLS, OTHER, length=0), "SHORT"),
        (frame(ETHERTYPE_MPLS, OTHER + BOTTOM[:3], length=0), "SHORT"),
        (frame(ETHERTYPE_MPLS, OTHER + BOTTOM, length=0), "LABELLED"),
        (frame(ETHERTYPE_MPLS, BOTTOM, length=0), "ONE_LABEL"),
        (frame(ETHERTYPE_MPLS, BOTTOM + BOTTOM), "ONE_LABEL"),
        (frame(ETHERTYPE_MPLS, OTHER + OTHER, length=0), "MANY_LABELS"),
        (frame(ETHERTYPE_MPLS, OTHER + OTHER + BOTTOM), "MANY_LABELS"),
        (frame(ETHERTYPE_IP, OTHER + BOTTOM), "BEST_EFFORT"),
        (frame(0x8848, OTHER + BOTTOM), "BEST_EFFORT"),
        (frame(ETHERTYPE_IP, length=0), "BEST_EFFORT"),
    ],
)
def test_each_cause_has_its_kind(data: bytes, kind: str) -> None:
    assert parse(data) == getattr(lib, f"LABELS_{kind}")


@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_are_of_a_kind(data: bytes, is_mpls: bool) -> None:
    if is_mpls:
        data = data[:12] + b"\x88\x47" + data[14:]
    assert lib.LABELS_BEST_EFFORT <= parse(data) <= lib.LABELS_MANY_LABELS
