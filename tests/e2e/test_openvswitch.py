"""Finding, starting and ending Open vSwitch, and its priority. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.errors import CannotRun
from ovs_config.openvswitch import ensure_running, stop_leftover
from ovs_config.realtime import real_time


@pytest.fixture(autouse=True)
def no_system_openvswitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path / "system"))


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process of ours that must survive."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        assert process.poll() is None
        process.kill()


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_private_one_runs_and_stops_without_trace(tmp_path: Path) -> None:
    running = ensure_running(tmp_path)
    try:
        assert running.private
        assert is_alive(running.vswitchd_pid)
        shown = subprocess.run(["ovs-vsctl", "show"], env=running.environment, capture_output=True, check=True)
        assert shown.stdout
    finally:
        running.stop()
    assert not is_alive(running.vswitchd_pid)
    assert list(tmp_path.iterdir()) == []


def test_one_that_runs_already_is_used_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = ensure_running(tmp_path)
    try:
        monkeypatch.setenv("OVS_RUNDIR", str(system.directory))
        found = ensure_running(tmp_path / "other")
        assert (found.private, found.vswitchd_pid) == (False, system.vswitchd_pid)
        found.stop()
        assert is_alive(system.vswitchd_pid)
        assert not (tmp_path / "other").exists()
    finally:
        system.stop()


def test_what_a_killed_run_left_is_ended_at_the_next_start(tmp_path: Path) -> None:
    leftover = ensure_running(tmp_path)
    try:
        second = ensure_running(tmp_path)
        assert not is_alive(leftover.vswitchd_pid)
        assert is_alive(second.vswitchd_pid)
    finally:
        assert stop_leftover(tmp_path)
    assert not stop_leftover(tmp_path)


def test_a_pid_file_that_names_another_program_ends_nothing(tmp_path: Path, sleeper: int) -> None:
    (tmp_path / "ovs").mkdir()
    (tmp_path / "ovs" / "ovs-vswitchd.pid").write_text(f"{sleeper}\n")
    assert stop_leftover(tmp_path)
    assert is_alive(sleeper)


def test_without_the_programs_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRun, match="apt-get install openvswitch-switch"):
        ensure_running(tmp_path)


def test_real_time_priority_is_given_to_all_threads_and_taken_back(tmp_path: Path) -> None:
    running = ensure_running(tmp_path)
    try:
        threads = [int(task.name) for task in Path(f"/proc/{running.vswitchd_pid}/task").iterdir()]
        assert len(threads) > 1
        with real_time(running.vswitchd_pid, 42) as note:
            assert note == ""
            assert {policy(thread) for thread in threads} == {(os.SCHED_FIFO, 42)}
        assert {policy(thread) for thread in threads} == {(os.SCHED_OTHER, 0)}
    finally:
        running.stop()


def policy(thread: int) -> tuple[int, int]:
    return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority
