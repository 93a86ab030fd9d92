"""The guard of the liveness TAP, whatever becomes of the shim. Needs root."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.frames import channel_of, labelled
from support.shim_lab import LIVENESS, PATIENCE_S, ShimClient, ShimLab
from support.waiting import wait_until

SETTLED_S = 0.2
"""Many of the guard's periods."""

GIVEN_UP_S = 1.5
"""A shim that hangs would have been killed by then."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ShimLab]:
    with ShimLab(f"dp-{os.getpid()}", tmp_path) as shim_lab:
        yield shim_lab


def guard_of(pid: int) -> int:
    """The process id of the guard of the shim `pid`."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert Path(f"/proc/{child}/comm").read_text().strip() == "edf-guard"
    return int(child)


def test_the_tap_is_down_until_the_shim_has_its_settings(lab: ShimLab) -> None:
    lab.start("--liveness", LIVENESS)
    with ShimClient(lab.socket_path) as client:
        for op in ("configure", "channels", "statistics"):
            assert client.ask(op)["ok"]
        time.sleep(SETTLED_S)
        assert (lab.is_live(), lab.times_live()) == (False, 0), "not even for a moment"
        assert client.ask("ready")["ok"]
        wait_until(lab.is_live)
    time.sleep(SETTLED_S)
    assert (lab.is_live(), lab.times_live()) == (True, 1), "also when nobody is at its socket any more"


def test_a_shim_without_settings_has_no_carrier_after_it_was_stopped_either(lab: ShimLab) -> None:
    process = lab.start("--liveness", LIVENESS)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(SETTLED_S)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(SETTLED_S)
    assert lab.times_live() == 0


def test_a_shim_that_serves_no_socket_is_live_at_once(lab: ShimLab) -> None:
    lab.spawn("--liveness", LIVENESS)
    wait_until(lab.is_live)


def test_the_tap_is_down_while_the_shim_is_stopped(lab: ShimLab) -> None:
    process = lab.start_live()
    for _ in range(3):
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: not lab.is_live())
        os.kill(process.pid, signal.SIGCONT)
        wait_until(lab.is_live)
    with lab.tap("app") as app, lab.tap("far") as far:
        app.send(labelled(500, 4711))
        assert channel_of(far.recv(2048)) == 4711


def test_what_stops_the_shim_s_process_group_does_not_stop_the_guard(lab: ShimLab) -> None:
    """Ctrl-Z in its terminal does so."""
    process = lab.start_live(under=("setsid",))
    os.killpg(process.pid, signal.SIGSTOP)
    wait_until(lambda: not lab.is_live())
    os.killpg(process.pid, signal.SIGCONT)
    wait_until(lab.is_live)


def test_a_shim_that_hangs_for_long_is_killed(lab: ShimLab) -> None:
    process = lab.start_live()
    os.kill(process.pid, signal.SIGSTOP)
    assert process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
    wait_until(lambda: not lab.is_live())


def test_an_idle_shim_is_left_in_peace(lab: ShimLab) -> None:
    process = lab.start_live()
    time.sleep(GIVEN_UP_S)
    assert process.poll() is None
    wait_until(lab.is_live)


def test_a_shim_without_its_guard_ends(lab: ShimLab) -> None:
    process = lab.start_live()
    os.kill(guard_of(process.pid), signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert errors.startswith("the shim's guard has died")
    wait_until(lambda: not lab.is_live())


def test_the_guard_has_nothing_of_the_shim_but_what_it_needs(lab: ShimLab) -> None:
    process = lab.start_live()
    descriptors = {os.readlink(entry) for entry in Path(f"/proc/{guard_of(process.pid)}/fd").iterdir()}
    assert descriptors == {"/dev/net/tun", "anon_inode:[eventfd]"}
