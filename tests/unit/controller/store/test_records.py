"""Rows and records, what of a change is new, and whether one was made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.networks import FAST, SLOW
from support.stores import CLASSES, record

from controller.model import Bypass, Excess, Late, Protocol
from controller.store.records import (
    NO_JITTER_NS,
    Change,
    EndStanding,
    Owner,
    Record,
    Snapshot,
    UnreadableRowError,
    bounds_row,
    class_of,
    effective,
    is_done,
    record_of,
    row_of,
    snapshot_of,
)

VIDEO = record("video")
AUDIO = record("audio")
SILENT = {"talker_state": "", "talker_reason": "", "listener_state": "", "listener_reason": ""}


def snapshot(*records: Record, revision: int = 7) -> Snapshot:
    return Snapshot(revision, "digest", NO_JITTER_NS, {each.channel.name: each for each in records}, {})


@given(
    protocol=st.sampled_from([None, *Protocol]),
    port=st.none() | st.integers(0, 65_535),
    excess=st.sampled_from(Excess),
    late=st.sampled_from(Late),
    on_bypass=st.sampled_from(Bypass),
    owner=st.sampled_from(Owner),
)
def test_a_record_survives_the_store(
    protocol: Protocol | None, port: int | None, excess: Excess, late: Late, on_bypass: Bypass, owner: Owner
) -> None:
    channel = replace(
        VIDEO.channel, protocol=protocol, src_port=port, dst_port=port, excess=excess, late=late, on_bypass=on_bypass
    )
    stored = replace(VIDEO, channel=channel, owner=owner, version=3)
    assert record_of({**row_of(stored), **SILENT}, CLASSES) == stored


def test_the_standing_is_read_and_not_compared() -> None:
    row = {**row_of(VIDEO), **SILENT, "talker_state": "waiting", "talker_reason": "no switch"}
    found = record_of(row, CLASSES)
    assert found.talker == EndStanding("waiting", "no switch")
    assert found == VIDEO


def test_sets_have_no_order() -> None:
    one = replace(VIDEO, domains=("right", "left", "left"), channel=replace(VIDEO.channel, on_miss=("b", "a")))
    assert row_of(one)["domains"] == ["left", "right"]
    assert row_of(one)["on_miss"] == ["a", "b"]
    stored = record_of({**row_of(one), **SILENT}, CLASSES)
    assert effective(Change(put=(one,)), snapshot(stored)) is None


@pytest.mark.parametrize("column", ["source", "owner", "excess"])
def test_a_row_that_cannot_be_read_says_which(column: str) -> None:
    with pytest.raises(UnreadableRowError, match=r"channel .video. of the store: .*nonsense"):
        record_of({**row_of(VIDEO), **SILENT, column: "nonsense"}, CLASSES)


def test_a_deadline_that_no_class_takes_is_in_the_slowest() -> None:
    assert class_of(FAST.up_to_ns, CLASSES) is FAST
    assert class_of(FAST.up_to_ns + 1, CLASSES) is SLOW
    assert class_of(SLOW.up_to_ns + 1, CLASSES) is SLOW


def test_a_snapshot_of_rows() -> None:
    whole = {"revision": 9, "topology": "digest", "jitter_ns": 5}
    port = {"node": "middle", "peer": "right", "bounds": bounds_row({"fast": 1000, "slow": None})}
    found = snapshot_of(whole, [VIDEO, AUDIO], [port])
    assert list(found.records) == ["audio", "video"]
    assert found.bounds == {("middle", "right"): {"fast": 1000, "slow": None}}
    assert (found.revision, found.topology, found.jitter_ns) == (9, "digest", 5)


def test_a_snapshot_without_the_revision_has_the_latest_version() -> None:
    whole = {"topology": "", "jitter_ns": NO_JITTER_NS}
    assert snapshot_of(whole, [replace(VIDEO, version=4), replace(AUDIO, version=6)], []).revision == 6
    assert snapshot_of(None, [], []) == Snapshot(0, "", NO_JITTER_NS, {}, {})


def test_what_is_new_gets_the_next_revision() -> None:
    before = snapshot(VIDEO)
    faster = record("video", rate_bps=2_000_000)
    change = effective(Change(put=(faster, AUDIO)), before)
    assert change is not None
    assert [each.version for each in change.put] == [8, 8]


def test_what_is_so_already_is_no_change() -> None:
    before = snapshot(replace(VIDEO, version=5))
    same = Change((VIDEO,), ("gone",), bounds={}, jitter_ns=NO_JITTER_NS, topology="digest")
    assert effective(same, before) is None
    assert effective(replace(same, jitter_ns=3), before) == Change(jitter_ns=3)


def test_a_channel_keeps_its_label() -> None:
    relabelled = replace(VIDEO, channel=replace(VIDEO.channel, label=99))
    assert effective(Change(put=(relabelled,)), snapshot(VIDEO)) is None
    faster = replace(VIDEO, channel=replace(VIDEO.channel, label=99, rate_bps=5))
    change = effective(Change(put=(faster,)), snapshot(VIDEO))
    assert change is not None
    assert (change.put[0].channel.label, change.put[0].channel.rate_bps) == (VIDEO.channel.label, 5)


def test_what_is_put_is_not_removed() -> None:
    change = effective(Change(put=(record("video", rate_bps=3),), remove=("video",)), snapshot(VIDEO))
    assert change is not None and change.remove == ()


def test_a_change_is_known_by_its_versions() -> None:
    before = snapshot(VIDEO)
    change = effective(Change(put=(AUDIO,), remove=("video",)), before)
    assert change is not None
    made = replace(AUDIO, version=8)
    assert is_done(change, before, snapshot(made, revision=8))
    assert is_done(change, before, snapshot(made, record("other"), revision=12)), "others may have gone on since"


@pytest.mark.parametrize(
    "after",
    [
        snapshot(VIDEO, revision=7),
        snapshot(VIDEO, replace(AUDIO, version=8), revision=8),
        snapshot(replace(AUDIO, version=9), revision=9),
        snapshot(replace(record("audio", rate_bps=3), version=8), revision=8),
        snapshot(revision=8),
    ],
    ids=["nothing happened", "the other is still there", "made later", "made otherwise", "not there"],
)
def test_a_change_that_was_not_made(after: Snapshot) -> None:
    before = snapshot(VIDEO)
    change = effective(Change(put=(AUDIO,), remove=("video",)), before)
    assert change is not None
    assert not is_done(change, before, after)


def test_a_removal_is_known_by_what_is_not_there() -> None:
    change = Change(remove=("video",))
    assert is_done(change, snapshot(VIDEO), snapshot(revision=8))
    assert not is_done(change, snapshot(VIDEO), snapshot(VIDEO, revision=8))


def test_bounds_alone_leave_no_trace() -> None:
    assert not is_done(Change(jitter_ns=3), snapshot(), snapshot(revision=8))
