"""How long to wait before a process that has died is started again. No clock is read."""

from __future__ import annotations

BACKOFF_S = 0.1
BACKOFF_MOST_S = 5.0
LASTING_S = 10.0
"""A process that ran so long starts again at once when it dies; one that dies sooner waits longer each time."""


class Backoff:
    """The pauses of one process."""

    def __init__(self) -> None:
        self._pause_s = BACKOFF_S

    def pause_s(self, lasted_s: float) -> float:
        """After it has lived for `lasted_s`."""
        if lasted_s >= LASTING_S:
            self._pause_s = BACKOFF_S
            return 0.0
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, BACKOFF_MOST_S)
        return pause_s
