"""What systemd hears of a shim, and that it takes no capability more than its unit gives it. Needs root."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.notify_socket import NotifySocket
from support.shim_lab import LIVENESS, ShimLab, stop

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 17, 0x4206, 0x4207, 0x40000000
UNIT = Path(__file__).parents[2] / "packaging/systemd/rtvnic-shim@.service"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ShimLab]:
    with ShimLab(f"dn-{os.getpid()}", tmp_path) as shim_lab:
        yield shim_lab


def thread_of(pid: int, name: str) -> int:
    (found,) = (comm for comm in Path(f"/proc/{pid}/task").glob("*/comm") if comm.read_text().strip() == name)
    return int(found.parent.name)


@contextmanager
def standing_still(thread: int) -> Iterator[None]:
    """One thread of another process is held, as a debugger does; the others go on."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    assert ptrace(PTRACE_SEIZE, thread, None, None) == 0, os.strerror(ctypes.get_errno())
    assert ptrace(PTRACE_INTERRUPT, thread, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH, thread, None, None)


def test_it_is_alive_while_its_loops_turn(lab: ShimLab, tmp_path: Path) -> None:
    with NotifySocket(str(tmp_path / "notify")) as heard:
        process = lab.spawn("--rate", "100Mbps", environment=heard.environment(watchdog_s=0.3))
        assert heard.next() == "READY=1"
        assert [heard.next() for _ in range(3)] == 3 * ["WATCHDOG=1"]
        for name in ("edf-egress", "edf-check"):
            with standing_still(thread_of(process.pid, name)):
                assert any(heard.is_silent(0.5) for _ in range(3)), name  # after what was under way
            assert heard.next() == "WATCHDOG=1"
        stop(process)
        assert heard.next_besides("WATCHDOG=1") == "STOPPING=1"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux is not installed")
def test_the_capabilities_of_its_unit_suffice(lab: ShimLab) -> None:
    found = re.search(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    granted = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in found[1].split())
    process = lab.start_live("--rate", "100Mbps", under=("setpriv", f"--bounding-set=-all,{granted}"))
    assert lab.is_live(), LIVENESS
    assert stop(process)[2] == "", "no warning: priority and locked memory are there"
