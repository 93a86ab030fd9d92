"""The socket's conversation without a socket: every request is answered by one line, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.errors import ShimError
from dataplane.protocol import LINE_BYTES_MAX, Session
from dataplane.terms import Late, Terms

OPERATIONS = "configure, channels, labels, statistics, subscribe, ready"
CHANNEL = {"label": 4711, "rate_bps": 2_000_000, "burst_bytes": 3000, "downstream_ns": 400_000}


class Table:
    """Stands in for a shim: remembers what it is told and has room for two channels."""

    def __init__(self) -> None:
        self.rate_bps, self.be_slack_ns, self.allowance_ns = 10**8, 2_000_000, 0
        self.terms: dict[int, Terms] = {}
        self.is_ready = False
        self.padding = ""

    @property
    def labels(self) -> set[int]:
        return set(self.terms)

    def configure(self, rate_bps: int, be_slack_ns: int, allowance_ns: int) -> None:
        self.rate_bps, self.be_slack_ns, self.allowance_ns = rate_bps, be_slack_ns, allowance_ns

    def set_channels(self, channels: Mapping[int, Terms]) -> None:
        self.terms |= channels
        if len(self.labels) > 2:
            raise ShimError("no room", "remove others")

    def remove_channels(self, labels: Iterable[int]) -> None:
        for label in labels:
            self.terms.pop(label, None)

    def ready(self) -> None:
        self.is_ready = True

    def statistics(self, labels: Iterable[int]) -> dict[str, Any]:
        return {"channels": dict.fromkeys(map(str, labels), self.padding)}


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def session(table: Table) -> Session:
    return Session(table)


def test_the_channels_that_it_removes_are_told_before_their_labels_are_given_again(table: Table) -> None:
    removed: list[tuple[list[int], set[int]]] = []
    session = Session(table, lambda labels: removed.append((list(labels), table.labels)))
    ask(session, op="channels", set=[CHANNEL])
    ask(session, op="channels", remove=[4711, 17], set=[CHANNEL])
    assert removed[-1] == ([4711, 17], set()) and table.labels == {4711}


def ask(session: Session, **request: Any) -> dict[str, Any]:
    line = session.answer(json.dumps({"id": 7} | request).encode())
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    answer: dict[str, Any] = json.loads(line)
    assert answer.pop("id") == 7
    return answer


def test_configure_changes_what_it_names_and_says_what_is_in_force(session: Session) -> None:
    in_force = {"ok": True, "rate_bps": 10**8, "be_slack_ns": 2_000_000, "allowance_ns": 0}
    assert ask(session, op="configure") == in_force
    for change in ({"be_slack_ns": 0}, {"rate_bps": 0}, {"allowance_ns": 200_000}):
        in_force |= change
        assert ask(session, op="configure", **change) == in_force


def test_channels_are_set_and_removed(session: Session, table: Table) -> None:
    assert ask(session, op="channels", set=[CHANNEL, CHANNEL | {"label": 16}]) == {"ok": True, "count": 2}
    assert ask(session, op="channels", set=[CHANNEL | {"label": 17}], remove=[4711]) == {"ok": True, "count": 2}
    assert table.labels == {16, 17}
    assert ask(session, op="channels", set=[CHANNEL]) == {"ok": False, "error": "no room; remove others"}


def test_the_labels_in_the_table_are_told(session: Session, table: Table) -> None:
    table.terms = {17: Terms(), 16: Terms()}
    assert ask(session, op="labels") == {"ok": True, "labels": [16, 17]}


def test_statistics_are_of_all_channels_or_of_those_named(session: Session, table: Table) -> None:
    table.terms = {16: Terms(), 17: Terms()}
    assert set(ask(session, op="statistics")["channels"]) == {"16", "17"}
    assert set(ask(session, op="statistics", labels=[17])["channels"]) == {"17"}


def test_an_answer_longer_than_a_line_is_refused(session: Session, table: Table) -> None:
    table.terms, table.padding = {16: Terms(), 17: Terms()}, "x" * (LINE_BYTES_MAX // 2)
    assert "ask for fewer `labels`" in ask(session, op="statistics")["error"]
    assert ask(session, op="statistics", labels=[16])["ok"]


def test_who_subscribes_wants_misses(session: Session) -> None:
    assert not session.wants_misses
    assert ask(session, op="subscribe", to=["misses"]) == {"ok": True}
    assert session.wants_misses


def test_the_shim_is_ready_when_it_is_told(session: Session, table: Table) -> None:
    ask(session, op="channels", set=[CHANNEL])
    assert not table.is_ready
    assert ask(session, op="ready") == {"ok": True}
    assert table.is_ready


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, f"op: None is unknown; allowed: {OPERATIONS}"),
        ({"op": ["statistics"]}, f"op: ['statistics'] is unknown; allowed: {OPERATIONS}"),
        ({"op": "configure", "rate_bps": -1}, "rate_bps: -1 is not an integer of 0 to 999999999999"),
        ({"op": "configure", "rate_bps": 1e6}, "rate_bps: 1000000.0 is not an integer of 0 to 999999999999"),
        ({"op": "configure", "rate_bps": False}, "rate_bps: False is not an integer of 0 to 999999999999"),
        ({"op": "configure", "be_slack_ns": -1}, "be_slack_ns: -1 is not an integer of 0 to 5000000000"),
        ({"op": "channels", "set": {}}, "set: {} is not a list"),
        ({"op": "channels", "set": [1]}, "set[0]: 1 is not an object"),
        ({"op": "channels", "remove": [15]}, "remove[0]: 15 is not an integer of 16 to 1048575"),
        ({"op": "channels", "remove": [2**20]}, "remove[0]: 1048576 is not an integer of 16 to 1048575"),
        ({"op": "subscribe"}, "to: [] is unknown; allowed: ['misses']"),
        ({"op": "subscribe", "to": ["hits"]}, "to: ['hits'] is unknown; allowed: ['misses']"),
    ],
)
def test_a_refusal_says_what_was_found_and_what_is_allowed(
    session: Session, request_: dict[str, Any], error: str
) -> None:
    assert ask(session, **request_) == {"ok": False, "error": error}


@pytest.mark.parametrize("name", CHANNEL)
def test_a_channel_needs_all_numbers_of_its_terms(session: Session, table: Table, name: str) -> None:
    partial = {key: value for key, value in CHANNEL.items() if key != name}
    answer = ask(session, op="channels", set=[CHANNEL, partial], remove=[])
    assert answer["error"].startswith(f"set[1].{name}: None is not an integer")
    assert not table.labels, "a request with an error changes nothing"


def test_terms_are_set_as_they_are_told_and_changed_by_being_told_again(session: Session, table: Table) -> None:
    assert ask(session, op="channels", set=[CHANNEL])["ok"]
    assert table.terms[4711] == Terms(2_000_000, 3000, 400_000)
    others = {"late": "drop", "strips_labels": True, "is_shaped": True, "clock_error_ns": 7}
    assert ask(session, op="channels", set=[CHANNEL | others])["ok"]
    assert table.terms[4711] == Terms(2_000_000, 3000, 400_000, Late.DROP, True, True, clock_error_ns=7)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"late": "sometimes"}, "set[0].late: 'sometimes' is unknown; allowed: demote, drop, keep"),
        ({"late": []}, "set[0].late: [] is unknown; allowed: demote, drop, keep"),
        ({"strips_labels": 1}, "set[0].strips_labels: 1 is not true or false"),
        ({"is_shaped": None}, "set[0].is_shaped: None is not true or false"),
        ({"clock_error_ns": -1}, "set[0].clock_error_ns: -1 is not an integer of 0 to 10000000000"),
        ({"burst_bytes": 2**31}, "set[0].burst_bytes: 2147483648 is not an integer of 0 to 2147483647"),
    ],
)
def test_terms_that_mean_nothing_are_refused(session: Session, more: dict[str, Any], error: str) -> None:
    assert ask(session, op="channels", set=[CHANNEL | more]) == {"ok": False, "error": error}


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"[" * 100_000, b"[]", b"1"])
def test_what_is_no_object_is_refused(session: Session, line: bytes) -> None:
    answer = json.loads(session.answer(line))
    assert (answer["id"], answer["ok"]) == (None, False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
field_names = st.sampled_from(["id", "rate_bps", "be_slack_ns", "set", "remove", "labels", "to"])


@given(st.sampled_from(OPERATIONS.split(", ")), st.dictionaries(field_names, json_values))
def test_any_fields_lead_to_an_answer(op: str, fields: dict[str, Any]) -> None:
    answer = json.loads(Session(Table()).answer(json.dumps({"op": op} | fields).encode()))
    assert answer["ok"] in (True, False)
    assert answer["ok"] == ("error" not in answer)
