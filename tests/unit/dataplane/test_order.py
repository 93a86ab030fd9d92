"""The order of a channel's packets in the C core, whatever becomes of its terms."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dataplane._core import ffi, lib

STEPS = st.lists(st.one_of(st.none(), st.integers(-(10**12), 10**12)), max_size=50)
"""A packet leaves, or comes and would be due then."""


@given(STEPS)
def test_no_packet_is_due_before_one_that_still_waits(steps: list[int | None]) -> None:
    order: Any = ffi.new("struct order *")
    waiting: list[int] = []
    for due_ns in steps:
        if due_ns is None:
            lib.order_leave(order)
            waiting = waiting[1:]
            continue
        found_ns = lib.order_enter(order, 1, due_ns)
        assert found_ns == max([due_ns, *waiting[-1:]])
        waiting.append(found_ns)
    assert order.waiting == len(waiting)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_no_packet_may_go_before_one_of_its_channel(releases_ns: list[int]) -> None:
    order: Any = ffi.new("struct order *", {"release_ns": -(10**12)})
    found_ns = [lib.order_release(order, release_ns) for release_ns in releases_ns]
    assert found_ns == list(accumulate(releases_ns, max))


def test_a_fresh_start_forgets_what_waited() -> None:
    order: Any = ffi.new("struct order *")
    assert lib.order_enter(order, 1, 500) == 500
    assert lib.order_enter(order, 1, 200) == 500
    assert lib.order_release(order, 700) == 700
    assert lib.order_enter(order, 2, 200) == 200
    assert lib.order_release(order, 300) == 300
