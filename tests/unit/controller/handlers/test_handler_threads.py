"""The handlers of a controller at work: each by itself, whatever the others do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.miss_handlers import CHANNEL, Receiver, program, reported, secret_file
from support.networks import two_hypervisors
from support.waiting import wait_until

from controller.handlers.declared import Handler, Program, Webhook
from controller.handlers.threads import AT_ONCE, Handlers
from controller.rest.resources import HandlerView
from controller.units import NS_PER_S

ENOUGH_NS = 20 * NS_PER_S


def started(*declared: Handler) -> Handlers:
    handlers = Handlers(replace(two_hypervisors(), handlers={each.name: each for each in declared}), "left")
    handlers.start()
    return handlers


def board(receiver: Receiver, directory: Path) -> Handler:
    return Handler("board", Webhook(receiver.url, secret_file(directory)), NS_PER_S, ENOUGH_NS)


def pager(path: Path, *lines: str, timeout_ns: int = ENOUGH_NS) -> Handler:
    return Handler("pager", Program((program(path, *lines),), user="root"), NS_PER_S, timeout_ns)


def view(handlers: Handlers, name: str) -> HandlerView:
    return next(each for each in handlers.read() if each.name == name)


def test_the_log_has_the_facts_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    handlers = started()
    handlers.handle(CHANNEL, reported(misses=3, packets=9))
    wait_until(lambda: view(handlers, "log").started == 1 and view(handlers, "log").running == 0)
    (entry,) = caplog.records
    assert entry.getMessage() == "video: 3 of 9 packets were late, by up to 3ms"
    found = vars(entry)
    assert (found["channel"], found["misses"], found["worst_ns"]) == ("video", 3, 3_000_000)
    assert found["started_at_ns"] > 1_000


def test_only_what_a_channel_asks_for_is_started() -> None:
    handlers = started()
    for on_miss in ((), ("guest",), ("adapt", "guest")):
        handlers.handle(replace(CHANNEL, on_miss=on_miss), reported())
    assert [(each.name, each.started, each.waiting) for each in handlers.read()] == [("log", 0, 0)]


def test_a_program_is_told_of_the_misses(tmp_path: Path) -> None:
    told = tmp_path / "told"
    handlers = started(pager(tmp_path / "page", f'echo "$RTVNIC_CHANNEL $RTVNIC_MISSES $RTVNIC_DOMAIN" > {told}'))
    handlers.handle(replace(CHANNEL, on_miss=("pager",)), reported(misses=4))
    wait_until(lambda: view(handlers, "pager").running == 0 and told.exists())
    assert told.read_text() == "video 4 left\n"
    assert view(handlers, "pager").kind == "exec"


def test_one_that_hangs_holds_up_neither_who_hands_over_nor_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as receiver:
        receiver.answers = [receiver.hold] * AT_ONCE
        handlers = started(board(receiver, tmp_path))
        channels = [replace(CHANNEL, name=f"c{number}", on_miss=("board", "log")) for number in range(AT_ONCE + 2)]
        for channel in channels:
            handlers.handle(channel, reported(channel.name))
        wait_until(lambda: view(handlers, "log").started == len(channels))
        wait_until(lambda: len(receiver.deliveries) == AT_ONCE)
        assert (view(handlers, "board").running, view(handlers, "board").waiting) == (AT_ONCE, 2)
        receiver.is_over.set()
        wait_until(lambda: view(handlers, "board").running == view(handlers, "board").waiting == 0)
    assert len(caplog.records) >= len(channels)


def test_what_comes_while_it_waits_is_counted(tmp_path: Path) -> None:
    with Receiver() as receiver:
        handlers = started(board(receiver, tmp_path))
        channel = replace(CHANNEL, on_miss=("board",))
        for _ in range(4):
            handlers.handle(channel, reported())
        wait_until(lambda: view(handlers, "board").started == 1)
        assert view(handlers, "board").summed >= 2


@pytest.mark.parametrize(
    ("line", "timeout_ns", "why", "counts"),
    [
        ("exit 3", ENOUGH_NS, "ended with exit code 3", (1, 0)),
        ("kill -KILL $$", ENOUGH_NS, "was killed by SIGKILL", (1, 0)),
        ("kill -40 $$", ENOUGH_NS, "was killed by signal 40", (1, 0)),
        ("sleep 1000", 10_000_000, "had not ended after 10ms and was killed", (0, 1)),
    ],
)
def test_one_that_fails_is_counted_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, timeout_ns: int, why: str, counts: tuple[int, int]
) -> None:
    handlers = started(pager(tmp_path / "page", line, timeout_ns=timeout_ns))
    handlers.handle(replace(CHANNEL, on_miss=("pager",)), reported())
    wait_until(lambda: view(handlers, "pager").why)
    found = view(handlers, "pager")
    assert (found.why, found.failed, found.timed_out) == (why, *counts)
    wait_until(lambda: f"video: the handler pager {why}" in caplog.text)


def test_what_a_program_says_is_an_entry_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    handlers = started(pager(tmp_path / "page", "echo paged"))
    handlers.handle(replace(CHANNEL, on_miss=("pager",)), reported())
    wait_until(lambda: "video: the handler pager said: paged" in caplog.text)


def test_one_that_cannot_start_says_the_cure_and_goes_on(tmp_path: Path) -> None:
    missing = tmp_path / "page"
    handlers = started(replace(pager(missing), every_ns=1))
    missing.unlink()
    handlers.handle(replace(CHANNEL, on_miss=("pager",)), reported())
    wait_until(lambda: view(handlers, "pager").failed == 1)
    why = f"could not run: there is no program {missing}; install it, or correct `exec` in the file"
    assert view(handlers, "pager").why == why
    program(missing)
    handlers.handle(replace(CHANNEL, on_miss=("pager",)), reported())
    wait_until(lambda: view(handlers, "pager").started == 2 and view(handlers, "pager").running == 0)
    assert view(handlers, "pager").failed == 1


def test_what_breaks_breaks_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours, such as facts that are none."""
    handlers = started()
    handlers.handle(CHANNEL, reported(worst_ns=None))
    wait_until(lambda: view(handlers, "log").failed == 1)
    assert view(handlers, "log").why == "broke: TypeError"
    audio = replace(CHANNEL, name="audio")
    handlers.handle(audio, reported("audio"))
    wait_until(lambda: "audio: 1 of 2 packets were late" in caplog.text)


def test_a_handler_that_the_file_did_not_have_is_named(caplog: pytest.LogCaptureFixture) -> None:
    started().handle(replace(CHANNEL, on_miss=("pager",)), reported())
    (entry,) = caplog.records
    assert entry.getMessage().startswith("video: no handler 'pager' was in two_hypervisors.yaml when this ")
