"""Real-time priority, and processors, for a program that is already running, such as ovs-vswitchd."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

VSWITCHD_PRIORITY = 40
"""SCHED_FIFO, below the shim's 50: a busy Open vSwitch must not hold up what it has already handed over."""

MOST_DATA_PLANE_CPUS = 4
_ANY_CPU = range(8192)
"""More than any kernel counts."""


@dataclass(frozen=True)
class _Former:
    """How a thread ran before."""

    policy: int
    parameters: os.sched_param
    cpus: set[int]


def usable_cpus() -> set[int]:
    """The processors that this process may ask for: its container's, and those nobody gets unasked (`isolcpus`)."""
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, _ANY_CPU)
        return os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, own)


def data_plane_cpus(usable: Collection[int]) -> tuple[int, ...]:
    """Those of `usable` that are for ovs-vswitchd and the shims: none of two, else the upper half at most."""
    count = len(usable)
    reserved = min(count // 2, MOST_DATA_PLANE_CPUS) if count > 2 else 0
    return tuple(sorted(usable)[count - reserved :])


def make_real_time(pid: int, priority: int, cpus: tuple[int, ...] = ()) -> str:
    """What `real_time` does, and says, for as long as the process lasts."""
    return _raise_threads(pid, priority, cpus, {})


@contextmanager
def real_time(pid: int, priority: int, cpus: tuple[int, ...] = ()) -> Iterator[str]:
    """All present threads of `pid` run under SCHED_FIFO at `priority` (1 to 99), on `cpus` if given, in the with block.

    Yields an empty string, or the reason why it is not so: then nothing was changed. A process that is gone has no
    threads. Threads that the program starts later inherit the policy of the one that starts them, and keep it.
    """
    before: dict[int, _Former] = {}
    try:
        yield _raise_threads(pid, priority, cpus, before)
    finally:
        _restore(before)


def _raise_threads(pid: int, priority: int, cpus: tuple[int, ...], before: dict[int, _Former]) -> str:
    try:
        for thread in _threads(pid):
            with suppress(ProcessLookupError):
                policy, parameters = os.sched_getscheduler(thread), os.sched_getparam(thread)
                before[thread] = _Former(policy, parameters, os.sched_getaffinity(thread))
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
                if cpus:
                    os.sched_setaffinity(thread, cpus)
    except PermissionError:
        _restore(before)
        return f"no real-time priority for process {pid}: permitted to root, or with CAP_SYS_NICE"
    except OSError as error:
        _restore(before)
        return f"no real-time priority for process {pid}: {error.strerror}"
    return ""


def _threads(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    return []


def _restore(before: dict[int, _Former]) -> None:
    for thread, former in before.items():
        with suppress(OSError):
            os.sched_setscheduler(thread, former.policy, former.parameters)
            os.sched_setaffinity(thread, former.cpus)
    before.clear()
