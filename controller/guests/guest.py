"""A VM that may ask, and what is known of it: budget, subscriptions, counts, what it has asked just now. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.guests import frames
from controller.guests.books import GuestBook
from controller.guests.contracts import Asker
from controller.guests.entries import own_addresses
from controller.guests.subscriptions import Subscriptions
from controller.model import Vm
from controller.token_bucket import TokenBucket
from controller.units import NS_PER_S
from guest.messages import Answer, Listed, Missed, Status, encoded

ERRANDS_PER_S, ERRANDS_AT_ONCE = 10, 20
REMEMBERED_NS = 5 * NS_PER_S
REMEMBERED_MAX = 64


@dataclass(frozen=True)
class Emit:
    """Send `frame` by `port` of the bridge."""

    port: int
    frame: bytes


@dataclass(frozen=True)
class Remembered:
    """An errand, and the frame that has answered it at `at_ns`; None: it is under way since then."""

    at_ns: int
    answer: Emit | None = None


class Guest:
    """A VM that may ask, at `port` of the bridge, and what is known of it."""

    def __init__(self, vm: Vm, port: int) -> None:
        self.vm = vm
        self.port = port
        self.addresses = frozenset(own_addresses(vm))
        self.mac = bytes.fromhex(vm.mac.replace(":", ""))
        self.budget = TokenBucket(ERRANDS_PER_S, ERRANDS_AT_ONCE)
        self.subscriptions = Subscriptions()
        self.book = GuestBook()
        self._remembered: dict[Asker, Remembered] = {}

    def is_own(self, sender: frames.Sender) -> bool:
        """Open vSwitch has looked already."""
        return sender.mac == self.mac and sender.address in self.addresses

    @property
    def is_waiting(self) -> bool:
        """Whether something that it has asked is under way."""
        return any(each.answer is None for each in self._remembered.values())

    def recall(self, asker: Asker, now_ns: int) -> Remembered | None:
        """What was made of the same request a moment ago, or is being made."""
        self._remembered = {
            key: each
            for key, each in self._remembered.items()
            if each.answer is None or now_ns - each.at_ns < REMEMBERED_NS
        }
        return self._remembered.get(asker)

    def remember(self, asker: Asker, now_ns: int) -> bool:
        """Whether there is room for one more."""
        if len(self._remembered) < REMEMBERED_MAX:
            self._remembered[asker] = Remembered(now_ns)
        return asker in self._remembered

    def conclude(self, asker: Asker, answer: Emit, now_ns: int) -> None:
        self._remembered[asker] = Remembered(now_ns, answer)

    def forget(self, asker: Asker) -> None:
        """Nothing is under way any more; asked again it is begun anew."""
        self._remembered.pop(asker, None)

    def count(self, what: str, by: int = 1) -> None:
        self.book = replace(self.book, **{what: getattr(self.book, what) + by})

    def reply(self, asker: Asker, message: Answer | Listed) -> Emit:
        if isinstance(message, Answer) and message.status != Status.DONE:
            self.count("busy" if message.status == Status.BUSY else "refused")
        return self.emit(asker, message)

    def emit(self, asker: Asker, message: Answer | Listed | Missed) -> Emit:
        return Emit(self.port, frames.datagram(asker.sender, asker.port, encoded(message, asker.nonce)))
