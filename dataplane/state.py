"""Where a shim's state lies: a file that the shim's next process adopts. core/state.h says what is in it.

The file must be in memory (tmpfs): the packet loops write to it, and would wait for a disk. So it is beside the shim's
socket where that is so, as in /run, else in /dev/shm. It stays when the shim ends, however it ends; a restart of the
machine removes it. One process at a time holds it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from urllib.parse import quote

from dataplane.errors import ShimError

SHARED_MEMORY = Path("/dev/shm")
MOUNTS = Path("/proc/self/mountinfo")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SUFFIX = ".state"


def state_file(socket: Path) -> Path:
    """The state of the shim that serves `socket`. Raises ShimError if the socket's directory is not there."""
    directory = socket.parent.resolve()
    if not directory.is_dir():
        raise ShimError(f"cannot listen at {socket}: there is no directory {directory}", "choose another --socket")
    beside = directory / (socket.name + SUFFIX)
    return beside if _is_in_memory(directory) else SHARED_MEMORY / _shared_name(str(beside))


def states(directory: Path) -> list[Path]:
    """The state of every shim that serves a socket in `directory`, or has done so."""
    shared = SHARED_MEMORY.glob(_shared_name(f"{directory.resolve()}/") + f"*{SUFFIX}")
    return [*directory.glob(f"*{SUFFIX}"), *shared]


def remove_states(directory: Path) -> None:
    """Have every shim that will serve a socket in `directory` begin anew."""
    for file in states(directory):
        file.unlink(missing_ok=True)


def identity(inner: str, uplink: str) -> str:
    """Of a shim between two interfaces, in this boot. Only what the same one has left is adopted."""
    return f"{BOOT_ID.read_text().strip()} {inner} {uplink}"


def open_state(file: Path) -> int:
    """A descriptor of `file`, which is made if it is not there, and is this process's alone until it is closed.

    Raises ShimError if it is another shim's or another user's, or cannot be opened.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ShimError(f"cannot keep state in {file}: {error.strerror}", "choose another --socket") from error
    try:
        _claim(descriptor, file)
    except ShimError:
        os.close(descriptor)
        raise
    return descriptor


def _claim(descriptor: int, file: Path) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        raise ShimError(f"{file} is not this user's own file", "remove it")
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process; its guard does not inherit it
    except OSError as error:
        raise ShimError(f"another shim has its state in {file}", "stop that one, or choose another --socket") from error


def _is_in_memory(directory: Path) -> bool:
    """Whether the file system of `directory` has no disk."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
    return any(fields[2] == number and fields[fields.index("-") + 1] == "tmpfs" for fields in mounts)


def _shared_name(path: str) -> str:
    """In SHARED_MEMORY, of what would be at `path`; the part of a path makes the part of a name."""
    return "rtvnic-" + quote(path, safe="")
