"""The C histogram against sorted lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane._core import ffi, lib

RANGE_NS = 2**33
PRECISION = 1 / 64
QUANTILES = {"p50": 500, "p90": 900, "p99": 990, "p999": 999}


def summarize(values: list[int]) -> Any:
    histogram, summary = ffi.new("struct histogram *"), ffi.new("struct summary *")
    for value in values:
        lib.histogram_record(histogram, value)
    lib.histogram_summarize(histogram, summary)
    return summary


def exact(values: list[int], permille: int) -> int:
    rank = (len(values) * permille + 999) // 1000
    return sorted(values)[rank - 1]


@given(st.lists(st.integers(-RANGE_NS + 1, RANGE_NS - 1), min_size=1, max_size=200))
def test_quantiles_are_close_and_the_rest_exact(values: list[int]) -> None:
    summary = summarize(values)
    assert (summary.count, summary.min, summary.max) == (len(values), min(values), max(values))
    assert abs(summary.mean - sum(values) / len(values)) < 1
    for name, permille in QUANTILES.items():
        assert getattr(summary, name) == pytest.approx(exact(values, permille), rel=PRECISION, abs=0)


@given(st.lists(st.integers(-63, 63), min_size=1))
def test_small_values_are_exact(values: list[int]) -> None:
    summary = summarize(values)
    assert [getattr(summary, name) for name in QUANTILES] == [exact(values, rank) for rank in QUANTILES.values()]


@pytest.mark.parametrize("value", [RANGE_NS, 2**62, -RANGE_NS, -(2**63), 2**63 - 1])
def test_values_beyond_the_range_are_counted_at_its_end(value: int) -> None:
    summary = summarize([value])
    assert (summary.count, summary.min, summary.max, summary.p50) == (1, value, value, value)


def test_an_empty_one_is_all_zero() -> None:
    summary = summarize([])
    assert (summary.count, summary.min, summary.mean, summary.p999, summary.max) == (0, 0, 0, 0, 0)


def cumulate(values: list[int], bounds: list[int]) -> list[int]:
    histogram, up_to = ffi.new("struct histogram *"), ffi.new("uint64_t[]", len(bounds))
    for value in values:
        lib.histogram_record(histogram, value)
    lib.histogram_cumulate(histogram, bounds, len(bounds), up_to)
    return list(up_to)


BOUNDS = st.lists(st.integers(-RANGE_NS, RANGE_NS), unique=True).map(sorted)


@given(st.lists(st.integers(-RANGE_NS + 1, RANGE_NS - 1), max_size=200), BOUNDS)
def test_counts_up_to_bounds_are_right_but_for_values_near_them(values: list[int], bounds: list[int]) -> None:
    found = cumulate(values, bounds)
    assert found == sorted(found)
    for bound, count in zip(bounds, found, strict=True):
        near_ns = abs(bound) * 2 * PRECISION
        assert sum(value <= bound - near_ns for value in values) <= count
        assert count <= sum(value <= bound + near_ns for value in values)


@given(st.lists(st.integers(-RANGE_NS + 1, RANGE_NS - 1)))
def test_what_is_not_late_is_counted_exactly(values: list[int]) -> None:
    assert cumulate(values, [0]) == [sum(value <= 0 for value in values)]


@pytest.mark.parametrize("bounds", [lib.delay_bounds_ns, lib.lateness_bounds_ns])
def test_the_shims_bounds_ascend_and_are_within_the_range(bounds: Any) -> None:
    found = list(bounds)
    assert found == sorted(set(found))
    assert found[0] > -RANGE_NS and found[-1] < RANGE_NS
