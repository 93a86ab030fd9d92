"""What one controller makes of another's answers, good and bad, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.http_server import FakeRest, unused_port
from support.waiting import Mailbox

from controller import peers
from controller.events import PeerGone, PeerReported
from controller.lifecycle import State
from controller.peers import ENDS, PeerLink
from controller.reports import EndReport, EndReports, Role

VIDEO = EndReport(role=Role.LISTENER, state=State.INSTALLED, packets=7)
REPORTS = EndReports(domain="right", ends={"video": VIDEO})


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "POLL_S", 0.005)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


@pytest.fixture
def rest() -> Iterator[FakeRest]:
    with FakeRest({ENDS: (200, REPORTS.model_dump_json().encode())}) as server:
        yield server


def start(url: str, mailbox: Mailbox) -> None:
    PeerLink("right", url, mailbox.post).start()


def test_what_a_peer_tells_is_passed_on_again_and_again(rest: FakeRest, mailbox: Mailbox) -> None:
    start(rest.url, mailbox)
    assert [mailbox.next(), mailbox.next()] == [PeerReported("right", {"video": VIDEO})] * 2
    changed = VIDEO.model_copy(update={"packets": 8})
    rest.answers[ENDS] = (200, REPORTS.model_copy(update={"ends": {"video": changed}}).model_dump_json().encode())
    while mailbox.next() != PeerReported("right", {"video": changed}):
        pass


def test_a_peer_that_is_not_running(mailbox: Mailbox) -> None:
    start(f"http://127.0.0.1:{unused_port()}", mailbox)
    assert mailbox.next() == PeerGone("right", "is not running")


def test_a_peer_that_ends_and_comes_back(rest: FakeRest, mailbox: Mailbox) -> None:
    start(rest.url, mailbox)
    mailbox.next_of(PeerReported)
    good = rest.answers.pop(ENDS)
    assert mailbox.next_of(PeerGone) == PeerGone("right", "does not answer as it should")
    rest.answers[ENDS] = good
    mailbox.next_of(PeerReported)


def test_the_controller_of_another_domain(rest: FakeRest, mailbox: Mailbox) -> None:
    rest.answers[ENDS] = (200, EndReports(domain="middle", ends={}).model_dump_json().encode())
    start(rest.url, mailbox)
    assert mailbox.next() == PeerGone("right", "is that of another domain, middle")


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"domain": "right"}'),
        (200, b'{"domain": "right", "ends": {"video": {"role": "listener", "state": "perhaps"}}}'),
        (200, b'{"domain": "right", "ends": {"video": {"role": "listener", "state": "installed", "packets": null}}}'),
        (302, REPORTS.model_dump_json().encode()),
        (404, REPORTS.model_dump_json().encode()),
        (500, REPORTS.model_dump_json().encode()),
        (503, b""),
    ],
)
def test_a_peer_that_does_not_speak_as_it_should(rest: FakeRest, mailbox: Mailbox, status: int, content: bytes) -> None:
    rest.answers[ENDS] = (status, content)
    start(rest.url, mailbox)
    assert mailbox.next() == PeerGone("right", "does not answer as it should")


def test_an_answer_that_is_too_long_is_not_read_to_its_end(
    rest: FakeRest, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, content = rest.answers[ENDS]
    monkeypatch.setattr(peers, "ANSWER_BYTES_MAX", len(content))
    rest.answers[ENDS] = (200, content + b" " * (1 << 24))
    start(rest.url, mailbox)
    assert mailbox.next() == PeerGone("right", "does not answer as it should")
    rest.answers[ENDS] = (200, content)
    assert mailbox.next_of(PeerReported) == PeerReported("right", {"video": VIDEO})


def test_an_answer_that_takes_too_long_is_given_up(
    rest: FakeRest, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "ANSWER_TIMEOUT_S", 0.0)
    start(rest.url, mailbox)
    assert mailbox.next() == PeerGone("right", "does not answer as it should")


def test_an_address_that_is_not_http(mailbox: Mailbox) -> None:
    start("ftp://127.0.0.1", mailbox)
    assert mailbox.next() == PeerGone("right", "does not answer as it should")
