"""Progress of work that takes more than a moment, on standard error."""

from __future__ import annotations

import sys
from typing import TextIO


class Progress:
    """Tells on `stream` which of `total` parts is under way: in place on a terminal, a line for each in a log."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._done = 0
        self._stream = stream or sys.stderr

    def step(self, what: str) -> None:
        """The next part, `what`, begins."""
        self._done += 1
        before, after = ("\r\033[K", "") if self._stream.isatty() else ("", "\n")
        self._stream.write(f"{before}{self._done}/{self._total} {what}{after}")
        self._stream.flush()

    def end(self) -> None:
        """All parts are over; what is printed next starts on a clean line."""
        if self._stream.isatty():
            self._stream.write("\r\033[K")
            self._stream.flush()
