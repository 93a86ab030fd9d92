"""The life of an installation: the table is all that can happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.lifecycle import TRANSITIONS, ImpossibleStepError, Installation, State, Step, standing

FROM_WAITING_TO = {
    State.WAITING: (),
    State.INSTALLING: (Step.SENT,),
    State.INSTALLED: (Step.SENT, Step.CONFIRMED),
    State.REFUSED: (Step.SENT, Step.REFUSED),
}
IMPOSSIBLE = sorted((state, step) for state in FROM_WAITING_TO for step in Step if (state, step) not in TRANSITIONS)


def installation(state: State) -> Installation:
    found = Installation("left", ())
    for number, step in enumerate(FROM_WAITING_TO[state]):
        found.take(step, now_ns=number)
    assert found.state is state
    return found


@pytest.mark.parametrize(("state", "step"), TRANSITIONS)
def test_a_step_in_the_table_leads_where_it_says(state: State, step: Step) -> None:
    moved = installation(state)
    moved.take(step, now_ns=77, why="so")
    assert (moved.state, moved.why, moved.since_ns) == (TRANSITIONS[state, step], "so", 77)


@pytest.mark.parametrize(("state", "step"), IMPOSSIBLE)
def test_a_step_that_is_not_in_the_table_is_an_error_and_changes_nothing(state: State, step: Step) -> None:
    stuck = installation(state)
    before = (stuck.state, stuck.why, stuck.since_ns)
    with pytest.raises(ImpossibleStepError, match=f"on left that is {state} cannot be {step}"):
        stuck.take(step, now_ns=77, why="so")
    assert (stuck.state, stuck.why, stuck.since_ns) == before


def test_the_two_lists_are_all_combinations() -> None:
    assert len(TRANSITIONS) + len(IMPOSSIBLE) == len(FROM_WAITING_TO) * len(Step)


def test_an_installation_begins_by_waiting() -> None:
    assert (Installation("left", ()).state, Installation("left", ()).why) == (State.WAITING, "")


def test_losing_a_switch_is_possible_in_every_state() -> None:
    for state in FROM_WAITING_TO:
        assert TRANSITIONS[state, Step.LOST] is State.WAITING


@given(st.lists(st.sampled_from(Step), max_size=30))
def test_nothing_is_installed_unless_it_was_found_or_sent_and_confirmed_since_it_was_lost(steps: list[Step]) -> None:
    walker = Installation("left", ())
    taken: list[Step] = []
    for now_ns, step in enumerate(steps):
        try:
            walker.take(step, now_ns)
        except ImpossibleStepError:
            continue
        taken.append(step)
        assert walker.since_ns == now_ns
        if walker.state is State.INSTALLED:
            assert taken[-1:] == [Step.FOUND] or taken[-2:] == [Step.SENT, Step.CONFIRMED]


@given(st.lists(st.sampled_from(Step), max_size=30))
def test_from_everywhere_there_is_a_way_to_installed(steps: list[Step]) -> None:
    walker = Installation("left", ())
    for step in steps:
        if (walker.state, step) in TRANSITIONS:
            walker.take(step, 0)
    for step in (Step.LOST, Step.SENT, Step.CONFIRMED):
        walker.take(step, 1)
    assert walker.state is State.INSTALLED


def test_standing_names_the_reason_if_there_is_one() -> None:
    assert standing(State.REFUSED, "no room") == "refused: no room"
    assert standing(State.INSTALLING, "") == "installing"
