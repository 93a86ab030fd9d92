"""Real-time priority for a program that is already running, such as ovs-vswitchd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def real_time(pid: int, priority: int) -> Iterator[str]:
    """All present threads of `pid` run under SCHED_FIFO at `priority` (1 to 99) inside the with block.

    Yields an empty string, or the reason why it is not so: then nothing was changed. Threads that the program starts
    later inherit the policy of the one that starts them, and keep it.
    """
    before: dict[int, tuple[int, os.sched_param]] = {}
    try:
        yield _raise_threads(pid, priority, before)
    finally:
        _restore(before)


def _raise_threads(pid: int, priority: int, before: dict[int, tuple[int, os.sched_param]]) -> str:
    try:
        for thread in _threads(pid):
            with suppress(ProcessLookupError):
                policy = os.sched_getscheduler(thread), os.sched_getparam(thread)
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
                before[thread] = policy
    except PermissionError:
        _restore(before)
        return f"no real-time priority for process {pid}: permitted to root, or with CAP_SYS_NICE"
    return ""


def _threads(pid: int) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


def _restore(before: dict[int, tuple[int, os.sched_param]]) -> None:
    for thread, (policy, parameters) in before.items():
        with suppress(ProcessLookupError):
            os.sched_setscheduler(thread, policy, parameters)
    before.clear()
