"""`rtvnic up` and `rtvnic down`: what they show, what they refuse, and that nothing of them stays. Needs root."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from support.examples import TOPOLOGIES, example
from support.up_program import UpProgram, ended, processes

from controller.network.wiring import port_to
from ovs_config.openvswitch import ensure_running
from ovs_config.waiting import wait_until

FILE = TOPOLOGIES / "one_channel.yaml"
PATIENCE_S = 10.0


@pytest.fixture
def up(tmp_path: Path) -> Iterator[UpProgram]:
    program = UpProgram(tmp_path / "run", FILE, tmp_path / "no-system-ovs")
    yield program
    program.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_stays(up: UpProgram, number: signal.Signals) -> None:
    """Even when the user is impatient: what is under way is finished."""
    process = up.start()
    code, errors = ended(process, number, signal.SIGINT, signal.SIGTERM)
    assert (code, up.left()) == (0, [])
    assert "Traceback" not in errors


def test_a_signal_while_it_starts_leaves_nothing(up: UpProgram) -> None:
    process = up.spawn()
    assert process.stderr is not None
    process.stderr.readline()  # the first stage has begun
    assert ended(process, signal.SIGINT)[0] == 0
    assert up.left() == []


def test_on_mininets_command_line_vms_reach_each_other(up: UpProgram) -> None:
    process = up.start("--cli")
    output, errors = process.communicate("camera ping -c1 screen\nscreen ping -c1 camera\nexit\n", timeout=30)
    assert (output + errors).count("1 packets transmitted, 1 received") == 2
    assert (process.returncode, up.left()) == (0, [])


def test_sigterm_ends_mininets_command_line_too(up: UpProgram) -> None:
    process = up.start("--cli")
    assert ended(process, signal.SIGTERM)[0] == 0
    assert up.left() == []


def test_down_removes_what_a_killed_run_left(up: UpProgram) -> None:
    """Even programs that still run in its VMs; and the second time there is nothing to do."""
    killed = up.start("--cli")
    assert killed.stdin is not None
    killed.stdin.write("camera sleep 1000 &\n")
    killed.stdin.flush()
    assert wait_until(lambda: sleepers() != [], PATIENCE_S)
    ended(killed, signal.SIGKILL)
    assert [up.down(), up.down()] == [(0, ""), (0, "")]
    assert sleepers() == []
    assert up.left() == []


def sleepers() -> list[str]:
    found = subprocess.run(["pgrep", "-x", "-f", "sleep 1000"], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_only_one_network_at_a_time(up: UpProgram) -> None:
    first = up.start()
    for refused in (ended(up.spawn()), up.down()):
        assert refused[0] == 2
        assert f"process {first.pid}" in refused[1]
        assert len(refused[1].splitlines()) == 1
    assert ended(first, signal.SIGTERM)[0] == 0
    assert up.left() == []


def test_a_dead_open_vswitch_does_not_keep_the_rest_from_going(up: UpProgram) -> None:
    process = up.start()
    for pid in processes("ovs-vswitchd"):
        os.kill(pid, signal.SIGKILL)
    _, errors = ended(process, signal.SIGTERM)
    assert "Traceback" not in errors
    assert up.left() == []


def test_the_next_start_removes_what_a_killed_run_left_in_the_systems_open_vswitch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path / "none"))
    system = ensure_running(tmp_path)
    monkeypatch.setenv("OVS_RUNDIR", str(system.directory))
    up = UpProgram(tmp_path / "run", FILE, system.directory)
    try:
        ended(up.start(), signal.SIGKILL)
        assert ended(up.start(), signal.SIGTERM)[0] == 0
        assert up.left() == []
    finally:
        up.close()
        system.stop()


def test_what_others_keep_in_the_run_directory_stays(up: UpProgram) -> None:
    up.run_dir.mkdir()
    (up.run_dir / "notes").write_text("mine")
    assert up.down()[0] == 0
    assert [path.name for path in up.run_dir.iterdir()] == ["notes"]


def test_a_taken_port_is_named(up: UpProgram) -> None:
    controller = example("one_channel").hypervisors["right"].controller
    with socket.create_server((controller.address, controller.rest_port)):
        code, errors = ended(up.spawn())
    assert code == 2
    assert f"{controller.address}:{controller.rest_port}" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert up.left_besides_files() == [], "the logs stay, for those who look for the reason"


def test_a_taken_interface_is_named_and_stays(up: UpProgram) -> None:
    """Also where it would have been the far end of a cable."""
    taken = port_to(example("one_channel"), "core", "left").interface
    with IPRoute() as ip:
        ip.link("add", ifname=taken, kind="bridge")
        try:
            code, errors = ended(up.spawn())
            assert ip.link_lookup(ifname=taken) != []
        finally:
            ip.link("del", ifname=taken)
    assert code == 2
    assert errors.splitlines()[-1].endswith(f"or remove it: ip link delete {taken}")
    assert (up.run_dir / "log" / "ovs-vswitchd.log").exists(), "for those who look for the reason"
    assert "Traceback" not in errors
    assert up.left_besides_files() == []


def test_an_invalid_file_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(FILE.read_text().replace("5ms", "5").replace("2Mbps", "2"))
    up = UpProgram(tmp_path / "run", file, tmp_path / "no-system-ovs")
    code, errors = ended(up.spawn())
    assert code == 1
    assert [line.split(": ")[1] for line in errors.splitlines()] == [
        "channels.video.deadline",
        "channels.video.min_rate",
    ]
    assert up.left() == []


def test_without_root_the_cure_is_named(up: UpProgram) -> None:
    unprivileged = ("setpriv", "--reuid=nobody", "--clear-groups")
    if subprocess.run([*unprivileged, sys.executable, "-c", "import rtvnic"], capture_output=True).returncode:
        pytest.skip("nobody may not read the source")
    code, errors = ended(up.spawn(under=unprivileged))
    assert code == 2
    assert "root" in errors.splitlines()[-1]
    assert up.left() == []


@pytest.mark.parametrize("missing", ["mnexec", "ovs-vswitchd"])
def test_a_missing_program_is_named_with_its_package(
    up: UpProgram, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a PATH in which all programs are but one."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(directory).iterdir():
            if program.name != missing and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    code, errors = ended(up.spawn(under=("env", f"PATH={programs}")))
    assert code == 2
    assert "apt-get install" in errors.splitlines()[-1]
