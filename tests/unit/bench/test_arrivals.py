"""Duplicates, reordering and percentiles of arrivals."""

from hypothesis import given
from hypothesis import strategies as st

from bench.arrivals import duplicates, percentile, reordered, summary


def test_packets_in_order_are_neither_duplicates_nor_reordered() -> None:
    assert duplicates(range(5)) == 0
    assert reordered(range(5)) == 0


def test_a_gap_is_no_reordering() -> None:
    assert reordered([0, 1, 5, 6]) == 0


def test_every_further_copy_is_a_duplicate() -> None:
    assert duplicates([0, 1, 1, 2, 1]) == 2


def test_a_late_copy_is_not_reordered() -> None:
    assert reordered([0, 1, 2, 1]) == 0


def test_all_packets_that_one_overtook_are_reordered() -> None:
    assert reordered([0, 3, 1, 2, 4]) == 2


@given(st.permutations(range(20)))
def test_reordered_is_zero_only_in_order(sequences: list[int]) -> None:
    assert (reordered(sequences) == 0) == (sequences == sorted(sequences))


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = range(1, 101)
    assert [percentile(ordered, rank) for rank in (500, 990, 999)] == [50, 99, 100]


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7], 1) == percentile([7], 999) == 7


@given(st.lists(st.integers(), min_size=1), st.integers(1, 1000))
def test_a_percentile_has_its_share_at_or_below(values: list[int], thousandths: int) -> None:
    found = percentile(sorted(values), thousandths)
    assert sum(value <= found for value in values) * 1000 >= thousandths * len(values)
    assert sum(value < found for value in values) * 1000 < thousandths * len(values)


def test_summary() -> None:
    assert summary([3, 1, 2]) == {
        "count": 3, "min": 1, "mean": 2.0, "p50": 2, "p90": 3, "p99": 3, "p999": 3, "max": 3
    }  # fmt: skip


def test_summary_of_nothing_has_the_same_keys() -> None:
    assert summary([]).keys() == summary([1]).keys()
    assert summary([])["max"] is None
