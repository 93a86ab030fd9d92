"""Progress of work that takes more than a moment, on standard error."""

from __future__ import annotations

import sys
from typing import TextIO


class Progress:
    """Tells on `stream` which of `total` parts is under way: in place on a terminal, a line for each in a log."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._done = 0
        self._what = ""
        self._stream = stream or sys.stderr

    def step(self, what: str) -> None:
        """The next part, `what`, begins."""
        self._done += 1
        self._what = what
        self._write("" if self._stream.isatty() else "\n")

    def note(self, how_far: str) -> None:
        """How far the part has come, for those who watch; a log is not told."""
        if self._stream.isatty():
            self._write(f" ({how_far})")

    def end(self) -> None:
        """All parts are over; what is printed next starts on a clean line."""
        if self._stream.isatty():
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _write(self, ending: str) -> None:
        start = "\r\033[K" if self._stream.isatty() else ""
        self._stream.write(f"{start}{self._done}/{self._total} {self._what}{ending}")
        self._stream.flush()
