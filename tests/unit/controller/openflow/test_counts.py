"""Counts that go on over restarts: of the switch, of the controller, of both."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from controller.openflow.counts import Counts, Traffic, as_text, from_text
from controller.openflow.counts_file import CountsFile

FLOW, OTHER = 0x5254_02_00011_00000, 0x5254_02_00012_00000
"""Of the talkers of two channels, with a digest of 0."""


def taken(counts: Counts, *told: dict[int, Traffic]) -> Counts:
    """`counts` after the switch has told all that, of flows that are all kept."""
    for each in told:
        counts.take(each)
    return counts


def test_a_switch_that_begins_anew_goes_on() -> None:
    counts = taken(Counts(), {FLOW: Traffic(10, 1000)}, {}, {FLOW: Traffic(3, 300)}, {FLOW: Traffic(4, 400)})
    assert counts.totals() == {FLOW: Traffic(14, 1400)}


def test_a_flow_that_takes_the_place_of_another_goes_on_where_that_was() -> None:
    counts = taken(Counts(), {FLOW: Traffic(10, 1000)}, {}, {FLOW: Traffic(3, 300)}, {FLOW + 1: Traffic(4, 400)})
    assert counts.totals() == {FLOW: Traffic(14, 1400)}


def test_a_flow_that_begins_anew_in_the_place_of_another_is_added_to_it() -> None:
    counts = taken(Counts(), {FLOW: Traffic(10, 1000)}, {FLOW + 1: Traffic(4, 400)}, {FLOW + 1: Traffic(5, 500)})
    assert counts.totals() == {FLOW: Traffic(15, 1500)}


def test_one_of_two_flows_of_a_channel_that_is_put_back_goes_on() -> None:
    both = {FLOW: Traffic(10, 1000), FLOW + 1: Traffic(20, 2000)}
    counts = taken(Counts(), both, {FLOW: Traffic(11, 1100)}, {FLOW: Traffic(12, 1200), FLOW + 1: Traffic(1, 100)})
    assert counts.totals() == {FLOW: Traffic(33, 3300)}


def test_what_nobody_keeps_does_not_go_on() -> None:
    counts = taken(Counts(), {FLOW: Traffic(10, 1000), OTHER: Traffic(5, 500)})
    counts.keep({OTHER})
    counts.take({}, {OTHER})
    assert counts.totals() == {OTHER: Traffic(5, 500)}
    counts.keep({FLOW})
    assert counts.totals() == {}


def test_only_what_was_counted_is_news() -> None:
    counts = Counts()
    assert not counts.take({FLOW: Traffic()})
    assert counts.take({FLOW: Traffic(1, 60)})
    assert not counts.take({FLOW: Traffic(1, 60), OTHER: Traffic()}, {FLOW})
    assert not counts.take({FLOW: Traffic(1, 60), OTHER: Traffic(2, 120)}, {FLOW})
    assert counts.take({})


def test_the_next_controller_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    """Even when the switch has begun anew meanwhile."""
    former = taken(Counts(), {FLOW: Traffic(10, 1000)}, {FLOW: Traffic(3, 300)})
    CountsFile(tmp_path / "run" / "left.counts.json").write({"left": former})
    counts = CountsFile(tmp_path / "run" / "left.counts.json").read()["left"]
    assert counts == former
    assert taken(counts, {FLOW: Traffic(2, 200)}).totals() == {FLOW: Traffic(15, 1500)}
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["left.counts.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"left": 1}', '{"left": {"before": {}}}', '{"left": {"before": {"1": [2]}, "last": {}}}'],
)
def test_a_damaged_file_is_told_of_and_counts_begin_at_zero(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError):
        from_text(text)
    file = tmp_path / "left.counts.json"
    file.write_text(text)
    assert CountsFile(file).read() == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_without_a_file_counts_begin_at_zero(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert CountsFile(tmp_path / "left.counts.json").read() == {}
    assert len(caplog.records) == 1


def test_a_file_that_cannot_be_written_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("")
    file = CountsFile(tmp_path / "taken" / "left.counts.json")
    file.write({})
    file.write({})
    assert len(caplog.records) == 1


def test_text_and_back() -> None:
    counts = {"left": Counts({FLOW: Traffic(1, 2)}, {OTHER: Traffic(3, 4)}), "core": Counts()}
    assert from_text(as_text(counts)) == counts
