"""Files with secrets. Guarantee: one that others than root and its owner, who runs this, could read is not used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from controller.errors import CannotRun

ANOTHER = "give the path of a file that may be read"


def read_private(path: Path, bytes_max: int, cure: str) -> bytes:
    """The first `bytes_max` of the file. Raises CannotRun: it is not private; or not there, and `cure` makes it."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            _require_private(path, os.fstat(file.fileno()))
            return file.read(bytes_max)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        raise CannotRun(f"cannot read {path}: {error.strerror}", cure if is_missing else ANOTHER) from None


def _require_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise CannotRun(f"{path} is not a file", ANOTHER)
    if found.st_uid not in (0, os.geteuid()):
        raise CannotRun(f"{path} belongs to another user", f"make it root's: chown root {path}")
    if found.st_mode & 0o077:
        raise CannotRun(f"others may read or write {path}", f"make it private: chmod 600 {path}")
