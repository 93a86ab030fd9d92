"""The checklist: what its lines come from, and how it ends."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.domain.events import Proof
from controller.errors import CannotRun
from ovs_config import realtime
from rtvnic import doctor, tune
from rtvnic.__main__ import main
from rtvnic.checklist import Line, State, tried


def fine(what: str) -> Iterator[Line]:
    yield Line(what, State.FINE, "works")


def poor(what: str) -> Iterator[Line]:
    yield Line(what, State.POOR, "slow", "buy another")


def lacking(what: str) -> Iterator[Line]:
    raise CannotRun("it is not there", "get it")
    yield


def test_poor_is_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"one": fine, "two": poor})
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "check  state  found",
        "one    fine   works",
        "two    poor   slow",
        "              cure: buy another",
    ]


def test_what_cannot_be_tried_is_lacking_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"one": lacking, "two": fine})
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"what": "one", "state": "lacking", "found": "it is not there", "cure": "get it"},
        {"what": "two", "state": "fine", "found": "works", "cure": ""},
    ]


def test_a_check_that_the_machine_does_not_let_run_is_lacking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(what: str) -> Iterator[Line]:
        raise OSError(30, "Read-only file system", "/proc/sys")
        yield

    monkeypatch.setattr(doctor, "CHECKS", {"one": forbidden})
    assert main(["doctor"]) == 1
    assert "Read-only file system: '/proc/sys'" in capsys.readouterr().out


def only_line(what: str) -> Line:
    (line,) = tried(what, doctor.CHECKS[what])
    assert line.what == what
    assert (line.cure == "") == (line.state is State.FINE), "a cure where there is something to cure"
    return line


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has nothing at all."""
    monkeypatch.setattr(tune, "PROC", tmp_path / "proc")
    monkeypatch.setattr(tune, "SYS", tmp_path / "sys")
    monkeypatch.setattr(doctor, "A_SYSCTL", tmp_path / "ip_forward")
    monkeypatch.setattr(doctor, "TUN", tmp_path / "tun")
    monkeypatch.setattr(doctor, "OPENVSWITCH_MODULE", tmp_path / "module")
    monkeypatch.setattr(doctor, "KERNELS", tmp_path / "kernels")
    monkeypatch.setattr(doctor, "TIMESYNCD", tmp_path / "synchronized")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def put(machine: Path, file: str, text: str = "") -> Path:
    path = machine / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def install_chronyc(machine: Path, script: str) -> None:
    put(machine, "bin/chronyc", f"#!/bin/sh\n{script}\n").chmod(0o755)


@pytest.mark.parametrize(("what", "file"), [("tun device", "tun"), ("/proc/sys", "ip_forward")])
def test_a_file_is_opened_and_left_as_it_is(machine: Path, what: str, file: str) -> None:
    assert only_line(what).state is State.LACKING
    path = put(machine, file, "1\n")
    assert only_line(what).state is State.FINE
    assert path.read_text() == "1\n"


def test_the_datapath_is_named(machine: Path) -> None:
    assert "has no module" in only_line("datapath").found
    put(machine, f"kernels/{os.uname().release}/kernel/net/openvswitch/openvswitch.ko.xz")
    assert only_line("datapath") == Line(
        "datapath", State.POOR, "in user space, unless the kernel's module is loaded", "modprobe openvswitch"
    )
    (machine / "module").mkdir()
    assert only_line("datapath") == Line("datapath", State.FINE, "the kernel's")


def test_a_clock_that_nobody_sets_is_said_to_do_for_one_machine(machine: Path) -> None:
    line = only_line("clock")
    assert line.state is State.POOR
    assert "same host only" in line.found and "apt install chrony" in line.cure


def test_chrony_tells_how_wrong_the_clock_may_be(machine: Path) -> None:
    install_chronyc(machine, "echo 7F,ntp,3,1795597870.1,-0.0005,0.1,0.1,0.0,0.0,0.0,0.004,0.0015,64.2,Normal")
    assert only_line("clock") == Line("clock", State.FINE, "set by chrony, wrong by 4.000 ms at most")


@pytest.mark.parametrize(
    "script",
    [
        "echo '00,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised'",
        "echo '506 Cannot talk to daemon'; exit 1",
    ],
)
def test_a_chrony_that_sets_nothing_leaves_it_to_others(machine: Path, script: str) -> None:
    install_chronyc(machine, script)
    assert only_line("clock").state is State.POOR
    put(machine, "synchronized")
    line = only_line("clock")
    assert line.state is State.POOR and "systemd-timesyncd" in line.found and "apt install chrony" in line.cure


@pytest.mark.parametrize(
    ("count", "state", "found"), [(1, State.POOR, "one"), (2, State.FINE, "too few to keep"), (8, State.FINE, "4-7")]
)
def test_processors(monkeypatch: pytest.MonkeyPatch, count: int, state: State, found: str) -> None:
    monkeypatch.setattr(realtime, "usable_cpus", lambda: range(count))
    line = only_line("processors")
    assert line.state is state and found in line.found


def test_what_tune_would_change_is_poor(machine: Path) -> None:
    assert only_line("CPU governor").state is State.FINE
    assert only_line("receive buffers").state is State.FINE
    for cpu in range(3):
        put(machine, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "powersave\n")
    assert "is powersave, and 2 more; wanted performance" in only_line("CPU governor").found
    buffers = put(machine, "proc/sys/net/core/rmem_default", "212992\n")
    assert only_line("receive buffers").cure == "rtvnic tune"
    buffers.write_text("4194304\n")
    assert only_line("receive buffers").state is State.FINE


def test_the_kernel_stamps_a_frame_or_it_is_said_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only_line("time stamps").state in (State.FINE, State.LACKING)

    class Forbidden(socket.socket):
        def __init__(self, *_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(doctor.socket, "socket", Forbidden)
    line = only_line("time stamps")
    assert line.state is State.LACKING and "Operation not permitted" in line.found


@pytest.mark.parametrize(
    ("proof", "state", "cure"),
    [
        (Proof.PROVED, State.FINE, ""),
        (Proof.NOT_PROVED, State.LACKING, "another kernel"),
        (Proof.NOT_SUPPORTED, State.LACKING, "modprobe"),
    ],
)
def test_queues_are_proved_or_it_is_said_why_not(
    monkeypatch: pytest.MonkeyPatch, proof: Proof, state: State, cure: str
) -> None:
    monkeypatch.setattr(doctor, "_proof_of_a_queue", lambda: (proof, "no such qdisc"))
    line = only_line("queues")
    assert line.state is state and line.found.startswith(f"{proof}: ") and line.cure.startswith(cure)
    assert ("no such qdisc" in line.found) == (proof is Proof.NOT_SUPPORTED)


def test_without_mininet_real_vms_work_all_the_same(machine: Path) -> None:
    line = only_line("Mininet")
    assert (line.state, line.cure) == (State.POOR, "apt-get install mininet")


def test_calibrate_measures_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(doctor, "calibrate", lambda *words: asked.append(words) or 0)
    assert main(["doctor", "--calibrate"]) == main(["doctor", "--calibrate", "--seconds", "1.5", "--json"]) == 0
    assert asked == [(20 * 10**9, False), (1_500_000_000, True)]


def test_too_short_a_calibration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--calibrate", "--seconds", "0.5"])
    assert "write 1 or more" in capsys.readouterr().err
