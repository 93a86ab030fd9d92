"""Who wants to hear of misses. Pure."""

from __future__ import annotations

from controller.guests.contracts import Asker
from controller.handlers.declared import GUEST
from controller.model import Channel
from controller.units import NS_PER_S

SUBSCRIPTIONS_MAX = 64
ALL = 0
"""In place of a channel's label: all that talk from the VM."""

_Key = tuple[object, int, int]


class Subscriptions:
    """Of one VM: each is of an address and port of its own, to one channel or to all. The last request counts."""

    def __init__(self) -> None:
        self._until_ns: dict[_Key, tuple[Asker, int]] = {}

    def __len__(self) -> int:
        return len(self._until_ns)

    def add(self, asker: Asker, label: int, lease_s: int, now_ns: int) -> bool:
        """Whether there is room for one more."""
        key = _key(asker, label)
        if key not in self._until_ns and len(self) >= SUBSCRIPTIONS_MAX:
            return False
        self._until_ns[key] = (asker, now_ns + lease_s * NS_PER_S)
        return True

    def remove(self, asker: Asker, label: int) -> None:
        self._until_ns.pop(_key(asker, label), None)

    def expire(self, now_ns: int) -> None:
        self._until_ns = {key: each for key, each in self._until_ns.items() if now_ns < each[1]}

    def wanting(self, label: int, now_ns: int) -> list[Asker]:
        """Who is to hear of misses on the channel `label`."""
        found = self._until_ns.items()
        return [asker for (*_, to), (asker, until_ns) in found if to in (ALL, label) and now_ns < until_ns]


def tells_guests(channel: Channel) -> bool:
    """Whether its misses are for its talker to hear of."""
    return GUEST in channel.on_miss


def _key(asker: Asker, label: int) -> _Key:
    return asker.sender.address, asker.port, label
