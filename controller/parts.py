"""The parts of a domain as its controller knows them: bridges, ends of channels, the shim, the peers. Pure.

`controller.domain` changes them, `controller.view` reads them, both in the thread that owns the domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.events import Proof, QueueCount, Traffic
from controller.lifecycle import Installation, State
from controller.model import Channel
from controller.pipeline import Entry, FlowEntry, Meter, Purpose, purpose_and_subject
from controller.reports import EndReport, Role


@dataclass
class End(Installation):
    """The end of `channel` in this domain. A channel within the domain is installed as a whole at its talker."""

    channel: Channel
    role: Role


@dataclass
class Bridge:
    """A switch of the domain and all that is to be installed on it.

    `flows` and `queues` are the switch's own last words; it is known once it has told its flows. `proofs` are by port
    number and queue id.
    """

    name: str
    base: Installation
    ends: tuple[End, ...]
    is_connected: bool = False
    is_known: bool = False
    flows: Mapping[int, Traffic] = field(default_factory=dict)
    queues: tuple[QueueCount, ...] = ()
    meters: Mapping[int, int] = field(default_factory=dict)
    proofs: Mapping[tuple[int, int], Proof] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.installations: tuple[Installation, ...] = (self.base, *self.ends)
        entries = (entry for installation in self.installations for entry in installation.entries)
        self._wanted = {entry.cookie for entry in entries if isinstance(entry, FlowEntry)}

    @property
    def obstacle(self) -> str:
        """Why it cannot be told anything yet; empty when it can."""
        if not self.is_connected:
            return f"the switch {self.name} is not connected"
        return "" if self.is_known else f"the switch {self.name} has not told its flows yet"

    def unwanted_cookies(self) -> list[int]:
        """Flows that bear our mark and that nobody wants: an earlier run's, or a changed file's."""
        return sorted(self.flows.keys() - self._wanted)

    def missing(self, installation: Installation) -> Iterator[Entry]:
        """What the bridge does not have, as far as it has told. Only flows are told, so the rest is sent each time."""
        for entry in installation.entries:
            if not isinstance(entry, FlowEntry) or entry.cookie not in self.flows:
                yield entry

    def has_lost(self, installation: Installation) -> bool:
        """Whether flows that it had confirmed are no longer there."""
        flows = (entry for entry in installation.entries if isinstance(entry, FlowEntry))
        return installation.state is State.INSTALLED and any(entry.cookie not in self.flows for entry in flows)

    @property
    def has_meters(self) -> bool:
        return any(isinstance(entry, Meter) for installation in self.ends for entry in installation.entries)

    def traffic(self) -> Mapping[tuple[Purpose, int], Traffic]:
        """What its flows have counted, by purpose and subject."""
        total: dict[tuple[Purpose, int], Traffic] = {}
        for cookie in self.flows.keys() & self._wanted:
            key = purpose_and_subject(cookie)
            total[key] = total.get(key, Traffic()) + self.flows[cookie]
        return total


@dataclass
class Shim:
    """The domain's shim: whether it answers (`why` not), and whether packets go past it, as the switch sees it.

    `since_ns` is when it began to work, or ceased to; `statistics` are its last ones.
    """

    is_ready: bool = False
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


@dataclass
class Peer:
    """Another controller that shares channels with this one. `why` explains when it is not reachable."""

    is_reachable: bool = False
    why: str = "has not answered yet"
    ends: Mapping[str, EndReport] = field(default_factory=dict)


@dataclass(frozen=True)
class Miss:
    """A packet of `channel` that arrived `lateness_ns` after its deadline, at `at_ns` of the wall clock."""

    channel: str
    lateness_ns: int
    at_ns: int
