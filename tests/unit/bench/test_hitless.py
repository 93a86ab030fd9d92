"""What the experiment makes of what it saw, and the network that it sees it in."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from bench.hitless import CASES, COUNT, Case, Outcome, killed_domains, longest_gap_ns, messages, report, topology
from bench.hitless import network_of as network_in
from bench.streams import Packet
from controller.units import NS_PER_MS

CASE = Case("case", most_lost=0, most_gap_ms=20, most_ready_s=3, most_messages=0)
GOOD = Outcome(CASE, 1000, 0, 0, 19 * NS_PER_MS, 2.5, 0, 0, 0, ())


def test_the_network_is_admitted() -> None:
    with network_in(topology()) as network:
        assert len(network.channels) == COUNT


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_each_pair_of_processes_is_killed_together() -> None:
    together = {frozenset(case.victims) for case in CASES}
    processes = [case.victims[0] for case in CASES if len(case.victims) == 1]
    assert len(processes) == 6
    assert {frozenset(pair) for pair in combinations(processes, 2)} <= together


def test_the_longest_gap_is_between_arrivals_whatever_their_order() -> None:
    packets = [Packet(0, 10), Packet(5, 25), Packet(10, 10)]
    assert longest_gap_ns(packets) == 10
    assert longest_gap_ns([]) == 0


def test_a_controller_that_began_anew_counts_from_zero() -> None:
    assert killed_domains(Case("both", ("controller of left", "ovs-vswitchd"))) == {"left"}
    assert messages({"left": 40, "right": 50}, {"left": 3, "right": 52}, {"left"}) == 5


def test_all_is_well() -> None:
    assert report([GOOD], 200).holds


@pytest.mark.parametrize(
    "change",
    [{"lost": 1}, {"reordered": 1}, {"gap_ns": 21 * NS_PER_MS}, {"ready_s": 3.1}, {"messages": 1}, {"falls": 1}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_over_its_limit_is_said(change: dict[str, float]) -> None:
    found = report([replace(GOOD, **change)], 200)
    assert [verdict.holds for verdict in found.verdicts].count(False) == 1


def test_what_has_no_limit_is_only_shown() -> None:
    found = report([replace(GOOD, case=Case("free"), lost=5, messages=9)], 200)
    assert found.holds
    assert found.rows[0][2] == "5"


def test_what_never_came_back_is_null_and_fails() -> None:
    found = report([replace(GOOD, ready_s=float("inf"))], 200)
    assert not found.holds
    assert '"ready_s": null' in found.as_json()
