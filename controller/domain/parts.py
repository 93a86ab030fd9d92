"""The parts of a domain as its controller knows them: bridges, ends of channels, the shim, the peers. Pure.

`controller.domain.domain` changes them, `controller.rest.view` reads them, both in the thread that owns the domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controller.domain.events import Contents, Proof, QueueCount
from controller.domain.lifecycle import Installation, State
from controller.domain.reports import EndReport, Role
from controller.guests.entries import METER_BASE
from controller.model import Bypass, Channel
from controller.openflow.counts import Counts, Traffic
from controller.openflow.pipeline import (
    Entry,
    FlowEntry,
    Meter,
    MeterWithdrawal,
    PacketMeter,
    Purpose,
    Withdrawal,
    purpose_and_subject,
    without_digest,
)
from controller.openflow.reconcile import channel_end, missing, unwanted
from controller.peering.session import Link
from controller.units import NS_PER_S

GRACE_NS = NS_PER_S
"""So long a listener's flow outlives its channel, for the packets that are under way."""


@dataclass
class End(Installation):
    """The end of `channel` in this domain. A channel within the domain is installed as a whole at its talker.

    It may be installed once the shim has taken the settings of `shim_revision`.
    """

    channel: Channel
    role: Role
    shim_revision: int = 0

    @property
    def has_meter(self) -> bool:
        return any(isinstance(entry, Meter) for entry in self.entries)


@dataclass
class Bridge:
    """A switch of the domain and all that is to be installed on it. `set_ends` says which ends of channels.

    `contents` and `queues` are the switch's own last words; it is known once it has told its contents. A question for
    them is due when something in them may have to go, and asked until it is answered. `meters` are the packets that
    each has dropped; `proofs` are by port number and queue id, and as they are since `proofs_since_ns`. `withdrawals`
    are to be sent next; `changes_sent` is how many entries it was sent so far, or told to withdraw.
    """

    name: str
    base: Installation
    ends: tuple[End, ...] = ()
    is_connected: bool = False
    is_known: bool = False
    is_question_due: bool = False
    is_asked: bool = False
    contents: Contents = field(default_factory=Contents)
    queues: tuple[QueueCount, ...] = ()
    meters: Mapping[int, int] = field(default_factory=dict)
    proofs: Mapping[tuple[int, int], Proof] = field(default_factory=dict)
    proofs_since_ns: int = 0
    withdrawals: list[Entry] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    changes_sent: int = 0

    def __post_init__(self) -> None:
        self._ended_ns: dict[int, int] = {}
        self._are_ends_told = False
        self._base_meters = {entry.meter_id for entry in self.base.entries if isinstance(entry, PacketMeter)}
        self._index()

    @property
    def is_told(self) -> bool:
        """Whether it is known which ends are wanted."""
        return self._are_ends_told

    @property
    def installations(self) -> tuple[Installation, ...]:
        return (self.base, *self.ends)

    @property
    def obstacle(self) -> str:
        """Why it cannot be told anything yet; empty when it can."""
        if not self.is_connected:
            return f"the switch {self.name} is not connected"
        return "" if self.is_known else f"the switch {self.name} has not told what it has yet"

    @property
    def has_meters(self) -> bool:
        return bool(self._base_meters) or any(end.has_meter for end in self.ends)

    def set_ends(self, ends: Iterable[End], now_ns: int) -> None:
        """From now on `ends` are wanted and no others."""
        former, was_told = self._by_label, self._are_ends_told
        self.ends, self._are_ends_told = tuple(ends), True
        self._index()
        ended = former.keys() - self._by_label.keys()
        self.is_question_due |= bool(ended) or not was_told
        recent = {label: at_ns for label, at_ns in self._ended_ns.items() if now_ns - at_ns < GRACE_NS}
        self._ended_ns = recent | dict.fromkeys(ended, now_ns)

    def take(self, contents: Contents, now_ns: int) -> bool:
        """Note what the switch says that it has. Whether its wanted flows have counted otherwise than it said last."""
        has_counted = self.counts.take(contents.flows, self._subjects if self._are_ends_told else None)
        self.contents, self.is_known = contents, True
        self.withdrawals = unwanted(contents, lambda cookie: self._keeps(cookie, now_ns), self._keeps_meter)
        return has_counted

    def missing(self, installation: Installation) -> tuple[Entry, ...]:
        """What of `installation` the bridge does not have, as far as it has told."""
        return tuple(missing(installation.entries, self.contents))

    def has_lost(self, installation: Installation) -> bool:
        """Whether entries that it had confirmed are no longer there."""
        return installation.state is State.INSTALLED and any(missing(installation.entries, self.contents))

    def forget(self, sent: Iterable[Entry]) -> None:
        """Take from `contents`, and from what is to be withdrawn, what the switch no longer has once it has `sent`."""
        sent = list(sent)
        self.changes_sent += len(sent)
        cookies = {entry.cookie for entry in sent if isinstance(entry, Withdrawal)}
        meters = {entry.meter_id for entry in sent if isinstance(entry, MeterWithdrawal)}
        replaced = {channel_end(entry.cookie) for entry in sent if isinstance(entry, FlowEntry)} - {None}
        cookies |= {cookie for cookie in self.contents.flows.keys() - self._wanted if channel_end(cookie) in replaced}
        self.contents = replace(
            self.contents,
            flows={cookie: traffic for cookie, traffic in self.contents.flows.items() if cookie not in cookies},
            meters={number: meter for number, meter in self.contents.meters.items() if number not in meters},
        )
        self.withdrawals = []

    def labels(self) -> set[int]:
        """Of the channels whose flows it has."""
        return {found[1] for cookie in self.contents.flows if (found := channel_end(cookie))}

    def traffic(self) -> Mapping[tuple[Purpose, int], Traffic]:
        """What its flows have counted, by purpose and subject."""
        totals = self.counts.totals()
        return {purpose_and_subject(subject): totals.get(subject, Traffic()) for subject in self._subjects}

    def _index(self) -> None:
        entries = (entry for installation in self.installations for entry in installation.entries)
        self._wanted = {entry.cookie for entry in entries if isinstance(entry, FlowEntry)}
        self._subjects = set(map(without_digest, self._wanted))
        self._by_label = {end.channel.label: end for end in self.ends}
        if self._are_ends_told:
            self.counts.keep(self._subjects)

    def _keeps(self, cookie: int, now_ns: int) -> bool:
        """Whether a flow stays: it is wanted, or what takes its place is not installed yet."""
        if cookie in self._wanted:
            return True
        found = channel_end(cookie)
        if found is None:
            return self.base.state is not State.INSTALLED
        purpose, label = found
        if label in self._by_label:
            return self._by_label[label].state is not State.INSTALLED
        is_fading = purpose is Purpose.LISTENER and now_ns - self._ended_ns.get(label, now_ns - GRACE_NS) < GRACE_NS
        return is_fading or not self._are_ends_told

    def _keeps_meter(self, number: int) -> bool:
        if number >= METER_BASE:
            return number in self._base_meters
        end = self._by_label.get(number)
        return not self._are_ends_told if end is None else end.has_meter or end.state is not State.INSTALLED


@dataclass
class Shim:
    """The domain's shim: whether it answers (`why` not), and whether packets go past it, as the switch sees it.

    It has taken the settings of `revision`. `since_ns` is when it began to work, or ceased to; `statistics` are its
    last ones.
    """

    is_ready: bool = False
    revision: int = 0
    why: str = "has not answered yet"
    is_bypassed: bool = False
    since_ns: int = 0
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trouble(self) -> str:
        """Why channels have no guarantee; empty when all is well."""
        if not self.is_ready:
            return self.why
        return "does not forward; packets go past it" if self.is_bypassed else ""

    def trouble_of(self, end: End) -> str:
        """The same for `end` alone: its channel may want no packets to go past the shim."""
        is_blocked = end.role is Role.TALKER and end.channel.on_bypass is Bypass.BLOCK
        if self.is_ready and self.is_bypassed and is_blocked:
            return "does not forward; packets are dropped"
        return self.trouble


Told = tuple[State, str, int | None, bool]


@dataclass
class Peer:
    """Another controller that shares channels with this one. `why` explains when it is not reachable.

    `told` is how the ends stood of which it was told last: state, reason, version, and whether counts of the shim were
    still awaited. None: there is no session.
    """

    is_reachable: bool = False
    why: str = "has not answered yet"
    ends: Mapping[str, EndReport] = field(default_factory=dict)
    link: Link = field(default_factory=Link)
    is_same_host: bool = False
    told: Mapping[str, Told] | None = None


@dataclass(frozen=True)
class Miss:
    """A packet of `channel` that arrived `lateness_ns` after its deadline, at `at_ns` of the wall clock.

    That is right within `clock_error_ns`; None: nobody knows.
    """

    channel: str
    lateness_ns: int
    at_ns: int
    clock_error_ns: int | None
