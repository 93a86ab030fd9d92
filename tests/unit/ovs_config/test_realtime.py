"""Which processors are whose, and what a process may be given."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from ovs_config.realtime import data_plane_cpus, make_real_time, real_time, usable_cpus


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A process to which any priority may be given."""
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: None)
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize(
    ("count", "cpus"), [(1, ()), (2, ()), (3, (2,)), (4, (2, 3)), (8, (4, 5, 6, 7)), (64, (60, 61, 62, 63))]
)
def test_the_data_plane_gets_the_upper_half_and_not_more_than_it_can_use(count: int, cpus: tuple[int, ...]) -> None:
    assert data_plane_cpus(range(count)) == cpus


def test_what_a_container_does_not_have_is_not_chosen() -> None:
    assert data_plane_cpus({0, 1, 2, 3}) == (2, 3)
    assert data_plane_cpus({9, 3, 12, 4}) == (9, 12)


def test_processors_that_are_to_be_asked_for_can_be_chosen() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() >= before
        assert os.sched_getaffinity(0) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)


def test_processors_that_there_are_not_are_a_reason_and_nothing_changes(sleeper: int) -> None:
    before = os.sched_getaffinity(sleeper)
    assert make_real_time(sleeper, 40, (5000,)) == f"no real-time priority for process {sleeper}: Invalid argument"
    with real_time(sleeper, 40, (5000,)) as reason:
        assert "Invalid argument" in reason
    assert os.sched_getaffinity(sleeper) == before


def test_for_a_process_that_is_gone_there_is_nothing_to_do() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert make_real_time(process.pid, 40) == ""
