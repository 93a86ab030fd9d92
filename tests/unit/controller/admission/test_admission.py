"""Admission against a simulator that is written from the definition, and against answers known beforehand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.edf_simulator import LINK_BPS, Source, longest_delays, missed

from controller.admission.condition import (
    Demand,
    EdfLink,
    asked_bits,
    delay_bounds_ns,
    is_admitted,
    shortage,
    smallest_slack_ns,
)
from controller.units import NS_PER_MS, NS_PER_US

SETS = 5000
LINK = EdfLink("the uplink", LINK_BPS, be_slack_ns=2 * NS_PER_MS)


def demand_of(number: int, source: Source) -> Demand:
    burst_bytes = source.burst_packets * source.frame_bytes
    return Demand(f"c{number}", source.deadline_ns, source.rate_bps, burst_bytes, source.frame_bytes)


def random_sets(seed: int) -> Iterator[tuple[list[Source], EdfLink]]:
    """Sets of 2 to 50 channels around the border of what the link can do."""
    rng = random.Random(seed)
    for _ in range(SETS):
        link = replace(LINK, be_slack_ns=rng.choice([200, 500, 1000, 2000]) * NS_PER_US)
        count = rng.randint(2, 50)
        packets = max(1, round(rng.uniform(0.3, 2.5) * link.be_slack_ns / 8 / 800 / count))
        yield (
            [
                Source(
                    deadline_ns=rng.randint(100, 4000) * NS_PER_US,
                    rate_bps=rng.randint(10**6, 2 * LINK_BPS // (3 * count)),
                    burst_packets=rng.randint(1, 2 * packets),
                    frame_bytes=rng.randint(100, 1546),
                )
                for _ in range(count)
            ],
            link,
        )


def test_accepted_sets_never_miss_and_refused_ones_nearly_always_do() -> None:
    verdicts = {True: [0, 0], False: [0, 0]}
    for sources, link in random_sets(seed=1):
        accepted = is_admitted(link, [demand_of(number, source) for number, source in enumerate(sources)])
        has_missed = missed(sources, link.be_slack_ns, link.be_frame_bytes, until_ns=10 * NS_PER_MS) > 0
        verdicts[accepted][has_missed] += 1
    assert min(sum(counts) for counts in verdicts.values()) > SETS / 5, "both verdicts must be tried often"
    assert verdicts[True][True] == 0
    assert verdicts[False][True] >= 0.95 * sum(verdicts[False])


def alone(deadline_ns: int, burst_bytes: int = 1546) -> list[Demand]:
    return [Demand("c", deadline_ns, 10**6, burst_bytes)]


def test_one_packet_needs_its_own_time_and_that_of_the_labelled_frame_before_it() -> None:
    """1,546 bytes each, 8 ns each: the one before may be a postponed one of its own channel."""
    exactly_ns = (1546 + 1546) * 8
    assert is_admitted(LINK, alone(exactly_ns))
    assert not is_admitted(LINK, alone(exactly_ns - 1))
    assert delay_bounds_ns(LINK, alone(NS_PER_MS)) == {"c": exactly_ns}


def test_a_frame_with_a_later_deadline_blocks_too() -> None:
    link = replace(LINK, be_frame_bytes=100)
    urgent, jumbo = Demand("urgent", 20_000, 10**6, 1000, 1000), Demand("jumbo", 1_000_000, 10**6, 9000, 9000)
    assert is_admitted(link, [urgent])
    assert not is_admitted(link, [urgent, jumbo])
    assert is_admitted(link, [replace(urgent, deadline_ns=80_000), jumbo])


def test_rates_must_stay_below_the_link() -> None:
    half = Demand("a", 100 * NS_PER_MS, LINK_BPS // 2, 1546)
    found = shortage(LINK, [half, replace(half, name="b")])
    assert found is not None
    assert (found.t_ns, found.missing_bits, found.heaviest) == (None, 1, ("a", "b"))
    assert is_admitted(LINK, [half, replace(half, name="b", rate_bps=LINK_BPS // 2 - 1)])


def test_rates_that_are_too_much_are_told_of_whoever_is_due_late() -> None:
    """With a slack and deadlines of more than the second that such a shortage counts by."""
    found = shortage(replace(LINK, be_slack_ns=2000 * NS_PER_MS), [Demand("c", 3000 * NS_PER_MS, LINK_BPS, 1546)])
    assert found is not None
    assert (found.t_ns, found.heaviest) == (None, ("c",))


def test_a_long_deadline_is_worth_no_more_than_the_slack() -> None:
    """200 packets at once take 2.5 ms: no deadline helps where best effort goes first down to 2 ms of slack."""
    burst = alone(1000 * NS_PER_MS, burst_bytes=200 * 1546)
    assert not is_admitted(LINK, burst)
    slack_ns = smallest_slack_ns(LINK, burst)
    assert slack_ns == (1546 + 200 * 1546) * 8
    assert is_admitted(replace(LINK, be_slack_ns=slack_ns), burst)


def test_a_shortage_says_when_how_much_and_who_weighs_most() -> None:
    small, large = Demand("small", NS_PER_MS, 10**6, 1546), Demand("large", NS_PER_MS, 10**6, 150_000)
    found = shortage(LINK, [small, large])
    assert found is not None
    assert (found.link, found.t_ns, found.heaviest) == ("the uplink", NS_PER_MS, ("large", "small"))
    assert found.missing_bits == (150_000 + 1546 + 1546) * 8 - 10**6


def test_nothing_is_always_admitted() -> None:
    assert is_admitted(LINK, [])
    assert smallest_slack_ns(LINK, []) is None


DEMANDS = st.lists(
    st.builds(
        Demand,
        name=st.uuids().map(str),
        deadline_ns=st.integers(1, 10**8),
        rate_bps=st.integers(1, 10**8),
        burst_bytes=st.integers(64, 10**5),
        frame_bytes=st.integers(64, 1546),
    ),
    max_size=8,
)


@given(DEMANDS, st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(demands: list[Demand], rng: random.Random) -> None:
    shuffled = list(demands)
    rng.shuffle(shuffled)
    first, second = shortage(LINK, demands), shortage(LINK, shuffled)
    assert (first is None) == (second is None)
    if first and second:
        assert (first.t_ns, first.missing_bits) == (second.t_ns, second.missing_bits)


@given(DEMANDS, st.data())
def test_whoever_leaves_does_no_harm(demands: list[Demand], data: st.DataObject) -> None:
    if demands and is_admitted(LINK, demands):
        gone = data.draw(st.sampled_from(demands))
        assert is_admitted(LINK, [each for each in demands if each is not gone])


@given(DEMANDS)
def test_no_packet_takes_longer_than_its_bound_and_no_bound_is_longer_than_the_deadline(demands: list[Demand]) -> None:
    bounds = delay_bounds_ns(LINK, demands)
    assert bounds.keys() == ({demand.name for demand in demands} if is_admitted(LINK, demands) else set())
    for demand in demands:
        assert bounds.get(demand.name, 0) <= demand.deadline_ns


def test_every_deadline_may_be_shortened_to_its_bound_in_the_simulator() -> None:
    """Without a slack to wait for, what is sent after the bound of its channel would be a miss of that deadline."""
    tried = 0
    for sources, link in random_sets(seed=2):
        demands = [demand_of(number, source) for number, source in enumerate(sources)]
        if not (bounds := delay_bounds_ns(link, demands)):
            continue
        tried += 1
        late = longest_delays(sources, link.be_slack_ns, link.be_frame_bytes, until_ns=5 * NS_PER_MS)
        for number, delay_ns in enumerate(late):
            assert delay_ns <= bounds[f"c{number}"]
    assert tried > SETS / 20


def test_what_is_asked_is_what_the_condition_compares() -> None:
    demands = alone(NS_PER_MS)
    assert asked_bits(LINK, demands, NS_PER_MS - 1) == 8 * 1546
    assert asked_bits(LINK, demands, NS_PER_MS) == 8 * (1546 + 1546)
    assert asked_bits(LINK, demands, 2 * NS_PER_MS) == 8 * (1546 + 1546) + 1000
