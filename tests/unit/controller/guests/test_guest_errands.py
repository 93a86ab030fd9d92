"""Errands of guests and ends of leases, in every order in which the store may come to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.guest_desk import CAMERA, NETWORK, RATE_BPS, SENSOR, Desk, opening
from support.guest_frames import says

from controller.guests.contracts import Ending, Errand, Settled
from controller.guests.guest import REMEMBERED_NS, Emit
from controller.guests.leases import LEASE_MAX_S, RETRY_NS, SETTLING_NS
from controller.guests.service import Deed, Service
from controller.store.records import Owner
from controller.units import NS_PER_S
from guest.messages import Change, Close, List, Renew, State, Status


@pytest.fixture
def desk() -> Desk:
    return Desk()


def at_once(desk: Desk, errands: Iterable[Errand], now_ns: int) -> list[Any]:
    """The answers where the service hears of each decision before the next is made."""
    return [answer for each in errands for answer in desk.answers([desk.contracts.settle(each)], now_ns)]


def late(desk: Desk, errands: Iterable[Errand], now_ns: int) -> list[Any]:
    """The answers where it hears of them when all are made."""
    return desk.answers([desk.contracts.settle(each) for each in errands], now_ns)


Deciding = Callable[[Desk, Iterable[Errand], int], list[Any]]
in_both_ways = pytest.mark.parametrize("decide", [at_once, late])


@in_both_ways
def test_what_is_opened_again_before_its_lease_ends_goes_on(desk: Desk, decide: Deciding) -> None:
    label = desk.label(lease_s=1)
    again = desk.errand(opening(), now_ns=NS_PER_S - 1)
    ends = desk.ends(NS_PER_S)
    answer, *_ = decide(desk, [again, *ends], NS_PER_S)
    assert (answer.status, answer.channel_id, answer.lease_s) == (Status.DONE, label, 60)
    desk.tick(61 * NS_PER_S - 1)
    assert len(desk.names) == 1
    desk.tick(61 * NS_PER_S)
    assert desk.names == set()


@in_both_ways
def test_what_is_opened_again_behind_the_end_of_its_lease_is_opened_anew(desk: Desk, decide: Deciding) -> None:
    label = desk.label(lease_s=1)
    ends = desk.ends(NS_PER_S)
    assert desk.ask(Renew(label, 60), now_ns=NS_PER_S).status == Status.UNKNOWN
    again = desk.errand(opening(), now_ns=NS_PER_S)
    (answer,) = decide(desk, [*ends, again], NS_PER_S)
    assert answer.status == Status.DONE
    assert desk.ask(Renew(answer.channel_id, 60), now_ns=NS_PER_S).status == Status.DONE
    desk.tick(61 * NS_PER_S - 1)
    assert len(desk.names) == 1


@in_both_ways
def test_an_end_that_the_store_did_not_take_ends_nothing_that_is_opened_behind_it(desk: Desk, decide: Deciding) -> None:
    desk.label(lease_s=1)
    (end,) = desk.ends(NS_PER_S)
    again = desk.errand(opening(), now_ns=NS_PER_S)
    desk.store.is_away = True
    failed = desk.contracts.settle(end)
    desk.store.is_away = False
    answers = [*desk.answers([failed], NS_PER_S), *decide(desk, [again], NS_PER_S)]
    assert [each.status for each in answers] == [Status.DONE]
    desk.tick(NS_PER_S + RETRY_NS)
    assert len(desk.names) == 1


def test_a_lease_ends_when_what_its_vm_has_asked_is_decided(desk: Desk) -> None:
    label = desk.label(lease_s=1)
    change = desk.errand(Change(label, 0, 0, 0, 2 * RATE_BPS), now_ns=NS_PER_S - 1)
    assert desk.ends(NS_PER_S) == []
    assert [each.status for each in at_once(desk, [change], NS_PER_S)] == [Status.DONE]
    assert desk.ends(2 * NS_PER_S) == [Ending(CAMERA, label)]


def test_meanwhile_it_may_be_renewed(desk: Desk) -> None:
    label = desk.label(lease_s=1)
    change = desk.errand(Change(label, 0, 0, 0, 2 * RATE_BPS))
    desk.tick(NS_PER_S)
    assert desk.ask(Renew(label, 60), now_ns=NS_PER_S).status == Status.DONE
    assert [each.lease_s for each in at_once(desk, [change], NS_PER_S)] == [60]
    desk.tick(2 * NS_PER_S)
    assert len(desk.names) == 1


@in_both_ways
def test_a_change_behind_the_end_of_a_lease_finds_nothing(desk: Desk, decide: Deciding) -> None:
    label = desk.label(lease_s=1)
    ends = desk.ends(NS_PER_S)
    change = desk.errand(Change(label, 0, 0, 0, 2 * RATE_BPS), now_ns=NS_PER_S)
    assert [each.status for each in decide(desk, [*ends, change], NS_PER_S)] == [Status.UNKNOWN]


def test_nobody_waits_for_another_vms_errands(desk: Desk) -> None:
    label = desk.label(lease_s=1)
    desk.errand(opening(vm=SENSOR, rate_bps=500_000), SENSOR)
    assert desk.ends(NS_PER_S) == [Ending(CAMERA, label)]


def test_what_was_put_off_or_refused_holds_up_no_end(desk: Desk) -> None:
    label = desk.label(lease_s=1)
    desk.service.put_off(desk.errand(opening(7001)), 0)
    at_once(desk, [desk.errand(opening(7001, rate_bps=0))], 0)
    assert desk.ends(NS_PER_S) == [Ending(CAMERA, label)]


@in_both_ways
def test_the_end_of_a_lease_ends_nothing_of_another_vm(desk: Desk, decide: Deciding) -> None:
    """An operator has removed the channel, and the store has given its label to another's."""
    label = desk.label(lease_s=1)
    ends = desk.ends(NS_PER_S)
    (name,) = desk.names
    desk.store.change(desk.store.clerk.remove(name, Owner.GUEST))
    desk.service._leases.begin("sensor", label, 60, NS_PER_S)
    decide(desk, ends, NS_PER_S)
    assert desk.service._leases.is_of("sensor", label)
    assert desk.service._leases.left_s(label, NS_PER_S) == 60


@pytest.mark.parametrize("is_closed", [True, False])
def test_what_has_ended_is_not_renewed_by_a_domain_that_has_not_heard_so(desk: Desk, is_closed: bool) -> None:
    label = desk.label(lease_s=1)
    desk.told = desk.store.now
    if is_closed:
        assert desk.ask(Close(label), now_ns=NS_PER_S).status == Status.DONE
    desk.tick(NS_PER_S)
    assert desk.names == set()
    desk.tick(2 * NS_PER_S)
    assert desk.ask(Renew(label, 60), now_ns=2 * NS_PER_S).status == Status.UNKNOWN
    desk.told = None
    assert desk.ask(Renew(label, 60), now_ns=2 * NS_PER_S).status == Status.UNKNOWN
    desk.tick(NS_PER_S + SETTLING_NS)
    assert desk.service._leases.left_s(label, 0) == 0


def test_a_domain_that_does_not_answer_leaves_a_channel_waiting_and_its_nonce_answered(desk: Desk) -> None:
    desk.is_busy = True
    answer = desk.ask(opening(), nonce=5)
    assert (answer.status, answer.state, answer.lease_s) == (Status.DONE, State.WAITING, 60)
    (again,) = desk.deeds(opening(), nonce=5)
    assert isinstance(again, Emit) and says(again.frame)[0] == answer


def test_what_the_store_could_not_decide_is_asked_anew_with_the_same_nonce(desk: Desk) -> None:
    desk.store.is_away = True
    assert desk.ask(opening(), nonce=5).status == Status.BUSY
    desk.store.is_away = False
    assert desk.ask(opening(), nonce=5, now_ns=REMEMBERED_NS - 1).status == Status.DONE


def test_after_a_restart_a_change_is_told_the_longest_lease(desk: Desk) -> None:
    label = desk.label()
    desk.service = Service(NETWORK, "left", desk.look)
    assert desk.ask(Change(label, 0, 0, 0, 2 * RATE_BPS)).lease_s == LEASE_MAX_S


def test_what_a_vm_had_opened_ends_where_its_quota_is_taken_away(desk: Desk) -> None:
    label = desk.label()
    vms = {name: replace(vm, quota=None) for name, vm in NETWORK.vms.items()}
    desk.service = Service(replace(NETWORK, vms=vms), "left", desk.look)
    desk.tick(0)
    assert desk.ends(LEASE_MAX_S * NS_PER_S - 1) == []
    (end,) = desk.ends(LEASE_MAX_S * NS_PER_S)
    assert isinstance(end, Ending) and (end.vm.name, end.channel_id) == ("camera", label)
    desk.settled([end], LEASE_MAX_S * NS_PER_S)
    assert desk.names == set()


def test_after_a_restart_a_list_tells_who_has_opened_what(desk: Desk) -> None:
    label = desk.label()
    desk.service = Service(NETWORK, "left", desk.look)
    leases = {each.channel_id: each.lease_s for each in desk.ask(List(0)).channels}
    assert leases.pop(label) == LEASE_MAX_S
    assert set(leases.values()) == {0}


class Walk:
    """Whatever comes in whichever order. `until_ns`: until when a guest was told that its channel lasts, by label."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.now_ns = 0
        self.line: list[Errand] = []
        self.decided: list[Settled] = []
        self.until_ns: dict[int, int] = {}

    def open(self) -> None:
        self._ask(opening(lease_s=1))

    def change(self) -> None:
        for label in self.until_ns:
            self._ask(Change(label, 0, 0, 0, RATE_BPS))

    def renew(self) -> None:
        for label in [*self.until_ns]:
            self._note(self.desk.ask(Renew(label, 1), now_ns=self.now_ns))

    def tick(self) -> None:
        self.now_ns += NS_PER_S
        self._queue(self.desk.ends(self.now_ns))

    def decide(self) -> None:
        if self.line:
            self.decided.append(self.desk.contracts.settle(self.line.pop(0)))

    def hear(self) -> None:
        if self.decided:
            settled = self.decided.pop(0)
            for answer in self.desk.answers([settled], self.now_ns):
                self._note(answer)

    def tell(self) -> None:
        """The domain hears of what the store has now, and then of nothing until the next time."""
        self.desk.told = self.desk.store.now

    def leave(self) -> None:
        self.desk.store.is_away = not self.desk.store.is_away

    def require_what_was_told(self) -> None:
        records = self.desk.store.now.records.values()
        lasting = {label for label, until_ns in self.until_ns.items() if self.now_ns < until_ns}
        assert lasting <= {each.channel.label for each in records if each.owner is Owner.GUEST}

    def _ask(self, request: Any) -> None:
        self._queue(self.desk.deeds(request, now_ns=self.now_ns))

    def _queue(self, deeds: list[Deed]) -> None:
        self.line += [each for each in deeds if not isinstance(each, Emit)]

    def _note(self, answer: Any) -> None:
        if answer.status == Status.DONE:
            self.until_ns[answer.channel_id] = self.now_ns + answer.lease_s * NS_PER_S


STEPS = (Walk.open, Walk.change, Walk.renew, Walk.tick, Walk.decide, Walk.hear, Walk.tell, Walk.leave)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=30, max_size=60))
def test_a_channel_lasts_as_long_as_its_guest_was_told(steps: list[Callable[[Walk], None]]) -> None:
    walk = Walk()
    for step in steps:
        step(walk)
        walk.require_what_was_told()
