"""`adapt`: channels whose packets come late are due earlier at their talker's shim, as far as admission allows.

Pure. A packet's deadline, and with it what a miss is, stays as it is; but the shim, which lets best effort go first for
as long as it can, has less time for it, and what comes after the shim has more. It grows with the tardiness that is
heard of, and goes back by halves while no miss is heard of. A miss after a step back undoes that step, and doubles the
time until the next one; a step that holds halves it. Nothing is adapted that does not pass admission's own test, which
is exact, beside all others: nobody's deadline depends on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.admission.condition import Demand, EdfLink, first, is_admitted
from controller.admission.guarantee import Guarantees
from controller.admission.paths import Port
from controller.model import Channel
from controller.peering.messages import MissReport
from controller.units import NS_PER_S, NS_PER_US

STEP_NS = 100 * NS_PER_US
LEAST_NS = 500 * NS_PER_US
"""A step back to less than this is one to nothing; and so much is the least that a miss adds."""

PATIENCE_NS = 5 * NS_PER_S
MOST_PATIENCE_NS = 320 * NS_PER_S
SHARES = 16
WORK_PER_S = 20_000
"""Channels at the uplink times adaptations: admission is asked about all of them some ten times for each."""


@dataclass(frozen=True)
class Adaptation:
    """A channel is due `adapted_ns` earlier than planned since `since_ns`; admission allowed `most_ns` when asked.

    The shim took that at `taken_ns`; None: not yet. No miss was heard of, and no step back made, since `quiet_ns`; when
    that has lasted for `patience_ns` comes the next step back. `former_ns` is what it was before the last one, as long
    as that may be undone, else 0.
    """

    adapted_ns: int
    most_ns: int | None
    since_ns: int
    taken_ns: int | None
    quiet_ns: int
    patience_ns: int = PATIENCE_NS
    former_ns: int = 0

    def wanted_ns(self, tardy_ns: int) -> int:
        """What it is to become when packets are late by `tardy_ns`: half as much again, in whole steps."""
        more_ns = max(tardy_ns + tardy_ns // 2, LEAST_NS)
        return max(self.adapted_ns - (-more_ns // STEP_NS) * STEP_NS, self.former_ns)

    def raised(self, adapted_ns: int, now_ns: int) -> Adaptation:
        patience_ns = min(2 * self.patience_ns, MOST_PATIENCE_NS) if self.former_ns else self.patience_ns
        return replace(self._changed(adapted_ns, now_ns), patience_ns=patience_ns, former_ns=0)

    def stepped_back(self, now_ns: int) -> Adaptation:
        half_ns = self.adapted_ns // 2 // STEP_NS * STEP_NS
        less_ns = half_ns if half_ns >= LEAST_NS else 0
        patience_ns = max(self.patience_ns // 2, PATIENCE_NS) if self.former_ns else self.patience_ns
        changed = self._changed(less_ns, now_ns)
        return replace(changed, quiet_ns=now_ns, patience_ns=patience_ns, former_ns=self.adapted_ns)

    def limited(self, most_ns: int, now_ns: int) -> Adaptation:
        """When admission allows no more than `most_ns` any longer."""
        return self if most_ns >= self.adapted_ns else replace(self._changed(most_ns, now_ns), most_ns=most_ns)

    def concerns(self, sent_ns: int) -> bool:
        """Whether what was sent at `sent_ns` was so after the shim had taken the last change."""
        return self.taken_ns is not None and sent_ns >= self.taken_ns

    def _changed(self, adapted_ns: int, now_ns: int) -> Adaptation:
        return replace(self, adapted_ns=adapted_ns, since_ns=now_ns, taken_ns=None)


class Adaptations:
    """Those of the channels that leave by one shim; a channel that has none is as planned.

    Once `has_changed`, the shim is to be told, and `take` says that it has taken it. `rest` is called once a second.
    """

    def __init__(self) -> None:
        self.by_channel: dict[str, Adaptation] = {}
        self.has_changed = False
        self._link: EdfLink | None = None
        self._demands: Sequence[Demand] = ()
        self._work = 0

    @property
    def adapted_ns(self) -> dict[str, int]:
        """By channel, how much earlier than planned it is due."""
        return {name: each.adapted_ns for name, each in self.by_channel.items() if each.adapted_ns}

    def follow(self, guarantees: Guarantees, domain: str, channels: Iterable[Channel], now_ns: int) -> None:
        """`channels` of the domain are all that want it. What was adapted stays, in so far as it passes admission.

        Where not all of it does, each keeps the same share of its own.
        """
        names = {channel.name for channel in channels}
        port = _shim_port(guarantees, domain) if names else None
        self._link = guarantees.paths.edf_link(port) if port else None
        self._demands = guarantees.demands(port) if port else ()
        asked = {demand.name for demand in self._demands}
        self.by_channel = {name: each for name, each in self.by_channel.items() if name in names & asked}
        if self._link is not None:
            allowed_ns = largest_share(self._link, self._demands, self.adapted_ns)
            for name, most_ns in allowed_ns.items():
                self._put(name, self.by_channel[name].limited(most_ns, now_ns))

    def hear(self, channel: Channel, report: MissReport, wall_offset_ns: int, now_ns: int) -> None:
        """The controller of the listener has reported misses on `channel`.

        What may be the clock's error is none. Packets that were under way at the last change say nothing about it.
        """
        tardy_ns = report.worst_ns - report.clock_error_ns
        if tardy_ns <= 0 or self._link is None:
            return
        first_ns = min(report.first_at_ns - wall_offset_ns, now_ns)
        sent_ns = first_ns - report.worst_ns - channel.deadline_ns
        found = self.by_channel.setdefault(channel.name, Adaptation(0, None, now_ns, sent_ns, now_ns))
        found = replace(found, quiet_ns=now_ns)
        if found.concerns(sent_ns) and self._has_time():
            most_ns = largest_ns(self._link, self._demands, channel.name, self.adapted_ns)
            adapted_ns = min(found.wanted_ns(tardy_ns), most_ns)
            found = replace(found, most_ns=most_ns)
            found = found.raised(adapted_ns, now_ns) if adapted_ns > found.adapted_ns else found
        self._put(channel.name, found)

    def take(self, now_ns: int) -> None:
        """The shim has taken all that has changed."""
        for name, each in self.by_channel.items():
            if each.taken_ns is None:
                self.by_channel[name] = replace(each, taken_ns=now_ns)

    def rest(self, now_ns: int) -> None:
        """Take back what was not needed for long enough; what is back at the plan, and quiet there, is forgotten."""
        self._work = 0
        for name, each in list(self.by_channel.items()):
            if now_ns - each.quiet_ns < each.patience_ns:
                continue
            if each.adapted_ns:
                self._put(name, each.stepped_back(now_ns))
            else:
                del self.by_channel[name]

    def _put(self, name: str, changed: Adaptation) -> None:
        self.has_changed |= changed.adapted_ns != self.by_channel[name].adapted_ns
        self.by_channel[name] = changed

    def _has_time(self) -> bool:
        """Whether admission may be asked once more in this second; once always."""
        self._work += len(self._demands)
        return self._work <= max(WORK_PER_S, len(self._demands))


def largest_ns(link: EdfLink, demands: Collection[Demand], name: str, adapted_ns: Mapping[str, int]) -> int:
    """The most, in whole steps, by which the demand `name` can be due earlier beside the others as they are adapted."""
    own = next((demand for demand in demands if demand.name == name), None)
    if own is None:
        return 0
    others = [_earlier(demand, adapted_ns.get(demand.name, 0)) for demand in demands if demand is not own]
    most_steps = own.deadline_ns // STEP_NS

    def is_kept(less_steps: int) -> bool:
        return is_admitted(link, [*others, _earlier(own, (most_steps - less_steps) * STEP_NS)])

    less_steps = first(range(most_steps + 1), is_kept)
    return 0 if less_steps is None else (most_steps - less_steps) * STEP_NS


def largest_share(link: EdfLink, demands: Collection[Demand], adapted_ns: Mapping[str, int]) -> dict[str, int]:
    """The largest share of `adapted_ns`, the same for all, with which the link keeps every deadline."""

    def shared(less: int) -> dict[str, int]:
        return {name: each_ns * (SHARES - less) // SHARES for name, each_ns in adapted_ns.items()}

    def is_kept(less: int) -> bool:
        part_ns = shared(less)
        return is_admitted(link, [_earlier(demand, part_ns.get(demand.name, 0)) for demand in demands])

    less = 0 if is_kept(0) else first(range(SHARES + 1), is_kept)
    return shared(SHARES if less is None else less)


def _earlier(demand: Demand, by_ns: int) -> Demand:
    """No link keeps a deadline of a nanosecond, so what has no time left does not pass."""
    return replace(demand, deadline_ns=max(demand.deadline_ns - by_ns, 1)) if by_ns else demand


def _shim_port(guarantees: Guarantees, domain: str) -> Port | None:
    return next((port for port in guarantees.shims if port.node == domain), None)
