"""What a domain hears and what it orders: its events and its commands, as data.

An event says that something happened outside; `controller.domain.domain` answers it with commands, which the
threads around it carry out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from controller.admission.guarantee import ToldBounds
from controller.clocks.clock import Clock
from controller.domain.lifecycle import State
from controller.domain.notices import Notice
from controller.domain.reports import EndReport, Role
from controller.domain.shim_terms import Settings
from controller.guests.books import GuestBook
from controller.model import Channel
from controller.openflow.counts import Counts, Traffic
from controller.openflow.pipeline import AnyMeter, Entry, Group
from controller.peering.messages import MissReport
from controller.peering.session import Link
from controller.store.records import StoreBack, StoreGone


@dataclass(frozen=True)
class QueueCount:
    """What one queue of a port has sent. `errors` should be zero: packets that the queue dropped."""

    port: int
    queue_id: int
    traffic: Traffic
    errors: int


@dataclass(frozen=True)
class Contents:
    """What a switch has, in its own words: the flows that bear our mark by cookie, all groups and meters by number.

    A group that is none of ours is None. `closed_ports` are those that nothing leaves by.
    """

    flows: Mapping[int, Traffic] = field(default_factory=dict)
    groups: Mapping[int, Group | None] = field(default_factory=dict)
    meters: Mapping[int, AnyMeter | None] = field(default_factory=dict)
    closed_ports: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ChannelsTold:
    """When the channel store has told which channels are wanted now: all that have to do with the domain.

    Shims forgive `jitter_ns` beyond a channel's contract (`controller.admission.tolerance`); None: nothing. `bounds` of
    ports without a shim and best-effort `slacks_ns` by hypervisor are those that admission has found over all.
    """

    channels: Mapping[str, Channel]
    jitter_ns: int | None = None
    bounds: ToldBounds | None = None
    slacks_ns: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SwitchConnected:
    """After the OpenFlow handshake with a bridge of the domain. `ports_down` are the numbers of all that are down."""

    bridge: str
    ports_down: frozenset[int] = frozenset()


@dataclass(frozen=True)
class SwitchGone:
    """When the connection to a bridge has ended."""

    bridge: str


@dataclass(frozen=True)
class Confirmed:
    """When a bridge has acted on all entries of a batch. Comes after the batch's Refused, if any."""

    bridge: str
    batch: int


@dataclass(frozen=True)
class Refused:
    """When a bridge has answered an entry of a batch with an error; `entry` is None if it never answered at all."""

    bridge: str
    batch: int
    entry: Entry | None
    why: str


@dataclass(frozen=True)
class ContentsReported:
    """In answer to AskContents."""

    bridge: str
    contents: Contents


@dataclass(frozen=True)
class QueuesReported:
    """In answer to AskQueues."""

    bridge: str
    queues: tuple[QueueCount, ...]


class Proof(StrEnum):
    """Whether marked frames that were sent on purpose came out of the queue of their class."""

    PROVED = "proved"
    NOT_PROVED = "not proved"
    NOT_SUPPORTED = "not supported"
    """There are no queues of Open vSwitch at the port."""


@dataclass(frozen=True)
class QueuesProbed:
    """When queues of a bridge have been tried, by port number and queue id; those left out are as they were."""

    bridge: str
    proofs: Mapping[tuple[int, int], Proof]


@dataclass(frozen=True)
class MetersReported:
    """In answer to AskMeters: how many packets each meter has dropped."""

    bridge: str
    dropped: Mapping[int, int]


@dataclass(frozen=True)
class PortReported:
    """When a port has come up or gone down since SwitchConnected."""

    bridge: str
    port: int
    is_up: bool


@dataclass(frozen=True)
class ShimReady:
    """When the domain's shim has taken the settings of this `revision`."""

    revision: int


@dataclass(frozen=True)
class ShimGone:
    """When the domain's shim does not answer, or no more."""

    why: str


@dataclass(frozen=True)
class ShimReported:
    """In answer to AskShim: `dataplane.protocol`'s statistics of all channels."""

    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class MissCount:
    """What the shim has counted of one channel in the last `window_ns`, as `dataplane.protocol` says it.

    `total_misses` counts since the shim's state began; `first_at_ns` is of the wall clock.
    """

    label: int
    misses: int
    packets: int
    worst_ns: int
    mean_ns: int
    window_ns: int
    total_misses: int
    first_at_ns: int


@dataclass(frozen=True)
class Missed:
    """When the shim tells of packets that arrived after their deadline: some of them one by one, `counts` of all."""

    misses: tuple[Mapping[str, int], ...]
    counts: tuple[MissCount, ...] = ()


@dataclass(frozen=True)
class PeerJoined:
    """When a session with another controller begins. `is_same_host`: it runs on this machine."""

    domain: str
    is_same_host: bool


@dataclass(frozen=True)
class PeeringReported:
    """Once a second, and when a session begins or ends: the connection to another controller."""

    domain: str
    link: Link


@dataclass(frozen=True)
class StrangersReported:
    """Once a second while there are more: how many have connected as a controller and were shown out, so far."""

    count: int


@dataclass(frozen=True)
class MissesReported:
    """When another controller, of listeners, has told of misses on channels."""

    domain: str
    reports: tuple[MissReport, ...]


@dataclass(frozen=True)
class PeerReported:
    """When another controller has told of its ends of the channels that both share."""

    domain: str
    ends: Mapping[str, EndReport]


@dataclass(frozen=True)
class ClockRead:
    """When this machine's wall clock was looked at: every few seconds while WatchClock says so."""

    clock: Clock


@dataclass(frozen=True)
class PeerClockReported:
    """When another controller has told how its machine's wall clock is."""

    domain: str
    clock: Clock


@dataclass(frozen=True)
class PeerGone:
    """When another controller does not answer."""

    domain: str
    why: str


@dataclass(frozen=True)
class GuestsReported:
    """Once a second: what has been counted of each VM that may ask."""

    books: Mapping[str, GuestBook]


@dataclass(frozen=True)
class Tick:
    """Once a second. `wall_ns` is the wall clock then."""

    wall_ns: int = 0


Event = (
    ChannelsTold
    | StoreGone
    | StoreBack
    | SwitchConnected
    | SwitchGone
    | Confirmed
    | Refused
    | ContentsReported
    | QueuesReported
    | MetersReported
    | PortReported
    | QueuesProbed
    | ShimReady
    | ShimGone
    | ShimReported
    | Missed
    | PeerJoined
    | PeeringReported
    | StrangersReported
    | PeerReported
    | PeerGone
    | MissesReported
    | GuestsReported
    | ClockRead
    | PeerClockReported
    | Tick
)


@dataclass(frozen=True)
class Send:
    """Send `entries` to a bridge, then a barrier; it is answered by Confirmed or Refused of the same batch."""

    bridge: str
    batch: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class AskContents:
    bridge: str


@dataclass(frozen=True)
class AskQueues:
    bridge: str


@dataclass(frozen=True)
class AskMeters:
    bridge: str


@dataclass(frozen=True)
class AskShim:
    pass


@dataclass(frozen=True)
class SetShim:
    """Have the shim take `settings`; it is answered by ShimReady of the same revision."""

    revision: int
    settings: Settings


@dataclass(frozen=True)
class SetQueues:
    """Have the queues of the domain's switches follow these channels, with the contracts that shims hold them to."""

    channels: Mapping[str, Channel]


@dataclass(frozen=True)
class Follow:
    """Hear from the controllers of these domains, and of no others."""

    domains: tuple[str, ...]


@dataclass(frozen=True)
class TellEnds:
    """Tell the controller of `domain` how ends of shared channels stand: all of them, or those that have changed."""

    domain: str
    ends: Mapping[str, EndReport]
    is_all: bool


@dataclass(frozen=True)
class WatchClock:
    """Look at this machine's wall clock from now on, or no more; it is answered by ClockRead."""

    is_wanted: bool


@dataclass(frozen=True)
class TellClock:
    """Tell the controller of `domain` how this machine's wall clock is."""

    domain: str
    clock: Clock


@dataclass(frozen=True)
class ReportMisses:
    """Tell the controller of `domain`, where the talkers are, of misses."""

    domain: str
    reports: tuple[MissReport, ...]


@dataclass(frozen=True)
class HandleMisses:
    """Start what the talker's end of `channel` wants done when packets miss their deadline."""

    channel: Channel
    report: MissReport


@dataclass(frozen=True)
class Standing:
    """How an end of `channel`, of that version, stands."""

    channel: str
    role: Role
    state: State
    why: str
    version: int | None


@dataclass(frozen=True)
class WriteBack:
    """Have the channel store know how ends of channels stand."""

    standings: tuple[Standing, ...]


@dataclass(frozen=True)
class KeepCounts:
    """Remember what the flows of the domain's switches have counted, by switch; before anybody is told of it."""

    counts: Mapping[str, Counts]


@dataclass(frozen=True)
class Tell:
    """Write `what` into the log: trouble, or the end of it."""

    what: str
    is_trouble: bool


@dataclass(frozen=True)
class Publish:
    """Tell those who watch the controller."""

    notices: tuple[Notice, ...]


Command = (
    Send
    | AskContents
    | AskQueues
    | AskMeters
    | AskShim
    | SetShim
    | SetQueues
    | Follow
    | TellEnds
    | WatchClock
    | TellClock
    | ReportMisses
    | HandleMisses
    | WriteBack
    | KeepCounts
    | Tell
    | Publish
)
