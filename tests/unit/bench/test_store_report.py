"""The store experiment: what its report makes of writes, holdings and monitors."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from bench.monitors import domain_name, members_of
from bench.store import Holding, Outcome, Storm, Write, report, spread, watching
from controller.units import NS_PER_MS

WRITES = [Write("a", 0, 5 * NS_PER_MS, ""), Write("b", 0, NS_PER_MS, ""), Write("c", 0, 1, "no answer")]
WHOLE = Holding(Counter(["a", "b"]), Counter([16, 17]))
STORM = Storm(WRITES, [0], [WHOLE, WHOLE])
SENT = {7: (1000, frozenset({"d0", "d1"}))}


def monitor(domain: str, *arrivals: tuple[int, int], foreign: int = 0) -> dict[str, Any]:
    return {"domain": domain, "rows": 2, "foreign": foreign, "received_bytes": 100, "arrivals": list(arrivals)}


WATCHING = watching(
    [monitor("d0", (7, 1000 + NS_PER_MS)), monitor("d1", (7, 1000 + 3 * NS_PER_MS)), monitor("d2")], SENT, [1], [2]
)


def test_what_was_acknowledged_is_there() -> None:
    assert (STORM.missing, STORM.twice) == (0, 0)
    assert report(Outcome(STORM, WATCHING)).holds


def test_a_lost_write_is_missing_at_each_member() -> None:
    storm = replace(STORM, holdings=[WHOLE, Holding(Counter(["b"]), Counter([17]))])
    assert storm.missing == 1
    assert not report(Outcome(storm, WATCHING)).holds


def test_a_write_that_was_not_acknowledged_may_be_there_or_not() -> None:
    assert replace(STORM, holdings=[Holding(Counter(["a", "b", "c"]), Counter([16, 17, 18]))]).missing == 0


def test_doubled_names_and_labels_are_counted() -> None:
    storm = replace(STORM, holdings=[Holding(Counter(["a", "a", "b"]), Counter({16: 2, 17: 1}))])
    assert storm.twice == 2
    assert not report(Outcome(storm, WATCHING)).holds


def test_updates_are_timed_from_the_call() -> None:
    assert list(WATCHING.latencies_ms) == [1.0, 3.0]
    assert (WATCHING.expected, WATCHING.astray, WATCHING.rows, WATCHING.received_bytes) == (2, 0, 6, 300)


def test_what_went_to_the_wrong_monitor_is_told() -> None:
    astray = watching([monitor("d0", (7, 2000)), monitor("d2", (7, 2000))], SENT, [1], [2])
    assert astray.astray == 1
    assert not report(Outcome(STORM, astray)).holds
    foreign = watching([monitor("d0", (7, 2000), foreign=1), monitor("d1", (7, 2000))], SENT, [1], [2])
    assert not report(Outcome(STORM, foreign)).holds


def test_a_lost_update_is_told() -> None:
    assert not report(Outcome(STORM, watching([monitor("d0", (7, 2000))], SENT, [1], [2]))).holds


def test_too_few_values_have_no_spread() -> None:
    assert spread([]) == (0, None, None, None)
    assert spread([1.0, 3.0]) == (2, "2.0", "3.0", "3.0")


def test_a_set_of_one_is_written_bare() -> None:
    assert members_of("d0") == ["d0"]
    assert members_of(["set", ["d0", "d1"]]) == [domain_name(0), domain_name(1)]
