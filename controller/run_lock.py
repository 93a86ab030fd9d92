"""One at a time: whoever holds the lock of the run directory owns all of this machine that bears RTvNIC's marks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from controller.errors import CannotRun

LOCK = "lock"


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """The lock of `run_dir`, which is made if need be, and removed again if nothing else is left in it.

    Raises CannotRun if another process holds it; the kernel frees it when that ends, however that is.
    """
    descriptor = _acquire(run_dir)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        (run_dir / LOCK).unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):
            run_dir.rmdir()


def _acquire(run_dir: Path) -> int:
    path = run_dir / LOCK
    while True:
        try:
            run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the former holder has just removed the directory
            continue
        except OSError as error:
            raise CannotRun(f"cannot use {run_dir}: {error.strerror}", "run it as root") from None
        _lock(descriptor, path)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # the former holder has removed the file between our opening and locking it


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 20).decode() or "unknown"
        os.close(descriptor)
        raise CannotRun(
            f"another network is up on this machine (process {pid}, {path})", f"end it first: kill {pid}"
        ) from None
