"""The file with a controller's tokens. A change of it counts from the next request on, without a restart.

Guarantee: a file that others than root and its owner, who runs this, could read or write is not used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from controller.errors import CannotRun
from controller.private_file import read_private
from controller.rest.access import Token, parse, text_of, token_of

LOG = logging.getLogger(__name__)
SIZE_MAX = 1 << 20


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens in the file. Raises CannotRun: it is not there, not private, or not in the form."""
    content = read_private(path, SIZE_MAX, f"make it: rtvnic token add {path} NAME")
    try:
        return parse(content.decode("ascii"))
    except ValueError as error:
        raise CannotRun(f"{path} is not a token file: {error}", "mend the line, or make the file anew") from None


def write_tokens(path: Path, tokens: Iterable[Token]) -> None:
    """Put a private file with `tokens` in its place, whole or not at all. Raises CannotRun."""
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text_of(tokens))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise CannotRun(f"cannot write {path}: {error.strerror}", "give a path in a directory of yours") from None


class TokenFile:
    """The tokens of a file as it is now. Raises CannotRun if it cannot be used at the start.

    One that becomes unusable later has no tokens, and the log says why. One thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens = read_tokens(path)
        self._stamp = self._stamp_now()

    def find(self, secret: str) -> Token | None:
        """The token with this secret."""
        if (stamp := self._stamp_now()) != self._stamp:
            self._stamp = stamp
            self._tokens = self._read()
        return token_of(secret, self._tokens)

    def _stamp_now(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _read(self) -> tuple[Token, ...]:
        try:
            return read_tokens(self._path)
        except CannotRun as error:
            LOG.error("no token is accepted: %s", error)
            return ()
