"""How the admission benchmark makes its networks, and how it judges what it measured."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from bench.admission import SHARED, SPREAD, Case, channels, measure, network, report
from controller.units import NS_PER_MS


def case(size: int, *times_ns: int) -> Case:
    return Case(SHARED, size, 5 * NS_PER_MS, times_ns, accepted=len(times_ns))


@pytest.mark.parametrize(("size", "most_ns"), [(1_000, NS_PER_MS), (10_000, 20 * NS_PER_MS)])
def test_the_median_must_be_within_the_limit(size: int, most_ns: int) -> None:
    assert report([case(size, 1, most_ns, 100 * most_ns)]).holds
    assert not report([case(size, 1, most_ns + 1, most_ns + 1)]).holds


def test_a_hundred_channels_are_shown_but_not_judged() -> None:
    shown = report([case(100, NS_PER_MS, 3 * NS_PER_MS)])
    assert shown.verdicts == []
    assert shown.rows == [(SHARED, "100", "5.0", "2.00", "2.98", "3.00", "2 of 2")]


@pytest.mark.parametrize("name", [SPREAD, SHARED])
def test_its_networks_have_room(name: str) -> None:
    assert measure(name, size=50, count=3).accepted == 3


@pytest.mark.parametrize(("name", "pairs"), [(SPREAD, 56), (SHARED, 1)])
def test_between_which_ends_its_channels_run(name: str, pairs: int) -> None:
    made = list(islice(channels(network(), name, Random(1)), 1_000))
    assert len({(each.talker, each.listener) for each in made}) == pairs
    assert len({each.name for each in made}) == 1_000
