"""Daemons that die are started again: real processes stand in for those of Open vSwitch."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from support.waiting import wait_until

from controller.errors import CannotRun
from topologies.supervision import Supervisor

DAEMONS = ("ovs-vswitchd", "ovsdb-server")


class FakeOpenVSwitch:
    """Its daemons are sleepers; `refusals` says how often, and why, each refuses to start again."""

    def __init__(self) -> None:
        self.refusals: dict[str, list[Exception]] = {daemon: [] for daemon in DAEMONS}
        self._processes = {daemon: self._sleeper() for daemon in DAEMONS}

    def pid_of(self, daemon: str) -> int | None:
        process = self._processes[daemon]
        return process.pid if process.poll() is None else None

    def revive(self, daemon: str) -> int:
        if self.refusals[daemon]:
            raise self.refusals[daemon].pop()
        self._processes[daemon].wait()
        self._processes[daemon] = self._sleeper()
        return self._processes[daemon].pid

    def kill(self, daemon: str) -> None:
        self._processes[daemon].kill()

    def end(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _sleeper(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"])


@pytest.fixture
def openvswitch() -> Iterator[FakeOpenVSwitch]:
    found = FakeOpenVSwitch()
    yield found
    found.end()


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def troubles() -> list[Exception]:
    """What those who hear of a revival cannot do, each once."""
    return []


@pytest.fixture
def supervisor(openvswitch: FakeOpenVSwitch, heard: list[str], troubles: list[Exception]) -> Iterator[Supervisor]:
    def on_revival(daemon: str, pid: int) -> None:
        if troubles:
            raise troubles.pop()
        heard.append(f"{daemon} lives: {pid}")

    found = Supervisor(openvswitch, heard.append, on_revival)
    found.start()
    yield found
    found.stop()


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_that_dies_is_started_again(
    openvswitch: FakeOpenVSwitch, supervisor: Supervisor, heard: list[str], daemon: str
) -> None:
    openvswitch.kill(daemon)
    wait_until(lambda: len(heard) == 2)
    assert heard == [f"{daemon} has died and is started again", f"{daemon} lives: {openvswitch.pid_of(daemon)}"]


def test_both_may_die_at_once_and_again(openvswitch: FakeOpenVSwitch, supervisor: Supervisor, heard: list[str]) -> None:
    for times in (1, 2):
        for daemon in DAEMONS:
            openvswitch.kill(daemon)
        wait_until(lambda times=times: sum("lives" in each for each in heard) == 2 * times)
    assert all(openvswitch.pid_of(daemon) for daemon in DAEMONS)


@pytest.mark.parametrize("refusal", [CannotRun("it does not want to", "ask again"), OSError(11, "no process to spare")])
def test_one_that_does_not_start_is_tried_again(
    openvswitch: FakeOpenVSwitch, supervisor: Supervisor, heard: list[str], refusal: Exception
) -> None:
    openvswitch.refusals["ovsdb-server"].append(refusal)
    openvswitch.kill("ovsdb-server")
    wait_until(lambda: any("lives" in each for each in heard))
    assert heard[1] == f"ovsdb-server cannot be started: {refusal}"


@pytest.mark.parametrize("trouble", [FileNotFoundError(2, "gone again"), NetlinkError(19, "No such device")])
def test_one_that_is_not_all_as_it_was_is_told_of_and_watched(
    openvswitch: FakeOpenVSwitch,
    supervisor: Supervisor,
    heard: list[str],
    troubles: list[Exception],
    trouble: Exception,
) -> None:
    troubles.append(trouble)
    openvswitch.kill("ovs-vswitchd")
    wait_until(lambda: len(heard) == 2)
    assert heard[1] == f"ovs-vswitchd runs again, but not all is as it was: {trouble}"
    openvswitch.kill("ovs-vswitchd")
    wait_until(lambda: any("lives" in each for each in heard))


def test_after_the_end_nothing_is_started(
    openvswitch: FakeOpenVSwitch, supervisor: Supervisor, heard: list[str]
) -> None:
    supervisor.stop()
    pid = openvswitch.pid_of("ovs-vswitchd")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: openvswitch.pid_of("ovs-vswitchd") is None)
    assert heard == []
