"""What a controller tells those who watch it, as it happens: the models of `GET /v1/events`, and when there is one.

Pure; the domain keeps a `Notices`. Misses are summed up, so that a flood of them is a few notices.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from controller.domain.lifecycle import State
from controller.domain.reports import Model, Role
from controller.model import Channel
from controller.units import NS_PER_MS

MISS_PERIOD_NS = 100 * NS_PER_MS
"""A channel's misses are told of no more often; the first at once."""


class Change(StrEnum):
    """What became of a channel in the store."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Notice(Model):
    """Something that happened in `domain`, at `at_ns` of its wall clock. `kind` is the event's name."""

    domain: str
    at_ns: int
    kind: str


class ChannelNotice(Notice):
    """When the domain is told of a channel, of another contract, or that it is no longer wanted."""

    kind: Literal["channel"] = "channel"
    channel: str
    change: Change


class StateNotice(Notice):
    """When the domain's end of a channel comes into another state. A new end is `waiting` without a word."""

    kind: Literal["state"] = "state"
    channel: str
    role: Role
    state: State
    why: str


class MissNotice(Notice):
    """When packets of a channel arrived after their deadline: `count`, and the worst, since the notice before.

    The lateness is right within `clock_error_ns`; null: nobody knows.
    """

    kind: Literal["misses"] = "misses"
    channel: str
    count: int
    worst_lateness_ns: int
    clock_error_ns: int | None


class AdaptationNotice(Notice):
    """When a channel is sent earlier than planned by another `adapted_ns` than before; 0: as planned again."""

    kind: Literal["adaptation"] = "adaptation"
    channel: str
    adapted_ns: int


class TroubleNotice(Notice):
    """When a shim, switch, peer, clock or store does not work, and when it works again (`is_over`)."""

    kind: Literal["trouble"] = "trouble"
    of: Literal["shim", "switch", "peer", "clock", "store"]
    name: str
    is_over: bool
    why: str


Part = tuple[Literal["shim", "switch", "peer", "clock", "store"], str]
"""What may be in trouble: of which kind, and its name."""


class Notices:
    """Those of the domain `domain` that were not taken yet: what it is shown is compared with what it was before."""

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._made: list[Notice] = []
        self._channels: Mapping[str, Channel] = {}
        self._states: Mapping[str, State] = {}
        self._troubles: Mapping[Part, str] = {}
        self._adapted_ns: Mapping[str, int] = {}
        self._misses: dict[str, tuple[int, int, int | None]] = {}
        self._told_ns: dict[str, int] = {}

    def take(self, now_ns: int, at_ns: int) -> tuple[Notice, ...]:
        """All that is due now; `at_ns` is the wall clock's time."""
        self._note_misses(now_ns, at_ns)
        made, self._made = self._made, []
        return tuple(made)

    def see_channels(self, channels: Mapping[str, Channel], at_ns: int) -> None:
        """The domain is to have these."""
        before, self._channels = self._channels, dict(channels)
        for name in sorted(before.keys() - channels.keys()):
            self._note(ChannelNotice, at_ns, channel=name, change=Change.REMOVED)
        for name, channel in channels.items():
            if before.get(name) != channel:
                change = Change.CHANGED if name in before else Change.ADDED
                self._note(ChannelNotice, at_ns, channel=name, change=change)

    def see_states(self, standings: Mapping[str, tuple[Role, State, str]], at_ns: int) -> None:
        """The domain's ends stand so, by channel."""
        before, self._states = self._states, {name: state for name, (_, state, _) in standings.items()}
        for name, (role, state, why) in standings.items():
            if before.get(name, State.WAITING) is not state:
                self._note(StateNotice, at_ns, channel=name, role=role, state=state, why=why)

    def see_troubles(self, troubles: Mapping[Part, str], at_ns: int) -> None:
        """These do not work, and why; all others do, or are none of the domain's any more."""
        before, self._troubles = self._troubles, troubles
        for of, name in sorted(before.keys() - troubles.keys()):
            self._note(TroubleNotice, at_ns, of=of, name=name, is_over=True, why="")
        for (of, name), why in troubles.items():
            if (of, name) not in before:
                self._note(TroubleNotice, at_ns, of=of, name=name, is_over=False, why=why)

    def see_adapted(self, adapted_ns: Mapping[str, int], at_ns: int) -> None:
        """These channels are sent so much earlier than planned, and no others."""
        before, self._adapted_ns = self._adapted_ns, adapted_ns
        for name in sorted(before.keys() | adapted_ns.keys()):
            if before.get(name, 0) != adapted_ns.get(name, 0):
                self._note(AdaptationNotice, at_ns, channel=name, adapted_ns=adapted_ns.get(name, 0))

    def see_misses(self, channel: str, misses: int, worst_ns: int, clock_error_ns: int | None) -> None:
        """So many packets of `channel` were late, the worst by `worst_ns`, which is right within `clock_error_ns`."""
        count, former_ns, _ = self._misses.get(channel, (0, 0, None))
        self._misses[channel] = (count + misses, max(former_ns, worst_ns), clock_error_ns)

    def _note(self, kind: type[Notice], at_ns: int, **fields: object) -> None:
        self._made.append(kind.model_validate({"domain": self._domain, "at_ns": at_ns, **fields}))

    def _note_misses(self, now_ns: int, at_ns: int) -> None:
        self._told_ns = {name: told for name, told in self._told_ns.items() if now_ns - told < MISS_PERIOD_NS}
        for name in sorted(self._misses.keys() - self._told_ns.keys()):
            count, worst_ns, error_ns = self._misses.pop(name)
            self._told_ns[name] = now_ns
            self._note(
                MissNotice, at_ns, channel=name, count=count, worst_lateness_ns=worst_ns, clock_error_ns=error_ns
            )
