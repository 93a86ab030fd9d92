"""What is made of a controller's log and reports: how soon a miss was handled."""

from __future__ import annotations

import json

from bench.misses import CLOCK, DOMAIN, LOG, QUIET_NS, Outcome, delays_ns, report
from controller.units import NS_PER_MS

AT_NS = 1_700_000_000_000_000_000


def test_the_first_misses_after_a_quiet_time_are_measured() -> None:
    reports = [
        {"first_at_ns": AT_NS, "heard_at_ns": AT_NS + 5, "window_ns": QUIET_NS},
        {"first_at_ns": AT_NS, "heard_at_ns": AT_NS + 100, "window_ns": QUIET_NS - 1},
    ]
    entries = [
        {"message": "the store answers"},
        {"message": "late", "handler": "log", "first_at_ns": AT_NS, "started_at_ns": AT_NS + 7, "window_ns": QUIET_NS},
        {"message": f"burst0: the handler {CLOCK} said: {AT_NS} {QUIET_NS} 1700000000.000009"},
    ]
    log = "\n".join(["ready", *map(json.dumps, entries)])
    assert delays_ns(reports, log) == {DOMAIN: [5], LOG: [7], CLOCK: [9000]}


def outcome(program_ms: int) -> Outcome:
    ways = {DOMAIN: [NS_PER_MS] * 200, LOG: [2 * NS_PER_MS] * 200, CLOCK: [program_ms * NS_PER_MS] * 200}
    return Outcome(ways, 1000, 0.01, 1000, 1000, 1000, [NS_PER_MS] * 200, growth_kb=1)


def test_each_end_of_the_way_has_its_row_and_its_verdict() -> None:
    fine, slow = report(outcome(3)), report(outcome(6))
    assert [row[0] for row in fine.rows] == [
        "late packet to the talker's domain",
        "late packet to the log",
        "late packet to a program that runs",
        "echo under the flood",
    ]
    assert all(verdict.holds for verdict in fine.verdicts)
    assert [verdict.text for verdict in slow.verdicts if not verdict.holds] == [
        "to a program that runs: median 6.00 ms, p99 6.00 ms, wanted 5 and 20 or less"
    ]


def test_what_never_started_is_not_soon() -> None:
    never = report(Outcome({LOG: []}, 1000, 0.01, 1000, 1000, 1000, [NS_PER_MS] * 200, growth_kb=1))
    assert not all(verdict.holds for verdict in never.verdicts)
