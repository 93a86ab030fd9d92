"""Programs that tell of clocks: asked for as long as it is wanted, and none of them can hold anybody up."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.waiting import Mailbox

from controller.clocks import clock_watch
from controller.clocks.clock import Clock, Source
from controller.clocks.clock_watch import ClockWatch, kernel_error_us, read_clock
from controller.domain.events import ClockRead

TRACKING = "0A000002,10.0.0.2,3,1709727533.1,0.000001,0.0,0.0,0.0,0.0,0.0,0.000100,0.000030,8.0,Normal"
CHRONY = Clock(Source.CHRONY, 81_000, "UTC")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the only programs are that this machine has."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(programs: Path, name: str, script: str) -> None:
    program = programs / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_machine_without_either_program(programs: Path) -> None:
    assert read_clock().source is Source.NONE


def test_chrony_is_asked_without_names(programs: Path) -> None:
    install(programs, "chronyc", f'[ "$*" = "-n -c tracking" ] && echo {TRACKING}')
    assert read_clock() == CHRONY


def test_ptp4l_answers_where_a_service_may_write(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_watch, "RUN_DIR", tmp_path)
    fields = "master_offset 7|gmPresent false|gmIdentity beb8b9|meanPathDelay 0.0|portState MASTER"
    lines = "; ".join(f"echo '\t\t{field}'" for field in fields.split("|"))
    install(programs, "pmc", f'[ "$5" = "{tmp_path}/pmc.sock" ] || exit 1; {lines}')
    found = read_clock()
    assert (found.source, found.reference) == (Source.PTP, "beb8b9")


@pytest.mark.parametrize(
    "script",
    ["exit 1", f"echo {TRACKING}; exit 1", "while :; do :; done", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxx; done"],
    ids=["fails", "answers and fails", "hangs", "talks without end"],
)
def test_a_program_that_is_no_good_is_a_silent_one(
    programs: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(clock_watch, "TIMEOUT_S", 0.3)
    install(programs, "chronyc", script)
    found = read_clock()
    assert (found.error_ns, found.is_silent) == (None, True)


def test_a_file_that_is_no_program_is_a_silent_one(programs: Path) -> None:
    (programs / "chronyc").write_bytes(b"\x7fELF")
    (programs / "chronyc").chmod(0o755)
    assert read_clock().is_silent


def test_the_kernels_word_is_a_number_or_none() -> None:
    assert (kernel_error_us() or 0) >= 0


def test_it_is_read_again_and_again_while_that_is_wanted(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_watch, "PERIOD_S", 0.01)
    install(programs, "chronyc", f"echo {TRACKING}")
    mailbox = Mailbox()
    watch = ClockWatch(mailbox.post)
    watch.start()
    assert mailbox.is_empty
    watch.want(True)
    assert [mailbox.next() for _ in range(3)] == [ClockRead(CHRONY)] * 3
    watch.want(False)
