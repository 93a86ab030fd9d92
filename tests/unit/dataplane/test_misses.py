"""When what is told of which channel's misses, at literal times."""

from __future__ import annotations

from typing import Any

import pytest

from dataplane.misses import PERIOD_NS, SINGLES_MAX, Counted, Miss, MissBook

MS = 1_000_000


def book(**counted: Counted) -> MissBook:
    return MissBook({int(label.strip("c")): each for label, each in counted.items()}, 0)


def told(found: dict[str, Any]) -> list[tuple[int, int, int, int]]:
    return [(each["label"], each["misses"], each["packets"], each["total_misses"]) for each in found["channels"]]


def test_nothing_is_due_without_misses() -> None:
    assert (book().due(10**18), book().next_due_ns()) == ([], None)


def test_the_first_miss_is_told_at_once() -> None:
    found = book(c17=Counted(100, 4))
    found.add([Miss(17, 700, 99)])
    assert found.due(MS) == [17]
    assert found.tell({17: Counted(110, 5)}, MS) == {
        "event": "misses",
        "misses": [{"label": 17, "lateness_ns": 700, "at_ns": 99}],
        "channels": [
            {"label": 17, "misses": 1, "packets": 10, "worst_ns": 700, "mean_ns": 700, "window_ns": MS,
             "total_misses": 5, "first_at_ns": 99}
        ],
    }  # fmt: skip
    assert found.next_due_ns() is None


def test_later_ones_wait_for_the_period_and_others_do_not() -> None:
    found = book()
    found.add([Miss(17, 1, 1)])
    found.tell({17: Counted(1, 1)}, 0)
    found.add([Miss(17, 10, 2), Miss(17, 30, 3), Miss(18, 5, 4)])
    assert found.due(MS) == [18]
    assert told(found.tell({18: Counted(7, 1)}, MS)) == [(18, 1, 7, 1)]
    assert (found.due(PERIOD_NS - 1), found.next_due_ns(), found.due(PERIOD_NS)) == ([], PERIOD_NS, [17])
    (channel,) = found.tell({17: Counted(9, 3)}, PERIOD_NS)["channels"]
    assert (channel["mean_ns"], channel["worst_ns"], channel["first_at_ns"]) == (20, 30, 2)


def test_after_a_quiet_time_the_next_one_is_told_at_once() -> None:
    found = book()
    found.add([Miss(17, 1, 1)])
    found.tell({17: Counted(1, 1)}, 0)
    found.add([Miss(17, 1, 2)])
    assert found.due(PERIOD_NS) == [17]


def test_misses_that_never_came_one_by_one_are_counted_too() -> None:
    found = book()
    found.add([Miss(17, 1, 1)] * 3)
    assert told(found.tell({17: Counted(1000, 900)}, 0)) == [(17, 900, 1000, 900)]
    found.add([Miss(17, 1, 1)])
    assert told(found.tell({17: Counted(1001, 901)}, PERIOD_NS)) == [(17, 1, 1, 901)]


def test_what_was_counted_already_is_not_told_again() -> None:
    """The core counts a miss before it tells it, so a report may run ahead of the single ones."""
    found = book()
    found.add([Miss(17, 1, 1)])
    found.tell({17: Counted(2, 2)}, 0)
    found.add([Miss(17, 1, 2)])
    assert found.tell({17: Counted(2, 2)}, PERIOD_NS)["channels"] == []


@pytest.mark.parametrize("misses", [1, 2, 40, 41])
def test_a_channel_that_was_removed_and_is_back_counts_anew_and_is_told_of_at_once(misses: int) -> None:
    found = book(c17=Counted(1000, 1))
    found.add([Miss(17, 1, 1)])
    found.tell({17: Counted(1050, 40)}, 0)
    found.forget([17, 18])
    found.add([Miss(17, 1, 2)])
    assert found.due(MS) == [17]
    assert told(found.tell({17: Counted(60, misses)}, MS)) == [(17, misses, 60, misses)]


def test_of_a_channel_that_is_removed_nothing_more_is_told() -> None:
    found = book(c17=Counted(50, 40))
    found.add([Miss(17, 1, 1)])
    found.forget([17])
    assert (found.due(PERIOD_NS), found.next_due_ns()) == ([], None)


def test_single_misses_are_the_last_few() -> None:
    found = book()
    found.add(Miss(17, 1, at_ns) for at_ns in range(1, 1001))
    singles = found.tell({17: Counted(1000, 1000)}, 0)["misses"]
    assert [single["at_ns"] for single in singles] == list(range(1001 - SINGLES_MAX, 1001))
