"""When a guest asks what: every test gives the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest.messages import (
    Answer,
    Change,
    Close,
    Message,
    Missed,
    Open,
    Renew,
    Request,
    State,
    Status,
    Subscribe,
    decoded_request,
    encoded,
)
from guest.session import AGAIN_NS, PAUSES_NS, Question, Session
from guest.units import NS_PER_MS, NS_PER_S

OPEN = Open(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1"), 40000, 5000, 17, 0, 0, 5_000_000, 2_000_000, 30)
OPENED = Answer(Status.DONE, State.INSTALLED, 17, 30, 3_200_000, 5_000_000, 2_000_000)
UNKNOWN = Answer(Status.UNKNOWN, 0, 17, 0, 0, 0, 0, "its lease has ended")
MISSED = Missed(17, 2, 40, 2, 700_000, 400_000, 100_000_000, 20_000)
START_NS = 1000 * NS_PER_S


def session() -> Session:
    return Session(OPEN, OPENED, count(1).__next__, START_NS)


def said(session: Session, now_ns: int) -> dict[type[Request], int]:
    """What it sends at a time: the kinds of requests, and their nonces."""
    return {type(request): nonce for request, nonce in map(decoded_request, session.turn(now_ns))}


def requests(session: Session, now_ns: int) -> list[Request]:
    return [decoded_request(datagram)[0] for datagram in session.turn(now_ns)]


def settle(session: Session, now_ns: int, answer: Answer = OPENED) -> None:
    """Answer all that it asks at a time."""
    for nonce in said(session, now_ns).values():
        session.hear(encoded(answer, nonce), now_ns)


def moments(session: Session, end_ns: int) -> Iterator[int]:
    """Every time at which it wants to be turned until then."""
    while session.wake_ns <= end_ns:
        yield session.wake_ns


def test_a_question_is_repeated_with_the_same_nonce_and_ends() -> None:
    question = Question(Close(17), 5, START_NS)
    sent = {}
    while not question.is_over:
        now_ns = question.wake_ns
        sent[now_ns - START_NS] = question.turn(now_ns)
    pauses_ms = [0, 50, 150, 350, 750, 1550]
    assert [*sent] == [ms * NS_PER_MS for ms in (*pauses_ms, 3150)]
    assert [*sent.values()] == [encoded(Close(17), 5)] * len(pauses_ms) + [None]


def test_a_question_says_nothing_between_its_times() -> None:
    question = Question(Close(17), 5, START_NS)
    question.turn(START_NS)
    assert question.turn(START_NS + PAUSES_NS[0] - 1) is None


@pytest.mark.parametrize("reply", [MISSED, replace(OPENED, status=Status.BUSY)])
def test_a_question_is_not_answered_by_call_ups_nor_by_busy(reply: Message) -> None:
    question = Question(Close(17), 5, START_NS)
    assert question.answer(encoded(reply, 5)) is None
    assert question.is_busy == isinstance(reply, Answer)


def test_a_question_that_was_answered_busy_is_that_whatever_else_is_heard() -> None:
    question = Question(Close(17), 5, START_NS)
    question.answer(encoded(replace(OPENED, status=Status.BUSY), 5))
    for datagram in (b"noise", encoded(OPENED, 6), encoded(MISSED, 5)):
        assert question.answer(datagram) is None
        assert question.is_busy


def test_a_question_is_answered_by_its_nonce_only() -> None:
    question = Question(Close(17), 5, START_NS)
    assert question.answer(encoded(OPENED, 6)) is None
    assert question.answer(b"noise") is None
    assert question.answer(encoded(OPENED, 5)) == OPENED


def test_subscribes_at_once_and_renews_at_thirds_of_the_lease() -> None:
    channel = session()
    assert requests(channel, START_NS) == [Subscribe(17, 30)]
    settle(channel, START_NS + PAUSES_NS[0])
    assert channel.wake_ns == START_NS + 10 * NS_PER_S
    assert requests(channel, START_NS + 10 * NS_PER_S) == [Renew(17, 30)]


def test_a_renewal_that_nobody_answers_is_begun_again_with_another_nonce() -> None:
    channel = session()
    settle(channel, START_NS)
    asked: dict[int, int] = {}  # when each nonce was first used for a renewal
    for now_ns in moments(channel, START_NS + 30 * NS_PER_S):
        for kind, nonce in said(channel, now_ns).items():
            if kind is Renew:
                asked.setdefault(nonce, now_ns - START_NS)
            else:
                channel.hear(encoded(OPENED, nonce), now_ns)
    round_ns = sum(PAUSES_NS) + AGAIN_NS
    assert [*asked.values()] == [10 * NS_PER_S + turn * round_ns for turn in range(5)]


def test_a_lost_channel_is_opened_anew_and_followed() -> None:
    channel = session()
    settle(channel, START_NS)
    now_ns = START_NS + 10 * NS_PER_S
    channel.hear(encoded(UNKNOWN, said(channel, now_ns)[Renew]), now_ns)
    assert (channel.standing.is_lost, channel.standing.reason) == (True, "its lease has ended")

    channel.hear(encoded(replace(OPENED, channel_id=18), said(channel, now_ns)[Open]), now_ns)
    assert (channel.standing.channel_id, channel.standing.is_lost) == (18, False)
    assert Subscribe(18, 30) in requests(channel, now_ns)
    assert Renew(18, 30) in requests(channel, now_ns + 10 * NS_PER_S)


def test_a_channel_that_was_opened_anew_is_asked_after_soon() -> None:
    """Its lease may be an hour."""
    channel = Session(replace(OPEN, lease_s=3600), OPENED, count(1).__next__, START_NS)
    now_ns = START_NS + 1200 * NS_PER_S
    settle(channel, now_ns, UNKNOWN)
    settle(channel, now_ns, replace(OPENED, state=State.WAITING))
    assert channel.standing.state == State.WAITING
    settle(channel, now_ns + AGAIN_NS)
    assert channel.standing.state == State.INSTALLED
    assert Renew not in said(channel, now_ns + 1200 * NS_PER_S)


def test_a_lost_channel_that_is_refused_is_asked_for_again() -> None:
    channel = session()
    settle(channel, START_NS)
    now_ns = START_NS + 10 * NS_PER_S
    channel.hear(encoded(UNKNOWN, said(channel, now_ns)[Renew]), now_ns)
    refusal = Answer(Status.REFUSED, 0, 0, 0, 0, 6_000_000, 0, "the link is full")
    channel.hear(encoded(refusal, said(channel, now_ns)[Open]), now_ns)
    assert (channel.standing.state, channel.standing.reason) == (State.REFUSED, "the link is full")

    later_ns = now_ns + 10 * NS_PER_S
    assert channel.wake_ns <= later_ns
    channel.hear(encoded(OPENED, said(channel, later_ns)[Open]), later_ns)
    assert (channel.standing.state, channel.standing.is_lost) == (State.INSTALLED, False)


def test_what_is_changed_is_what_is_opened_anew() -> None:
    channel = session()
    settle(channel, START_NS)
    channel.change(Change(17, 0, 0, 4_000_000, 0), replace(OPENED, deadline_ns=4_000_000))
    assert channel.standing.deadline_ns == 4_000_000

    now_ns = START_NS + 10 * NS_PER_S
    settle(channel, now_ns, UNKNOWN)
    assert replace(OPEN, deadline_ns=4_000_000) in requests(channel, now_ns)


def test_call_ups_come_by_the_nonces_of_subscriptions() -> None:
    channel = session()
    first = said(channel, START_NS)[Subscribe]
    assert channel.hear(encoded(MISSED, first), START_NS) == MISSED
    settle(channel, START_NS + PAUSES_NS[0])

    second = said(channel, START_NS + 11 * NS_PER_S)[Subscribe]
    assert second != first
    for nonce in (first, second):
        assert channel.hear(encoded(MISSED, nonce), START_NS + 11 * NS_PER_S) == MISSED
    assert channel.hear(encoded(MISSED, second + 1000), START_NS) is None


def test_call_ups_are_heard_though_nobody_answers_who_subscribes_again() -> None:
    """Its requests are lost, while the subscription lasts for what is left of its lease."""
    channel = session()
    first = said(channel, START_NS)[Subscribe]
    channel.hear(encoded(OPENED, first), START_NS)
    end_ns = START_NS + 29 * NS_PER_S
    nonces = {said(channel, now_ns).get(Subscribe, first) for now_ns in moments(channel, end_ns)}
    assert len(nonces) > 3
    for nonce in nonces:
        assert channel.hear(encoded(MISSED, nonce), end_ns) == MISSED


def test_misses_are_counted_on_over_lost_call_ups() -> None:
    channel = session()
    nonce = said(channel, START_NS)[Subscribe]
    for total in (2, 9):
        channel.hear(encoded(replace(MISSED, total_misses=total), nonce), START_NS)
    assert channel.total_misses == 9


def test_misses_are_counted_from_where_the_listeners_shim_begins_anew() -> None:
    channel = session()
    nonce = said(channel, START_NS)[Subscribe]
    found = []
    for total in (1000, 5, 9):
        channel.hear(encoded(replace(MISSED, total_misses=total), nonce), START_NS)
        found.append(channel.total_misses)
    assert found == [1000, 5, 9]


@given(st.lists(st.tuples(st.integers(0, 20 * NS_PER_S), st.integers(0, 12), st.sampled_from(Status)), max_size=30))
def test_whatever_is_answered_it_goes_on_asking(answers: list[tuple[int, int, Status]]) -> None:
    channel, now_ns = session(), START_NS
    for pause_ns, nonce, status in answers:
        now_ns += pause_ns
        channel.turn(now_ns)
        channel.hear(encoded(replace(OPENED, status=status), nonce), now_ns)
        channel.turn(now_ns)
        assert now_ns < channel.wake_ns <= now_ns + 10 * NS_PER_S
