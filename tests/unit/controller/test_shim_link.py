"""The controller's side of its shim's socket, against the shim's own protocol on a real one."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fake_shim import FakeShim, Table, operation
from support.networks import two_hypervisors
from support.waiting import Mailbox

from controller import shim_link
from controller.admission.guarantee import Guarantees
from controller.domain.events import MissCount, Missed, ShimGone, ShimReady, ShimReported
from controller.domain.shim_terms import Settings, settings
from controller.shim_link import ShimLink
from dataplane.protocol import Session, encode

NETWORK = two_hypervisors()
SETTINGS = settings(Guarantees(NETWORK), "left", {}, {})
OK = encode({"ok": True, "labels": []})


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim_link, "RETRY_S", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "left.shim.sock"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


@pytest.fixture
def link(path: Path, mailbox: Mailbox) -> ShimLink:
    made = ShimLink(path, mailbox.post)
    made.set(1, SETTINGS)
    return made


# A shim that does as it should


def test_a_shim_is_ready_when_it_has_taken_its_settings(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    with FakeShim(path) as shim:
        link.start()
        assert mailbox.next() == ShimReady(1)
        assert (shim.table.rate_bps, shim.table.be_slack_ns, shim.table.labels) == (10**8, 2_000_000, {17, 18})
        assert shim.wants_misses
        assert shim.table.labels_when_ready == {17, 18}, "packets come when all channels are in the table"


def test_it_reports_its_statistics_when_it_is_asked(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    with FakeShim(path) as shim:
        link.start()
        mailbox.next_of(ShimReady)
        link.ask()
        assert mailbox.next() == ShimReported(
            shim.table.parts | {"channels": {"17": {"missed": 0}, "18": {"missed": 0}}}
        )


COUNT_NAMES = ("misses", "packets", "worst_ns", "mean_ns", "window_ns", "total_misses", "first_at_ns")


def test_misses_are_told_as_they_come(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    first, second = ({"label": 17, "lateness_ns": late, "at_ns": 99} for late in (5, 6))
    with FakeShim(path) as shim:
        link.start()
        mailbox.next_of(ShimReady)
        shim.miss(first)
        shim.miss(second, first, counts=[{"label": 17} | dict.fromkeys(COUNT_NAMES, 2)])
        assert mailbox.next() == Missed((first,))
        assert mailbox.next() == Missed((second, first), (MissCount(17, 2, 2, 2, 2, 2, 2, 2),))


def test_events_among_answers_and_lines_in_pieces(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    with FakeShim(path) as shim:
        link.start()
        mailbox.next_of(ShimReady)
        shim.tell(b'{"event": "mis')
        shim.tell(b'ses", "misses": [], "channels": []}\n{"event": "misses", "misses": [], "channels": []}\n')
        assert (mailbox.next(), mailbox.next()) == (Missed(()), Missed(()))
        link.ask()
        assert isinstance(mailbox.next(), ShimReported)


def test_before_it_is_told_anything_it_does_not_connect(path: Path, mailbox: Mailbox) -> None:
    link = ShimLink(path, mailbox.post)
    with FakeShim(path) as shim:
        link.start()
        assert mailbox.is_empty and not shim.wants_misses
        link.set(1, SETTINGS)
        assert mailbox.next() == ShimReady(1)


def changed(**terms: Any) -> Settings:
    return replace(SETTINGS, channels={**SETTINGS.channels, 17: {**SETTINGS.channels[17], **terms}})


def test_only_the_difference_is_sent(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    session, lines = Session(Table()), []

    def answer(line: bytes) -> bytes:
        lines.append(json.loads(line))
        return session.answer(line)

    with FakeShim(path, answer=answer):
        link.start()
        mailbox.next_of(ShimReady)
        assert [line["op"] for line in lines] == ["labels", "configure", "channels", "subscribe", "ready"]
        lines.clear()
        link.set(2, changed(burst_bytes=9000))
        assert mailbox.next() == ShimReady(2)
        assert lines == [{"op": "channels", "set": [changed(burst_bytes=9000).channels[17]]}, {"op": "ready"}]
        lines.clear()
        link.set(3, replace(SETTINGS, channels={18: SETTINGS.channels[18]}))
        assert mailbox.next() == ShimReady(3)
        assert lines == [{"op": "channels", "remove": [17]}, {"op": "ready"}]


def test_channels_that_a_shim_has_from_an_earlier_controller_go(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    table = Table()
    table.labels = {18, 4711}
    with FakeShim(path, table):
        link.start()
        mailbox.next_of(ShimReady)
        assert table.labels == {17, 18}


def test_while_it_has_not_answered_it_is_not_asked_again(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    session, may_answer, questions = Session(Table()), threading.Event(), queue.SimpleQueue[str]()

    def answer(line: bytes) -> bytes:
        if operation(line) == "statistics":
            questions.put("statistics")
            may_answer.wait(10)
        return session.answer(line)

    with FakeShim(path, answer=answer) as shim:
        link.start()
        mailbox.next_of(ShimReady)
        link.ask()
        assert questions.get(timeout=10)
        for _ in range(5):
            link.ask()
            shim.miss()
            assert mailbox.next() == Missed(()), "so it has heard `ask`, too"
        may_answer.set()
        assert isinstance(mailbox.next(), ShimReported)
        assert isinstance(mailbox.next(), ShimReported), "the one question that was put off"
        shim.miss()
        assert mailbox.next() == Missed(())
        assert questions.qsize() == 1


def test_many_channels_are_told_and_asked_in_lines_that_a_shim_takes(path: Path, mailbox: Mailbox) -> None:
    many = Settings(SETTINGS.link, {label: {**SETTINGS.channels[17], "label": label} for label in range(16, 2516)})
    link = ShimLink(path, mailbox.post)
    link.set(1, many)
    longest = 0

    def answer(line: bytes) -> bytes:
        nonlocal longest
        found = session.answer(line)
        longest = max(longest, len(line), len(found))
        return found

    table = Table(room=2500)
    session = Session(table)
    with FakeShim(path, answer=answer):
        link.start()
        mailbox.next_of(ShimReady)
        assert len(table.labels) == 2500
        link.ask()
        assert len(mailbox.next_of(ShimReported).statistics["channels"]) == 2500
    assert longest < shim_link.LINE_BYTES_MAX


# A shim that comes and goes


def test_no_shim(link: ShimLink, mailbox: Mailbox) -> None:
    link.ask()
    link.start()
    assert [mailbox.next() for _ in range(2)] == [ShimGone("is not running")] * 2
    link.ask()


def test_a_shim_that_ends_is_gone_and_the_next_one_is_set_up_anew(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    with FakeShim(path):
        link.start()
        mailbox.next_of(ShimReady)
    assert mailbox.next() == ShimGone("has closed the connection")
    assert mailbox.next_of(ShimGone) == ShimGone("is not running")
    with FakeShim(path) as shim:
        mailbox.next_of(ShimReady)
        assert shim.table.labels == {17, 18}
        link.ask()
        assert isinstance(mailbox.next(), ShimReported)


def test_a_socket_that_nobody_serves(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    FakeShim(path).close()
    path.touch()
    link.start()
    assert mailbox.next() == ShimGone("is not running")


def test_a_path_that_no_socket_can_have(mailbox: Mailbox) -> None:
    link = ShimLink(Path("/" + "x" * 200), mailbox.post)
    link.set(1, SETTINGS)
    link.start()
    assert mailbox.next() == ShimGone("is not reachable: AF_UNIX path too long")


# A shim that does not do as it should


def gone(link: ShimLink, path: Path, mailbox: Mailbox, answer: Callable[[bytes], bytes | None]) -> str:
    """Why a shim that answers so is gone, and still is when it is tried again."""
    with FakeShim(path, answer=answer):
        link.start()
        first = mailbox.next_of(ShimGone)
        assert mailbox.next_of(ShimGone) == first
    return str(first.why)


def test_settings_that_are_refused_are_named(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    with FakeShim(path, Table(room=1)):
        link.start()
        why = mailbox.next().why
    assert why == ("refuses its settings: channel 18 does not fit: No space left on device; remove others first")


def test_a_shim_that_never_answers(
    link: ShimLink, path: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shim_link, "ANSWER_TIMEOUT_S", 0.02)
    assert gone(link, path, mailbox, lambda _: b"") == "does not answer"


def test_a_shim_that_falls_silent(
    link: ShimLink, path: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shim_link, "ANSWER_TIMEOUT_S", 0.5)
    with FakeShim(path, answer=lambda line: b"" if operation(line) == "statistics" else OK):
        link.start()
        mailbox.next_of(ShimReady)
        link.ask()
        assert mailbox.next_of(ShimGone).why == "does not answer"


def test_a_shim_that_hangs_up_in_the_middle_of_its_settings(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    why = gone(link, path, mailbox, lambda line: OK if operation(line) in ("labels", "configure") else None)
    assert why == "has closed the connection"


@pytest.mark.parametrize("answer", [b"what?\n", b"\xff\n", b"[]\n", b"17\n", b"null\n", b"[" * 100_000 + b"\n"])
def test_a_shim_that_answers_no_object(link: ShimLink, path: Path, mailbox: Mailbox, answer: bytes) -> None:
    assert gone(link, path, mailbox, lambda _: answer).startswith("speaks badly: ")


@pytest.mark.parametrize("event", [{"ok": True}, {"event": "misses"}, {"event": "misses", "misses": 5}])
def test_a_shim_that_leaves_something_out(link: ShimLink, path: Path, mailbox: Mailbox, event: dict[str, Any]) -> None:
    with FakeShim(path) as shim:
        link.start()
        mailbox.next_of(ShimReady)
        shim.tell(encode(event))
        assert mailbox.next().why.startswith("speaks badly: ")
        assert mailbox.next() == ShimReady(1)


@pytest.mark.parametrize("value", [-1, 1 << 63, True, None, 1.5, "1"])
@pytest.mark.parametrize("name", COUNT_NAMES)
def test_a_count_that_cannot_be(link: ShimLink, path: Path, mailbox: Mailbox, name: str, value: object) -> None:
    with FakeShim(path) as shim:
        link.start()
        mailbox.next_of(ShimReady)
        shim.miss(counts=[{"label": 17} | dict.fromkeys(COUNT_NAMES, 2) | {name: value}])
        assert mailbox.next() == ShimGone(f"speaks badly: {name} is not an integer of 0 to {2**63 - 1}")
        assert mailbox.next() == ShimReady(1)


@pytest.mark.parametrize(
    "miss", [{}, {"label": 17, "lateness_ns": 5}, {"label": 17, "lateness_ns": 5, "at_ns": -1}, 17]
)
def test_a_miss_that_cannot_be(link: ShimLink, path: Path, mailbox: Mailbox, miss: Any) -> None:
    with FakeShim(path) as shim:
        link.start()
        mailbox.next_of(ShimReady)
        shim.miss(miss)
        assert mailbox.next().why.startswith("speaks badly: ")
        assert mailbox.next() == ShimReady(1)


def test_a_line_without_an_end(link: ShimLink, path: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim_link, "LINE_BYTES_MAX", 1000)
    assert gone(link, path, mailbox, lambda _: b"x" * 2000) == "speaks badly: it sent a line without an end"


def test_statistics_that_are_refused(link: ShimLink, path: Path, mailbox: Mailbox) -> None:
    refusal = encode({"ok": False, "error": "the answer has 2000000 bytes"})
    with FakeShim(path, answer=lambda line: refusal if operation(line) == "statistics" else OK):
        link.start()
        mailbox.next_of(ShimReady)
        link.ask()
        assert mailbox.next().why == "refuses to tell its statistics: the answer has 2000000 bytes"
