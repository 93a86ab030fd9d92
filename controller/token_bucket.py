"""So much of something a second, and some at once after a pause. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controller.units import NS_PER_S


@dataclass
class TokenBucket:
    """Gets `per_s` tokens a second, and holds `most`; full at first. Not thread-safe; `now_ns` never goes back."""

    per_s: float
    most: float
    _level_ns: float = 0  # of a token for each NS_PER_S
    _at_ns: int = 0

    def __post_init__(self) -> None:
        self._level_ns = self.most * NS_PER_S

    def wait_ns(self, now_ns: int) -> int:
        """In how long there is a token; 0: there is one."""
        self._refill(now_ns)
        return math.ceil(max(0, NS_PER_S - self._level_ns) / self.per_s)

    def take(self, tokens: int, now_ns: int) -> None:
        """Also those that are not there: then it takes so much longer until there is one."""
        self._refill(now_ns)
        self._level_ns -= tokens * NS_PER_S

    def _refill(self, now_ns: int) -> None:
        self._level_ns = min(self.most * NS_PER_S, self._level_ns + (now_ns - self._at_ns) * self.per_s)
        self._at_ns = now_ns
