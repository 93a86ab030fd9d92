"""The thread that owns a domain: in turn, without end, and not stopped by an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from support.networks import two_hypervisors
from support.waiting import Mailbox, wait_until

from controller.domain import loop as loop_module
from controller.domain.domain import Domain
from controller.domain.events import (
    AskContents,
    AskQueues,
    ChannelsTold,
    Command,
    Contents,
    ContentsReported,
    Event,
    Publish,
    QueuesReported,
    Send,
    SetQueues,
    ShimReady,
    SwitchConnected,
)
from controller.domain.loop import DomainLoop
from controller.model import SwitchKind

LONG_NS = 3600 * 10**9


def orders_to(mailbox: Mailbox) -> Callable[[Command], None]:
    """Passes on what is ordered, but for what those who watch are told."""
    return lambda command: None if isinstance(command, Publish) else mailbox.post(command)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


@pytest.fixture
def loop(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> DomainLoop:
    """Without ticks but the first."""
    monkeypatch.setattr(loop_module, "TICK_NS", LONG_NS)
    made = DomainLoop(Domain(two_hypervisors(kind=SwitchKind.PLAIN), "left"), orders_to(mailbox))
    made.start()
    return made


def test_events_are_handled_in_their_order_and_commands_passed_on(loop: DomainLoop, mailbox: Mailbox) -> None:
    loop.post(SwitchConnected("left"))
    loop.post(ContentsReported("left", Contents()))
    assert mailbox.next() == AskContents("left")
    assert isinstance(mailbox.next(), Send)


def test_of_channels_told_again_and_again_the_last_are_handled(loop: DomainLoop, mailbox: Mailbox) -> None:
    is_over = threading.Event()

    def keep_busy() -> None:
        is_over.wait()

    loop._queue.put(keep_busy)
    channels = two_hypervisors().channels
    for some in ({}, {"video": channels["video"]}):
        loop.post(ChannelsTold(some))
    loop.post(SwitchConnected("left"))
    loop.post(ChannelsTold(channels))
    is_over.set()
    assert loop.ask(lambda domain: domain.channels.keys()) == channels.keys()
    told = [mailbox.next() for _ in range(4)]
    assert told[0] == AskContents("left")
    assert sum(isinstance(each, SetQueues) for each in told) == 1
    assert mailbox.is_empty


def test_a_question_is_answered_after_the_events_before_it(loop: DomainLoop) -> None:
    loop.post(ShimReady(1))
    assert loop.ask(lambda domain: (domain.shim.is_ready, threading.current_thread().name)) == (True, "domain")


def test_an_error_in_a_question_is_the_askers(loop: DomainLoop) -> None:
    with pytest.raises(ZeroDivisionError):
        loop.ask(lambda _: 1 // 0)
    assert loop.ask(lambda domain: domain.name) == "left"


def test_an_event_that_fails_is_logged_and_the_next_one_is_handled(
    loop: DomainLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.post(QueuesReported("nowhere", ()))
    assert loop.ask(lambda domain: domain.name) == "left"
    assert "QueuesReported(bridge='nowhere', queues=()) could not be handled" in caplog.text
    assert "KeyError: 'nowhere'" in caplog.text


def test_a_command_that_fails_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(loop_module, "TICK_NS", LONG_NS)

    def perform(_: Command) -> None:
        raise OSError("no way out")

    loop = DomainLoop(Domain(two_hypervisors(), "left"), perform)
    loop.start()
    loop.post(SwitchConnected("left"))
    assert loop.ask(lambda domain: domain.bridges["left"].is_connected)
    assert "OSError: no way out" in caplog.text


def test_a_question_to_a_loop_that_does_not_run_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "ANSWER_TIMEOUT_S", 0.01)
    loop = DomainLoop(Domain(two_hypervisors(), "left"), lambda _: None)
    with pytest.raises(TimeoutError):
        loop.ask(lambda domain: domain.name)


def test_who_posts_more_than_the_domain_takes_waits(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "EVENTS_MAX", 2)
    monkeypatch.setattr(loop_module, "ANSWER_TIMEOUT_S", 0.01)
    loop = DomainLoop(Domain(two_hypervisors(), "left"), mailbox.post)
    poster = threading.Thread(target=lambda: [loop.post(SwitchConnected("left")) for _ in range(3)])
    poster.start()
    wait_until(lambda: loop._queue.full())
    assert poster.is_alive()
    with pytest.raises(TimeoutError):
        loop.ask(lambda domain: domain.name)
    loop.start()
    poster.join(10)
    assert [mailbox.next_of(AskContents) for _ in range(3)] == [AskContents("left")] * 3


def test_ticks_come_by_themselves_again_and_again(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "TICK_NS", 1_000_000)
    loop = DomainLoop(Domain(two_hypervisors(kind=SwitchKind.PLAIN), "left"), orders_to(mailbox))
    loop.post(SwitchConnected("left"))
    loop.start()
    assert mailbox.next() == AskContents("left")
    assert [mailbox.next() for _ in range(6)] == [AskContents("left"), AskQueues("left")] * 3


def test_a_flood_of_events_does_not_keep_the_ticks_away(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "TICK_NS", 1_000_000)
    domain = Domain(two_hypervisors(kind=SwitchKind.PLAIN), "left")
    loop = DomainLoop(domain, orders_to(mailbox))
    domain.handle(SwitchConnected("left"), 0)
    is_over = threading.Event()

    class Again:
        """A question that asks itself again as soon as it is answered."""

        def __call__(self) -> None:
            if not is_over.is_set():
                loop._queue.put(self)

    loop._queue.put(Again())
    loop.start()
    assert [mailbox.next() for _ in range(4)] == [AskContents("left"), AskQueues("left")] * 2
    is_over.set()


def test_an_event_is_posted_from_any_thread(loop: DomainLoop, mailbox: Mailbox) -> None:
    event: Event = SwitchConnected("left")
    threads = [threading.Thread(target=loop.post, args=(event,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [mailbox.next() for _ in range(5)] == [AskContents("left")] * 5
