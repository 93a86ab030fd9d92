"""One controller's mind: what its switches are to have, what they have, and what its shim and its peers have told.

Sans-IO: `handle` takes an event and returns commands; `controller.domain.loop` feeds it from one thread, which alone
touches it. A channel's listener end is installed first, then the talker's: no packet is labelled before somebody
expects it. Which channels are wanted it is told; until then those that the switches have are left as they are. What a
channel had before is withdrawn when what takes its place is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from controller.admission.guarantee import Guarantees
from controller.admission.tolerance import lenient
from controller.clocks.clocks import clock_steps
from controller.domain.ends import end_reports
from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    AskShim,
    ChannelsTold,
    ClockRead,
    Command,
    Confirmed,
    ContentsReported,
    Event,
    Follow,
    GuestsReported,
    HandleMisses,
    KeepCounts,
    MetersReported,
    Missed,
    MissesReported,
    PeerClockReported,
    PeerGone,
    PeeringReported,
    PeerJoined,
    PeerReported,
    PortReported,
    Publish,
    QueuesProbed,
    QueuesReported,
    Refused,
    ReportMisses,
    Send,
    SetQueues,
    SetShim,
    ShimGone,
    ShimReady,
    ShimReported,
    Standing,
    StrangersReported,
    SwitchConnected,
    SwitchGone,
    Tell,
    TellEnds,
    Tick,
    WriteBack,
)
from controller.domain.known import Known
from controller.domain.lifecycle import Installation, State, Step, standing
from controller.domain.miss_reports import HeardReport, reports_by_domain
from controller.domain.notices import Notices
from controller.domain.parts import Bridge, End, Miss, Peer, Told
from controller.domain.reports import EndReport, Role
from controller.domain.shim_terms import Settings, Terms, settings
from controller.model import Channel, Excess, Network
from controller.network.wiring import LIVENESS_PORT
from controller.openflow.counts import Counts
from controller.openflow.flows import listener_entries, talker_entries
from controller.openflow.pipeline import Entry
from controller.peering.messages import MissReport
from controller.store.records import StoreBack, StoreGone
from controller.units import NS_PER_S

RETRY_NS = 2 * NS_PER_S
COUNTS = (
    QueuesReported,
    MetersReported,
    ShimReported,
    Missed,
    MissesReported,
    PeeringReported,
    StrangersReported,
    GuestsReported,
)
"""Events that change no state."""


class Domain(Known):
    """Takes in what happens, and says what is to be done. Not thread-safe: one thread owns it."""

    def __init__(self, network: Network, name: str, counts: Mapping[str, Counts] | None = None) -> None:
        super().__init__(network, name, counts)
        self._orders: list[Command] = []
        self._batch = 0
        self._batches: dict[int, list[Installation]] = {}
        self._names: dict[int, str] = {}
        self._settings: Settings | None = None
        self._leaving: dict[int, Terms] = {}
        self._standings: dict[str, Standing] = {}
        self._told_misses: dict[int, int] = {}
        self._notices = Notices(name)
        self._handlers: Mapping[type[Event], Callable[[Any, int], None]] = {
            ChannelsTold: self._on_channels,
            StoreGone: self._on_store_gone,
            StoreBack: self._on_store_back,
            SwitchConnected: self._on_switch_connected,
            SwitchGone: self._on_switch_gone,
            Confirmed: self._on_confirmed,
            Refused: self._on_refused,
            ContentsReported: self._on_contents,
            QueuesReported: self._on_queues,
            MetersReported: self._on_meters,
            PortReported: self._on_port,
            QueuesProbed: self._on_probed,
            ShimReady: self._on_shim_ready,
            ShimGone: self._on_shim_gone,
            ShimReported: self._on_shim_statistics,
            Missed: self._on_misses,
            PeerJoined: self._on_peer_joined,
            PeeringReported: self._on_peering,
            StrangersReported: self._on_strangers,
            PeerReported: self._on_peer,
            PeerGone: self._on_peer_gone,
            MissesReported: self._on_misses_reported,
            GuestsReported: self._on_guests,
            ClockRead: self._on_clock,
            PeerClockReported: self._on_peer_clock,
            Tick: self._on_tick,
        }

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        """What is to be done now that `event` has happened."""
        self._handlers[type(event)](event, now_ns)
        if isinstance(
            event, Missed | MissesReported | PeeringReported | StrangersReported | GuestsReported
        ):  # of these nothing follows for any end
            return [*self._take_orders(), *self._news(event, now_ns)]
        orders = [*self._take_orders(), *self._questions(event), *self._install_what_is_due(now_ns)]
        return [*orders, *self._tell_peers(event), *self._news(event, now_ns)]

    # What happened

    def _on_channels(self, event: ChannelsTold, now_ns: int) -> None:
        self.store_trouble, self.versions, self.owners = "", event.versions, event.owners
        self.network = replace(self.network, channels=event.channels).with_slacks(event.slacks_ns)
        self.channels = {each.name: each for each in event.channels.values() if self.name in self.network.domains(each)}
        self.guarantees = Guarantees(lenient(self.network, event.jitter_ns), self.guarantees, event.bounds)
        self._names = {channel.label: channel.name for channel in self.channels.values()}
        self.total_misses = {label: total for label, total in self.total_misses.items() if label in self._names}
        self._told_misses = {label: missed for label, missed in self._told_misses.items() if label in self._names}
        self._notices.see_channels(self.channels, self.wall_offset_ns + now_ns)
        self._follow_peers()
        self._review_clocks(now_ns)
        adapting = [channel for channel in self.channels.values() if self.is_adapting(channel)]
        self.adaptations.follow(self.guarantees, self.name, adapting, now_ns)
        self._see_adaptations(now_ns)
        self._set_shim()
        self.ends = {name: end for name, channel in self.channels.items() if (end := self._end(channel))}
        self.bridges[self.name].set_ends(self.ends.values(), now_ns)
        self._orders.append(SetQueues(self.guarantees.network.channels))

    def _on_store_gone(self, event: StoreGone, _: int) -> None:
        self.store_trouble = event.why
        self._orders.append(Tell(f"the channel store: {event.why}", is_trouble=True))

    def _on_store_back(self, _: StoreBack, __: int) -> None:
        self.store_trouble = ""
        self._orders.append(Tell("the channel store answers again", is_trouble=False))

    def _on_switch_connected(self, event: SwitchConnected, now_ns: int) -> None:
        self._lose(event.bridge, now_ns)
        bridge = self.bridges[event.bridge]
        bridge.is_connected = bridge.is_question_due = True
        if event.bridge == self.name and self.has_shim:
            self._change_shim(now_ns, is_bypassed=LIVENESS_PORT in event.ports_down)

    def _on_switch_gone(self, event: SwitchGone, now_ns: int) -> None:
        self._lose(event.bridge, now_ns)

    def _on_confirmed(self, event: Confirmed, now_ns: int) -> None:
        for installation in self._batches.pop(event.batch, []):
            installation.take(Step.CONFIRMED, now_ns)

    def _on_refused(self, event: Refused, now_ns: int) -> None:
        batch = self._batches.get(event.batch, [])
        for installation in list(batch):
            if event.entry is None or event.entry in installation.entries:
                installation.take(Step.REFUSED, now_ns, event.why)
                batch.remove(installation)

    def _on_contents(self, event: ContentsReported, now_ns: int) -> None:
        bridge = self.bridges[event.bridge]
        if bridge.take(event.contents, now_ns):
            self._orders.append(KeepCounts({name: each.counts for name, each in self.bridges.items()}))
        for installation in filter(bridge.has_lost, bridge.installations):
            installation.take(Step.LOST, now_ns)
        bridge.is_asked = False
        if self._leaving.keys() - self.bridges[self.name].labels():
            self._set_shim()

    def _on_queues(self, event: QueuesReported, _: int) -> None:
        self.bridges[event.bridge].queues = event.queues

    def _on_meters(self, event: MetersReported, _: int) -> None:
        self.bridges[event.bridge].meters = event.dropped

    def _on_probed(self, event: QueuesProbed, now_ns: int) -> None:
        bridge = self.bridges[event.bridge]
        before, bridge.proofs = bridge.proofs, {**bridge.proofs, **event.proofs}
        if bridge.proofs != before:
            bridge.proofs_since_ns = now_ns

    def _on_port(self, event: PortReported, now_ns: int) -> None:
        if (event.bridge, event.port) == (self.name, LIVENESS_PORT) and self.has_shim:
            self._change_shim(now_ns, is_bypassed=not event.is_up)

    def _on_shim_ready(self, event: ShimReady, now_ns: int) -> None:
        self._change_shim(now_ns, is_ready=True, revision=event.revision, why="")
        if event.revision == self.revision:
            self.adaptations.take(now_ns)

    def _on_shim_gone(self, event: ShimGone, now_ns: int) -> None:
        self._change_shim(now_ns, is_ready=False, why=event.why)

    def _change_shim(self, now_ns: int, **changes: Any) -> None:
        before = self.shim
        self.shim = replace(before, **changes)
        if bool(before.trouble) != bool(self.shim.trouble):
            self.shim.since_ns = now_ns
            trouble = self.shim.trouble
            self._orders.append(Tell(f"the shim of {self.name} {trouble or 'works'}", bool(trouble)))

    def _on_shim_statistics(self, event: ShimReported, _: int) -> None:
        before, self.shim.statistics = self.shim.statistics, event.statistics
        if before and clock_steps(event.statistics) > clock_steps(before):
            self._orders.append(Tell(f"the wall clock of {self.name} was set", is_trouble=True))

    def _on_misses(self, event: Missed, _: int) -> None:
        reports = reports_by_domain(self.network, self._names, event.counts, self.clocks.differences_ns)
        self._orders += [ReportMisses(domain, each) for domain, each in reports.items()]
        for count in event.counts:
            if channel := self._channel(count.label):
                error_ns = self.clock_error_ns(channel)
                self._notices.see_misses(channel.name, count.misses, count.worst_ns, error_ns)
        for miss in event.misses:
            if channel := self._channel(miss["label"]):
                error_ns = self.clock_error_ns(channel)
                self.misses.append(Miss(channel.name, miss["lateness_ns"], miss["at_ns"], error_ns))

    def _channel(self, label: int) -> Channel | None:
        return self.channels[self._names[label]] if label in self._names else None

    def _on_misses_reported(self, event: MissesReported, now_ns: int) -> None:
        for report in event.reports:
            channel = self.channels.get(report.channel)
            if channel is not None and self.network.domains(channel) == (self.name, event.domain):
                self._hear_of_misses(channel, event.domain, report, now_ns)
        self._adapt(now_ns)

    def _hear_of_misses(self, channel: Channel, domain: str, report: MissReport, now_ns: int) -> None:
        self.total_misses[channel.label] = report.total_misses
        self.heard.append(HeardReport(domain, report, self.wall_offset_ns + now_ns))
        self._orders.append(HandleMisses(channel, report))
        if self.is_adapting(channel):
            self.adaptations.hear(channel, report, self.wall_offset_ns, now_ns)

    def _on_guests(self, event: GuestsReported, _: int) -> None:
        self.guests = event.books

    def _adapt(self, now_ns: int) -> None:
        """Tell the shim, and those who watch, of what has changed."""
        if self.adaptations.has_changed:
            self._see_adaptations(now_ns)
            self._set_shim()

    def _see_adaptations(self, now_ns: int) -> None:
        self.adaptations.has_changed = False
        self._notices.see_adapted(self.adaptations.adapted_ns, self.wall_offset_ns + now_ns)

    def _on_peer_joined(self, event: PeerJoined, now_ns: int) -> None:
        self._change_peer(event.domain, is_same_host=event.is_same_host, told={})
        self._review_clocks(now_ns)

    def _on_peering(self, event: PeeringReported, _: int) -> None:
        self._change_peer(event.domain, link=event.link)

    def _on_strangers(self, event: StrangersReported, _: int) -> None:
        self.strangers = event.count

    def _on_peer(self, event: PeerReported, _: int) -> None:
        self._forget_misses(event)
        self._change_peer(event.domain, is_reachable=True, why="", ends=event.ends)

    def _forget_misses(self, event: PeerReported) -> None:
        """Of channels whose listener's shim has begun to count anew: its totals until then hide those from now on."""
        for name in event.ends.keys() & self.channels.keys():
            label, missed = self.channels[name].label, event.ends[name].missed
            if missed is None or self.network.domains(self.channels[name]) != (self.name, event.domain):
                continue
            if missed < self._told_misses.get(label, 0) <= self.total_misses.get(label, 0):
                del self.total_misses[label]
            self._told_misses[label] = missed

    def _on_peer_gone(self, event: PeerGone, _: int) -> None:
        self._change_peer(event.domain, is_reachable=False, why=event.why, told=None)

    def _on_clock(self, event: ClockRead, now_ns: int) -> None:
        self.clocks.read(event.clock, now_ns)
        self._review_clocks(now_ns)

    def _on_peer_clock(self, event: PeerClockReported, now_ns: int) -> None:
        self.clocks.hear(event.domain, event.clock, now_ns)
        self._review_clocks(now_ns)

    def _review_clocks(self, now_ns: int, is_time_to_tell: bool = False) -> None:
        """Have the shim, and those peers that go by it, know how good the clocks are."""
        before = self.clocks.differences_ns
        self._orders += self.clocks.review(self.peers, now_ns, is_time_to_tell)
        if self.clocks.differences_ns != before:
            self._set_shim()

    def _change_peer(self, domain: str, **changes: Any) -> None:
        if domain in self.peers:  # it may have been one until just now
            self.peers[domain] = replace(self.peers[domain], **changes)

    def _on_tick(self, event: Tick, now_ns: int) -> None:
        self.wall_offset_ns = event.wall_ns - now_ns
        for bridge in self.bridges.values():
            for installation in bridge.installations:
                if installation.state is State.REFUSED and now_ns - installation.since_ns >= RETRY_NS:
                    installation.take(Step.RETRIED, now_ns)
        self.adaptations.rest(now_ns)
        self._adapt(now_ns)
        self._review_clocks(now_ns, is_time_to_tell=True)
        self._write_back()

    def _lose(self, name: str, now_ns: int) -> None:
        """What the bridge was sent counts for nothing until it has told its flows again."""
        bridge = self.bridges[name]
        bridge.is_connected = bridge.is_known = bridge.is_asked = False
        for installation in bridge.installations:
            installation.take(Step.LOST, now_ns)
        self._batches = {
            batch: installations
            for batch, installations in self._batches.items()
            if installations and all(installation.bridge != name for installation in installations)
        }

    # What is to be done

    def _take_orders(self) -> list[Command]:
        orders, self._orders = self._orders, []
        return orders

    def _questions(self, event: Event) -> Iterator[Command]:
        """Everything once a second; contents also where it is due, but not before the last answer has come."""
        is_tick = isinstance(event, Tick)
        for bridge in self.bridges.values():
            if bridge.is_connected and (is_tick or (bridge.is_question_due and not bridge.is_asked)):
                bridge.is_asked, bridge.is_question_due = True, False
                yield AskContents(bridge.name)
            if bridge.is_connected and is_tick:
                yield AskQueues(bridge.name)
                if bridge.has_meters:
                    yield AskMeters(bridge.name)
        if self.shim.is_ready and (is_tick or (isinstance(event, ShimReady) and self.awaits_counts)):
            yield AskShim()

    def _news(self, event: Event, now_ns: int) -> Iterator[Command]:
        """What those who watch are to know now that `event` was handled."""
        at_ns = self.wall_offset_ns + now_ns
        if not isinstance(event, COUNTS):
            self._notices.see_states({name: (end.role, *self.standing(end)) for name, end in self.ends.items()}, at_ns)
            self._notices.see_troubles(self.troubles(), at_ns)
        if notices := self._notices.take(now_ns, at_ns):
            yield Publish(notices)

    def _install_what_is_due(self, now_ns: int) -> Iterator[Command]:
        """One batch for each bridge that lacks entries, or has some that nobody wants."""
        for bridge in self.bridges.values():
            lacking = {}
            for number, installation in enumerate(bridge.installations):  # the base first: ends wait for it
                if self._is_due(installation, bridge):
                    if missing := bridge.missing(installation):
                        lacking[number] = missing
                    installation.take(Step.SENT if missing else Step.FOUND, now_ns)
            if lacking or bridge.withdrawals:
                yield self._batch_of(bridge, lacking)

    def _batch_of(self, bridge: Bridge, lacking: Mapping[int, tuple[Entry, ...]]) -> Send:
        """What the installations of these numbers lack, then what nobody wants."""
        self._batch += 1
        self._batches[self._batch] = [bridge.installations[number] for number in lacking]
        entries = (*chain.from_iterable(lacking.values()), *bridge.withdrawals)
        bridge.forget(entries)
        return Send(bridge.name, self._batch, entries)

    def _is_due(self, installation: Installation, bridge: Bridge) -> bool:
        """Whether it waits, and for nothing any more. What it waits for is noted in its `why`."""
        if installation.state is not State.WAITING:
            return False
        installation.why = bridge.obstacle
        if isinstance(installation, End):
            installation.why = installation.why or self._end_obstacle(installation, bridge)
        return not installation.why

    def _end_obstacle(self, end: End, bridge: Bridge) -> str:
        if bridge.base.state is not State.INSTALLED:
            return f"the switch {bridge.name} is not set up: {bridge.base.why or 'it has not confirmed yet'}"
        if self.network.is_local(end.channel):
            return ""
        if self.has_shim and not self.shim.is_ready:
            return f"the shim of {self.name} {self.shim.why}"
        if self.has_shim and self.shim.revision < end.shim_revision:
            return f"the shim of {self.name} has not taken its terms yet"
        if end.role is Role.LISTENER or end.channel.listener in self.network.hosts:
            return ""
        listener = self.remote_end(end.channel)
        if (listener.version or 0) < self.versions.get(end.channel.name, 0) and listener.version is not None:
            return "the listener's controller has not heard of its last change yet"
        if listener.state in (State.INSTALLED, State.DEGRADED):
            return ""
        return f"the listener's end is {standing(listener.state, listener.why)}"

    # What there is

    def _end(self, channel: Channel) -> End | None:
        """The domain's end of `channel`: the one that there was, if it is to have the same entries."""
        former = self.ends.get(channel.name)
        if former is not None and former.channel == channel and self.has_shim:
            return former
        if not self.network.is_scheduled(channel):
            return None
        is_talker = self.network.talker_domain(channel) == self.name
        entries = (talker_entries if is_talker else listener_entries)(self.network, self._metered(channel))
        if former is not None and former.channel.label == channel.label and former.entries == entries:
            former.channel = channel
            return former
        role = Role.TALKER if is_talker else Role.LISTENER
        return End(self.name, entries, channel, role, shim_revision=self.revision)

    def _metered(self, channel: Channel) -> Channel:
        """With the contract to which a meter holds it: in the place of a shim it is as lenient."""
        return channel if channel.excess is Excess.DROP else self.guarantees.network.channels[channel.name]

    def _set_shim(self) -> None:
        """Have the shim hold what is wanted now, and what packets may still come for."""
        if not self.has_shim:
            return
        wanted = settings(self.guarantees, self.name, self.clocks.differences_ns, self.adaptations.adapted_ns)
        if self._settings is not None:
            still_there = self.bridges[self.name].labels() - wanted.channels.keys()
            held = self._settings.channels
            self._leaving = {label: held[label] for label in still_there & held.keys()}
        complete = replace(wanted, channels={**wanted.channels, **self._leaving})
        if complete != self._settings:
            self._settings, self.revision = complete, self.revision + 1
            self._orders.append(SetShim(self.revision, complete))

    def _write_back(self) -> None:
        """Tell the store of the ends that stand otherwise than it was told."""
        standings = {
            name: Standing(name, end.role, *self.standing(end), self.versions.get(name))
            for name, end in self.ends.items()
        }
        if news := [each for name, each in standings.items() if self._standings.get(name) != each]:
            self._orders.append(WriteBack(tuple(news)))
        self._standings = standings

    def _tell_peers(self, event: Event) -> Iterator[Command]:
        """All ends once a second and when a session begins, and at once those whose standing has changed."""
        own = {
            name: (*self.standing(end), self.versions.get(name), self.awaits_counts) for name, end in self.ends.items()
        }
        reports: Mapping[str, EndReport] | None = None
        for domain, peer in self.peers.items():
            if peer.told is None:
                continue
            is_all = isinstance(event, Tick) or event == PeerJoined(domain, peer.is_same_host)
            known = {} if is_all else peer.told
            news = self._shared_with(domain, own, known)
            if is_all or news:
                reports = end_reports(self) if reports is None else reports
                peer.told = {**known, **news}
                yield TellEnds(domain, {name: reports[name] for name in news}, is_all)

    def _shared_with(self, domain: str, own: Mapping[str, Told], told: Mapping[str, Told]) -> Mapping[str, Told]:
        """Of the standings that `domain` is to know, those that it was not told."""
        return {
            name: standing
            for name, standing in own.items()
            if told.get(name) != standing and domain in self.network.domains(self.channels[name])
        }

    def _follow_peers(self) -> None:
        ends = {domain for channel in self.channels.values() for domain in self.network.domains(channel)}
        if (others := ends - {self.name}) != self.peers.keys():
            self.peers = {other: self.peers.get(other) or self._new_peer(other) for other in sorted(others)}
            self._orders.append(Follow(tuple(self.peers)))

    def _new_peer(self, domain: str) -> Peer:
        """Until it has introduced itself, its address says whether it is on this machine."""
        return Peer(is_same_host=not self.network.hypervisors[domain].controller.is_distant)
