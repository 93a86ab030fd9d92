"""What a domain knows of its own machine's clock and of those of its peers, and what follows. Pure.

`controller.domain.domain` keeps a `Clocks`, in the thread that owns the domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.clocks.clock import NOT_READ, SAME_HOST, TRUST_NS, Clock, SteadyClock, difference_ns
from controller.domain.events import Command, TellClock, WatchClock
from controller.domain.notices import Part
from controller.domain.parts import Peer

UNHEARD = Clock(why="was not heard of for a while")


def clock_steps(statistics: Mapping[str, Any]) -> int:
    """How often the wall clock was set, as the shim says in its `statistics`."""
    return int(statistics.get("egress", {}).get("clock_steps", 0))


class Clocks:
    """The clocks that lateness is told by. Without a peer on another machine there is one, and it is not looked at.

    `differences_ns` says by peer how far its clock and the own one are apart at most; None: nobody knows.
    """

    def __init__(self) -> None:
        self.differences_ns: Mapping[str, int | None] = {}
        self._own = SteadyClock()
        self._others: dict[str, tuple[Clock, int]] = {}
        self._told: Mapping[str, Clock] = {}
        self._is_watched = False

    @property
    def own(self) -> Clock:
        return self._own.clock if self._is_watched else SAME_HOST

    def of(self, domain: str) -> Clock:
        """That of a peer on another machine, as its controller says."""
        return self._others[domain][0] if domain in self._others else NOT_READ

    def read(self, clock: Clock, now_ns: int) -> None:
        """The own clock was looked at."""
        self._own.take(clock, now_ns)

    def hear(self, domain: str, clock: Clock, now_ns: int) -> None:
        """The controller of `domain` says how its clock is."""
        self._others[domain] = clock, now_ns

    def review(self, peers: Mapping[str, Peer], now_ns: int, is_time_to_tell: bool) -> Iterator[Command]:
        """What is to be done now that something may have changed; peers are told again when it is time to."""
        self._others = {domain: self._believed(domain, now_ns) for domain in self._others.keys() & peers.keys()}
        distant = [domain for domain, peer in peers.items() if not peer.is_same_host]
        if bool(distant) != self._is_watched:
            self._is_watched, self._own = bool(distant), SteadyClock()
            yield WatchClock(self._is_watched)
        self.differences_ns = dict.fromkeys(peers, 0) | {
            domain: difference_ns(self.own, self.of(domain)) for domain in distant
        }
        listening = [domain for domain in distant if peers[domain].told is not None]
        for domain in listening:
            if is_time_to_tell or self._told.get(domain) != self.own:
                yield TellClock(domain, self.own)
        self._told = dict.fromkeys(listening, self.own)

    def troubles(self, name: str) -> dict[Part, str]:
        """Clocks by which nothing can be judged, and why; `name` is the own domain's."""
        unknown = [domain for domain, each in self.differences_ns.items() if each is None]
        if not unknown:
            return {}
        if self.own.error_ns is None:
            return {("clock", name): self.own.why}
        return {("clock", domain): self._why(domain) for domain in unknown}

    def _why(self, domain: str) -> str:
        clock = self.of(domain)
        return clock.why or f"follows {clock.reference}, and this one {self.own.reference}"

    def _believed(self, domain: str, now_ns: int) -> tuple[Clock, int]:
        clock, heard_ns = self._others[domain]
        return (UNHEARD if now_ns - heard_ns > TRUST_NS else clock), heard_ns
