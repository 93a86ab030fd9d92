"""RoundRobin and budgets."""

from __future__ import annotations

from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from controller.guests.turns import Budget, RoundRobin
from controller.units import NS_PER_S


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


def test_a_budget_is_spent_and_comes_back() -> None:
    budget = Budget(per_s=10, most=2)
    for _ in range(2):
        assert budget.has_any(0)
        budget.spend(1, 0)
    assert not budget.has_any(0)
    assert not budget.has_any(NS_PER_S // 10 - 1)
    assert budget.has_any(NS_PER_S // 10)


def test_a_debt_is_paid_off_first() -> None:
    budget = Budget(per_s=10, most=2)
    budget.spend(12, 0)
    assert not budget.has_any(NS_PER_S)
    assert budget.has_any(NS_PER_S + NS_PER_S // 10)


def test_what_is_saved_has_an_end() -> None:
    budget = Budget(per_s=10, most=2)
    for _ in range(2):
        assert budget.has_any(100 * NS_PER_S)
        budget.spend(1, 100 * NS_PER_S)
    assert not budget.has_any(100 * NS_PER_S)
