"""What keeps an asker from taking more than its part. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

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
