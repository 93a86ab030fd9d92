"""The C queue on its own: its bounds, and its order over the wrap of its sequence numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dataplane._core import ffi, lib


@pytest.fixture
def queue() -> Iterator[Any]:
    """Room for three."""
    empty = ffi.new("struct edf_queue *")
    assert lib.edf_queue_init(empty, 3) == 0
    yield empty
    lib.edf_queue_destroy(empty)


def test_a_full_queue_refuses_and_keeps_what_it_has(queue: Any) -> None:
    assert [lib.edf_queue_push(queue, deadline, item) for item, deadline in enumerate((30, 10, 20))] == [True] * 3
    assert not lib.edf_queue_push(queue, 5, 99)
    assert [lib.edf_queue_pop(queue) for _ in range(3)] == [1, 2, 0]
    assert queue.count == 0


def test_equal_deadlines_stay_in_order_when_the_sequence_wraps(queue: Any) -> None:
    queue.next_sequence = 2**32 - 2
    for item in range(3):
        assert lib.edf_queue_push(queue, 10, item)
    assert queue.next_sequence == 1
    assert [lib.edf_queue_pop(queue) for _ in range(3)] == [0, 1, 2]


def test_deadlines_may_lie_before_the_clocks_start(queue: Any) -> None:
    for item, deadline in enumerate((0, -(2**62), 2**62)):
        assert lib.edf_queue_push(queue, deadline, item)
    assert [lib.edf_queue_pop(queue) for _ in range(3)] == [1, 0, 2]
