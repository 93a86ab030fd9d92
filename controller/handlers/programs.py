"""Runs the program of a handler. Blocks whoever asks for it, at most for its time.

Hazard: it comes from the process of a controller, which is root's, and has threads, secrets and sockets. Guarantee: it
starts without a copy of that and without holding it up (native/spawn.h); with nothing to read and the environment that
is given; as its own user, without a way to more privileges; within LIMITS, which its descendants have too; and it goes
first when memory is short. Of its output the first OUTPUT_MAX bytes are kept. When its time is over, and when it ends,
it is killed with all of its process group.
"""

from __future__ import annotations

import math
import os
import pwd
import resource
import select
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.errors import CannotRun
from controller.handlers._spawn import ffi, lib
from controller.handlers.declared import Program
from controller.units import NS_PER_MS, NS_PER_S

SETPRIV = "/usr/bin/setpriv"
"""Of util-linux: gives up rights, and becomes the program."""

MEMORY_MAX = 256 << 20
FILES_MAX = 256
FILE_BYTES_MAX = 64 << 20
PROCESSES_MAX = 64
LIMITS = {
    resource.RLIMIT_DATA: MEMORY_MAX,
    resource.RLIMIT_NOFILE: FILES_MAX,
    resource.RLIMIT_FSIZE: FILE_BYTES_MAX,
    resource.RLIMIT_NPROC: PROCESSES_MAX,
    resource.RLIMIT_CORE: 0,
}
OUTPUT_MAX = 2000
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Ended:
    """What became of a program, and the first of its output. `code`: negative for a signal; None: its time was over."""

    code: int | None
    output: str


def require(program: Program) -> None:
    """Raises CannotRun where `program` cannot be run, or should not be."""
    path = Path(program.words[0])
    _group_of(program.user)
    if not path.is_file():
        raise CannotRun(f"there is no program {path}", "install it, or correct `exec` in the file")
    if not os.access(path, os.X_OK):
        raise CannotRun(f"{path} cannot be executed", f"chmod +x {path}")
    if path.stat().st_mode & 0o022:
        raise CannotRun(f"others than its owner may write {path}", f"chmod go-w {path}")


def run(program: Program, environment: Mapping[str, str], timeout_ns: int) -> Ended:
    """Run `program` to its end, or to the end of its time. Raises CannotRun."""
    require(program)
    end_ns = time.monotonic_ns() + timeout_ns
    limits = {**LIMITS, resource.RLIMIT_CPU: math.ceil(timeout_ns / NS_PER_S)}
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe:
        try:
            pid = _start(_command(program), environment, limits, writing)
        finally:
            os.close(writing)
        return _attended(pid, pipe.fileno(), end_ns)


def _group_of(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError:
        cure = f"useradd --system {user}, or name another one as `user` in the file"
        raise CannotRun(f"there is no user {user}", cure) from None


def _command(program: Program) -> list[str]:
    group = _group_of(program.user)
    rights = [f"--reuid={program.user}", f"--regid={group}", "--init-groups", "--inh-caps=-all", "--no-new-privs", "--"]
    return [SETPRIV, *rights, *program.words]


def _start(command: list[str], environment: Mapping[str, str], limits: Mapping[int, int], output: int) -> int:
    """The id of a new process that leads a session of its own. Other threads go on meanwhile. Raises CannotRun."""
    words = _strings(command)
    variables = _strings(f"{name}={value}" for name, value in environment.items())
    pid: int = lib.spawn(words[0], variables[0], list(limits.items()), len(limits), output)
    if pid < 0:
        raise CannotRun(f"cannot start {command[0]}: {os.strerror(-pid)}", "apt-get install util-linux")
    return pid


def _strings(texts: Iterable[str]) -> tuple[Any, Any]:
    """For C, ending with NULL; and what they live as long as."""
    kept = [ffi.new("char[]", text.encode()) for text in texts]
    return ffi.new("char *[]", [*kept, ffi.NULL]), kept


def _attended(pid: int, output: int, end_ns: int) -> Ended:
    """How the process `pid` ends, whose output is read meanwhile. Nothing of its group is left."""
    descriptor = os.pidfd_open(pid)
    try:
        text, is_over = _listen(descriptor, output, end_ns)
    finally:
        os.close(descriptor)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # before it is waited for: its number cannot be another's yet
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Ended(code if is_over else None, text.decode(errors="replace").strip())


def _listen(process: int, output: int, end_ns: int) -> tuple[bytes, bool]:
    """The first of the output until the process ends or its time is over, and whether it has ended."""
    text = b""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(output, select.POLLIN)
    while (left_ns := end_ns - time.monotonic_ns()) > 0:
        ready = dict(poll.poll(math.ceil(left_ns / NS_PER_MS)))
        if output in ready:
            if not (read := os.read(output, _READ_BYTES)):
                poll.unregister(output)
            text = (text + read)[:OUTPUT_MAX]
        elif process in ready:  # and nothing more to read
            return text, True
    return text, False
