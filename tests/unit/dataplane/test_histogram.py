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
