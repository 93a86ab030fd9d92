"""The checklist on this machine, which runs all the other tests: nothing may be lacking. Needs root."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.examples import TOPOLOGIES
from support.up_program import UpProgram, ended

from bench.bridge import BRIDGE
from dataplane.shim import AHEAD_NS
from ovs_config.waiting import wait_until
from rtvnic.__main__ import main
from rtvnic.doctor import CHECKS, State

CALIBRATE = ("--calibrate", "--seconds", "1")
BRIDGE_UP_S = 10.0


@pytest.fixture
def program(tmp_path: Path) -> Iterator[UpProgram]:
    """With a run directory of its own, and no system's Open vSwitch."""
    found = UpProgram(tmp_path / "run", TOPOLOGIES / "one_channel.yaml", tmp_path / "no-system-ovs")
    yield found
    found.close()


def bridge_is_there() -> bool:
    return Path("/sys/class/net", BRIDGE).exists()


def test_nothing_is_lacking_where_the_tests_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert {line["what"] for line in lines} == set(CHECKS)
    assert all(line["cure"] for line in lines if line["state"] != State.FINE)


def test_calibration_says_what_to_write_into_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--calibrate", "--seconds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for times in (found["bridge_ns"], found["path_ns"]):
        assert times["count"] >= 900 and 0 < times["p50"] <= times["p9999"]
    assert len(found["noise_ns"]) == len(os.sched_getaffinity(0))
    shim_ns = max(times["p9999"] for times in (found["path_ns"], *found["noise_ns"].values()))
    longest_ns = AHEAD_NS + found["bridge_ns"]["p9999"] + shim_ns
    assert longest_ns <= found["allowance_ns"] <= 1.01 * longest_ns + 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_calibration_that_is_ended_leaves_nothing(program: UpProgram, number: signal.Signals) -> None:
    process = program.spawn("--calibrate", verb="doctor")
    assert wait_until(bridge_is_there, BRIDGE_UP_S)
    code, errors = ended(process, number, number)
    assert (code, program.left()) == (128 + number, [])
    assert "Traceback" not in errors


def test_calibration_after_one_that_was_killed(program: UpProgram) -> None:
    """It finds the bridge and its interfaces there, and removes those too."""
    killed = program.spawn("--calibrate", verb="doctor")
    assert wait_until(bridge_is_there, BRIDGE_UP_S)
    ended(killed, signal.SIGKILL)
    assert ended(program.spawn(*CALIBRATE, verb="doctor"))[0] == 0
    assert program.left() == []


def test_calibration_leaves_a_network_that_is_up_in_peace(program: UpProgram) -> None:
    program.start()
    code, errors = ended(program.spawn(*CALIBRATE, verb="doctor"))
    assert code == 2
    assert "another network is up on this machine" in errors
