"""The cycles experiment: how runs end, and what its report makes of them."""

from __future__ import annotations

import signal

from bench.cycles import Cycle, report, way_to_end
from bench.snapshot import Snapshot

NOTHING: frozenset[str] = frozenset()


def test_every_tenth_is_killed_but_never_the_last() -> None:
    for count in (1, 10, 20, 25):
        ways = [way_to_end(number, count) for number in range(1, count + 1)]
        assert ways[-1] is not signal.SIGKILL
        killed = [number for number, how in enumerate(ways, start=1) if how is signal.SIGKILL]
        assert killed == [number for number in (10, 20) if number < count]


def test_clean_cycles_hold() -> None:
    outcome = report([Cycle(signal.SIGINT, 2.0, 0.5, []), Cycle(signal.SIGINT, 3.0, 0.5, [])])
    assert outcome.holds
    assert outcome.rows == [("SIGINT", 2, "2.50", "3.00", "0.50", "0.50", 0)]


def test_what_is_left_is_named_with_its_cycle() -> None:
    outcome = report([Cycle(signal.SIGINT, 2.0, 0.5, []), Cycle(signal.SIGTERM, 2.0, 0.5, ["interfaces: left-up"])])
    assert not outcome.holds
    assert [verdict.text for verdict in outcome.verdicts[1:]] == ["cycle 2: interfaces: left-up"]


def test_a_snapshot_tells_only_what_came() -> None:
    before = Snapshot(frozenset({"1 rtvnic"}), NOTHING, frozenset({"eth0"}), NOTHING, NOTHING)
    after = Snapshot(NOTHING, NOTHING, frozenset({"eth0", "left-up"}), NOTHING, frozenset({"/run/rtvnic"}))
    assert after.since(before) == ["interfaces: left-up", "files: /run/rtvnic"]
    assert before.since(before) == []
