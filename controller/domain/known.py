"""What a controller knows of its domain, and what can be said of it at once. Pure.

`controller.domain.domain` changes it; `rest`, `guests` and `ends` read it, in the thread that owns the domain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from controller.admission.guarantee import Guarantees
from controller.clocks.clocks import Clocks
from controller.domain.adaptation import Adaptations
from controller.domain.events import Proof
from controller.domain.lifecycle import Installation, State, standing
from controller.domain.miss_reports import HeardReport
from controller.domain.notices import Part
from controller.domain.parts import Bridge, End, Miss, Peer, Shim
from controller.domain.reports import EndReport, Role, unknown_end
from controller.guests.books import GuestBook
from controller.handlers.declared import ADAPT
from controller.model import Channel, Network, Scheduler
from controller.network.routing import ways
from controller.network.wiring import UPLINK_PORT
from controller.openflow.counts import Counts
from controller.openflow.flows import base_entries

MISSES_KEPT = 1000


class Known:
    """The state of the domain `name` of `network`, whose channels it is told.

    `store_trouble` says why it is not told of changes; empty when it is. `channels` have an end in the domain; those
    of `network` are all that it was told of, such as channels that cross a switch of the domain. `versions` and
    `owners` are the store's. `counts` are those of the controller that was there before, by bridge.
    `revision` is that of the last settings for the shim. `heard` are the last miss reports on channels that talk from
    here, `total_misses` what the last one of each channel said in total, by label; `adaptations` are what it led to.
    `guests` are the counts of VMs that may ask. `strangers` have connected as a peer and were none.
    """

    def __init__(self, network: Network, name: str, counts: Mapping[str, Counts] | None = None) -> None:
        self.network = replace(network, channels={})
        self.name = name
        self.has_shim = network.hypervisors[name].uplink.scheduler is Scheduler.EDF
        self.bridges = {
            bridge: Bridge(
                bridge, Installation(bridge, base_entries(network, bridge)), counts=(counts or {}).get(bridge, Counts())
            )
            for bridge in network.bridges_of(name)
        }
        self.store_trouble = "no answer yet"
        self.versions: Mapping[str, int] = {}
        self.owners: Mapping[str, str] = {}
        self.channels: dict[str, Channel] = {}
        self.ends: dict[str, End] = {}
        self.guarantees = Guarantees(self.network)
        self.peers: dict[str, Peer] = {}
        self.strangers = 0
        self.shim = Shim()
        self.misses: deque[Miss] = deque(maxlen=MISSES_KEPT)
        self.heard: deque[HeardReport] = deque(maxlen=MISSES_KEPT)
        self.total_misses: dict[int, int] = {}
        self.adaptations = Adaptations()
        self.guests: Mapping[str, GuestBook] = {}
        self.clocks = Clocks()
        self.wall_offset_ns = 0
        self.revision = 0
        self._ways = ways(network)

    @property
    def awaits_counts(self) -> bool:
        """Whether the shim has not told yet what it has counted."""
        return self.has_shim and not self.shim.statistics

    def is_adapting(self, channel: Channel) -> bool:
        """Whether `channel` talks from here, and is to be sent earlier when its packets come late."""
        return ADAPT in channel.on_miss and self.has_shim and self.network.talker_domain(channel) == self.name

    def path(self, channel: Channel) -> tuple[str, ...]:
        """The nodes that a packet visits, its talker and its listener included."""
        network = self.network
        start, is_host = network.talker_domain(channel), channel.listener in network.hosts
        end = channel.listener if is_host else network.listener_domain(channel)
        nodes = self._ways.get((start, end), (start,))
        return (channel.talker, *nodes) if is_host else (channel.talker, *nodes, channel.listener)

    def standing(self, end: End) -> tuple[State, str]:
        """How `end` stands, and why: without what orders its packets at the uplink it is installed in name only."""
        if end.state is State.INSTALLED and (trouble := self._uplink_trouble(end)):
            return State.DEGRADED, trouble
        return end.state, end.why

    def degraded_since_ns(self, end: End) -> int:
        """Of a degraded `end`."""
        if self.has_shim:
            return self.shim.since_ns
        return max(end.since_ns, self.bridges[self.name].proofs_since_ns)

    def _uplink_trouble(self, end: End) -> str:
        """Why its packets have no guarantee at the uplink; empty when they have, or do not leave by it."""
        if (self.has_shim and not self.shim.trouble) or self.network.is_local(end.channel):
            return ""
        if self.has_shim:
            return f"the shim of {self.name} {self.shim.trouble_of(end)}"
        return self._queue_trouble(end.channel.deadline_class.queue_id) if end.role is Role.TALKER else ""

    def _queue_trouble(self, queue_id: int) -> str:
        proof = self.bridges[self.name].proofs.get((UPLINK_PORT, queue_id))
        if proof is Proof.PROVED:
            return ""
        uplink = self.network.hypervisors[self.name].uplink
        return f"queue {queue_id} of {uplink.interface} is {proof or 'not tried yet'}"

    def troubles(self) -> dict[Part, str]:
        """What does not work, and why."""
        bridges = [bridge for bridge in self.bridges.values() if bridge.base.state is not State.INSTALLED]
        found: dict[Part, str] = {("switch", each.name): standing(each.base.state, each.base.why) for each in bridges}
        found |= {("peer", name): peer.why for name, peer in self.peers.items() if not peer.is_reachable}
        if self.has_shim and self.shim.trouble:
            found["shim", self.name] = self.shim.trouble
        if self.store_trouble:
            found["store", ""] = self.store_trouble
        return found | self.clocks.troubles(self.name)

    def clock_error_ns(self, channel: Channel) -> int | None:
        """How far the clocks of both its ends may be apart; None: nobody knows."""
        others = [domain for domain in self.network.domains(channel) if domain != self.name]
        return self.clocks.differences_ns.get(others[0]) if others else 0

    def remote_end(self, channel: Channel) -> EndReport:
        """The end of `channel` that is in another domain, as its controller tells; unknown when it does not."""
        talker_domain, listener_domain = self.network.domains(channel)
        role, other = (Role.LISTENER, listener_domain) if talker_domain == self.name else (Role.TALKER, talker_domain)
        peer = self.peers[other]
        if not peer.is_reachable:
            return unknown_end(role, f"the controller of {other} {peer.why}")
        told = peer.ends.get(channel.name) or unknown_end(role)
        totals = [each for each in (told.missed, self.total_misses.get(channel.label)) if each is not None]
        return told.model_copy(update={"missed": max(totals, default=None)})
