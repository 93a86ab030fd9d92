"""Children that die, hang, refuse to start or to end: shell scripts stand in for `rtvnic`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

from controller import backoff
from controller.errors import CannotRun
from topologies import processes
from topologies.processes import Child, stop

WORKS = "echo $$ >> pids; echo ready; exec sleep 60"
HANGS = "echo $$ >> hanging; exec sleep 60"
IS_DEAF = f"trap '' TERM; {WORKS}"
FAILS = "echo 'no such luck' >&2; exit 1"

Behave = Callable[[str], None]


@pytest.fixture
def behave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Behave:
    """Says what each child does that is started from now on; it notes its process id in a file."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n. ./behaviour\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(backoff, "BACKOFF_S", 0.01)
    (tmp_path / "log").mkdir()

    def say(script: str) -> None:
        (tmp_path / "new").write_text(script)
        (tmp_path / "new").rename("behaviour")

    say(WORKS)
    return say


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, behave: Behave, heard: list[str]) -> Iterator[Callable[[], Child]]:
    """Starts a child; it ends with the test."""
    made: list[Child] = []

    def start() -> Child:
        made.append(Child("shim", ["shim"], tmp_path / "log" / "shim.log", heard.append))
        return made[-1]

    yield start
    stop(made)


@pytest.fixture
def child(make: Callable[[], Child]) -> Child:
    """One that is ready."""
    found = make()
    found.await_ready()
    return found


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def pids(file: str = "pids") -> list[int]:
    """Of all children that were started so far and did not hang."""
    return list(map(int, Path(file).read_text().split()))


def kill(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)


def test_one_that_dies_is_told_of_and_started_again(child: Child, heard: list[str], tmp_path: Path) -> None:
    former = child.pid
    kill(child)
    wait_until(lambda: pids() == [former, child.pid])
    assert is_there(child.pid) and not is_there(former)
    assert heard == [f"the shim has died and is started again; its log is {tmp_path}/log/shim.log"]


def test_one_that_is_told_to_end_is_not_started_again(child: Child, heard: list[str]) -> None:
    stop([child])
    assert not is_there(child.pid)
    assert len(pids()) == 1 and heard == []


def test_one_that_does_not_end_is_killed(
    behave: Behave, make: Callable[[], Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(IS_DEAF)
    child = make()
    child.await_ready()
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.05)
    stopping = threading.Thread(target=stop, args=([child],), daemon=True)
    stopping.start()
    wait_until(lambda: not stopping.is_alive(), "it waits for ever")
    assert not is_there(child.pid)


def test_one_that_does_not_get_ready_is_an_error_and_ends(behave: Behave, make: Callable[[], Child]) -> None:
    behave(FAILS)
    child = make()
    with pytest.raises(CannotRun, match="the shim did not start; no such luck"):
        child.await_ready()
    stop([child])
    assert not is_there(child.pid)


def test_one_that_hangs_when_it_is_started_again_is_killed_and_tried_again(
    behave: Behave, child: Child, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "READY_TIMEOUT_S", 0.2)
    former = child.pid
    behave(HANGS)
    kill(child)
    wait_until(lambda: len(heard) == 2)
    behave(WORKS)
    wait_until(lambda: child.pid != former and child.pid in pids())
    assert not any(map(is_there, pids("hanging")))


def test_one_that_cannot_be_started_is_told_of_and_tried_again(child: Child, heard: list[str], tmp_path: Path) -> None:
    former = child.pid
    (tmp_path / "log").rename("elsewhere")
    kill(child)
    wait_until(lambda: any("cannot be started" in told for told in heard))
    assert "log/shim.log" in heard[1]
    (tmp_path / "elsewhere").rename("log")
    wait_until(lambda: pids() == [former, child.pid])
    assert is_there(child.pid)


def test_one_that_cannot_be_started_can_be_stopped(child: Child, heard: list[str], tmp_path: Path) -> None:
    (tmp_path / "log").rename("elsewhere")
    kill(child)
    wait_until(lambda: any("cannot be started" in told for told in heard))
    stop([child])
    assert len(pids()) == 1
