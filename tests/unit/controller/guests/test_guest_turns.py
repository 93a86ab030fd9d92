"""Turns, one item each."""

from __future__ import annotations

from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from controller.guests.turns import RoundRobin


def test_who_has_much_to_ask_waits_for_who_has_little() -> None:
    turns: RoundRobin[str] = RoundRobin(3)
    for number in range(3):
        assert turns.put("greedy", f"greedy {number}")
    assert turns.put("modest", "modest")
    assert [turns.take() for _ in range(5)] == ["greedy 0", "modest", "greedy 1", "greedy 2", None]


def test_a_line_is_short() -> None:
    turns: RoundRobin[int] = RoundRobin(2)
    assert [turns.put("greedy", number) for number in range(4)] == [True, True, False, False]
    assert turns.put("modest", 9)
    assert turns.take() == 0
    assert turns.put("greedy", 4)


@given(st.lists(st.sampled_from("abc"), max_size=50))
def test_turns_go_round_and_each_gets_its_own_in_order(askers: list[str]) -> None:
    turns: RoundRobin[tuple[str, int]] = RoundRobin(100)
    lines: dict[str, list[tuple[str, int]]] = {}
    for number, asker in enumerate(askers):
        turns.put(asker, (asker, number))
        lines.setdefault(asker, []).append((asker, number))
    rounds = [each for turn in zip_longest(*lines.values()) for each in turn if each is not None]
    assert [turns.take() for _ in askers] == rounds
