"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notify_socket import NotifySocket
from support.waiting import PATIENCE_S

from controller import notify


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    address = f"@rtvnic-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with NotifySocket(address) as listener:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listener


def test_a_state_arrives_as_it_is(heard: NotifySocket) -> None:
    notify.tell(notify.READY)
    assert heard.next() == "READY=1"


def test_reloading_says_since_when(heard: NotifySocket) -> None:
    notify.tell(notify.reloading())
    first, second = heard.next().splitlines()
    assert first == "RELOADING=1" and second.startswith("MONOTONIC_USEC=") and second[15:].isdecimal()


@pytest.mark.parametrize("address", [None, "", "vsock:2:1", "/nonexistent/notify", "@nobody-listens-there"])
def test_nobody_who_listens_is_no_trouble(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.tell(notify.READY)


@pytest.mark.parametrize(
    ("limit_us", "pid", "period_s"),
    [
        (None, None, None),
        ("", None, None),
        ("0", None, None),
        ("soon", None, None),
        ("6000000", None, 2.0),
        ("6000000", str(os.getpid()), 2.0),
        ("6000000", "1", None),
    ],
)
def test_the_period_is_a_third_of_the_limit(
    monkeypatch: pytest.MonkeyPatch, limit_us: str | None, pid: str | None, period_s: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", limit_us), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert notify.period_s() == period_s


def test_it_is_alive_only_while_it_proves_so(heard: NotifySocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    answers: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
    taken = threading.Semaphore(0)

    def is_alive() -> bool:
        answer = answers.get()
        taken.release()
        if answer is None:
            raise TimeoutError
        return answer

    notify.keep_alive(is_alive)
    for answer in (True, False, None):
        answers.put(answer)
    assert heard.next() == "WATCHDOG=1"
    for _ in range(3):
        assert taken.acquire(timeout=PATIENCE_S)
    assert heard.is_silent(0.05), "neither for False nor for TimeoutError nor while the question is open"
    answers.put(True)
    assert heard.next() == "WATCHDOG=1"


def test_no_thread_where_nobody_waits(heard: NotifySocket) -> None:
    before = threading.active_count()
    notify.keep_alive(lambda: True)
    assert threading.active_count() == before
