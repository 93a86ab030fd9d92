"""What keeps a guest from taking more than its part: turns, and a budget. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from controller.units import NS_PER_S

Item = TypeVar("Item")


class RoundRobin(Generic[Item]):
    """Items of many askers, of each at most `most`; those who have some take turns, one item each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, deque[Item]] = {}

    def put(self, asker: str, item: Item) -> bool:
        """Whether there is room for it."""
        items = self._waiting.setdefault(asker, deque())
        if len(items) >= self._most:
            return False
        items.append(item)
        return True

    def take(self) -> Item | None:
        """The next item, of the asker whose turn it is; None: there is none."""
        for asker in self._waiting:
            items = self._waiting.pop(asker)
            item = items.popleft()
            if items:
                self._waiting[asker] = items  # behind all others
            return item
        return None


@dataclass
class Budget:
    """Allows `per_s` of something, and up to `most` at once."""

    per_s: int
    most: int
    _level_ns: int = 0
    _at_ns: int = 0

    def __post_init__(self) -> None:
        self._level_ns = self.most * NS_PER_S

    def has_any(self, now_ns: int) -> bool:
        """Whether there is some left."""
        self._refill(now_ns)
        return self._level_ns >= NS_PER_S

    def spend(self, amount: int, now_ns: int) -> None:
        """Take `amount`, also what is not there: then it takes so much longer until there is some again."""
        self._refill(now_ns)
        self._level_ns -= amount * NS_PER_S

    def _refill(self, now_ns: int) -> None:
        self._level_ns = min(self.most * NS_PER_S, self._level_ns + (now_ns - self._at_ns) * self.per_s)
        self._at_ns = now_ns
