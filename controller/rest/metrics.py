"""A domain as metrics in Prometheus' words, seconds and packets. Pure: `read` in the domain's thread, the rest in any.

Labels are bounded: domain, class, switch, peer, cause and state by the topology file and this program, channel by
CHANNELS_MAX. Each end of a channel is told of by its own controller, so that sums over all controllers are right: what
was sent, and what became of it before the wire, by the talker's; what arrived, and how, by the listener's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from controller.domain.events import Proof
from controller.domain.known import Known
from controller.domain.lifecycle import State
from controller.domain.reports import Role
from controller.rest import view
from controller.rest.resources import (
    ChannelView,
    ClassView,
    ClockView,
    GuestView,
    HandlerView,
    PeerView,
    QueueView,
    SwitchView,
)
from controller.units import NS_PER_S

CHANNELS_MAX = 200
"""The first by name have metrics of their own; classes count all."""

TALKERS = (Role.TALKER,)
LISTENERS = (Role.LISTENER,)
SHIM_DROPS = (
    *("ring_dropped_real_time", "ring_dropped_best_effort", "queue_full", "too_long", "short", "one_label"),
    *("many_labels", "send_errors", "lost_at_end", "excess_dropped", "late_dropped"),
)
SHIM_UNJUDGED = ("ring_dropped", "unjudged", "short", "one_label", "many_labels")
"""Causes, by the names of dataplane/core/report.h."""


@dataclass(frozen=True)
class Reading:
    """What is asked of a domain for one scrape. `roles`: which ends of the `channels` it has."""

    domain: str
    channels: Sequence[ChannelView]
    roles: Mapping[str, tuple[Role, ...]]
    omitted: int
    states: Mapping[State, int]
    classes: Sequence[ClassView]
    switches: Sequence[SwitchView]
    queues: Sequence[QueueView]
    guests: Sequence[GuestView]
    peers: Sequence[PeerView]
    strangers: int
    parts: Mapping[tuple[str, str], bool]
    clock: ClockView
    statistics: Mapping[str, Any]


def read(domain: Known) -> Reading:
    """`domain` at the moment."""
    names = sorted(domain.channels)[:CHANNELS_MAX]
    states = Counter(domain.standing(end)[0] for end in domain.ends.values())
    states[State.OFF] += len(domain.channels) - len(domain.ends)
    return Reading(
        domain=domain.name,
        channels=view.some_channels(domain, names),
        roles={name: _roles(domain, name) for name in names},
        omitted=len(domain.channels) - len(names),
        states=states,
        classes=view.classes(domain),
        switches=view.switches(domain),
        queues=view.queues(domain),
        guests=view.guests(domain),
        peers=view.peers(domain),
        strangers=domain.strangers,
        parts=_parts(domain),
        clock=view.clock(domain),
        statistics=domain.shim.statistics,
    )


def families(reading: Reading) -> Iterator[Metric]:
    """All metrics of `reading`."""
    yield from _ends(reading)
    yield from _channels(reading)
    yield from _classes(reading)
    yield from _shim(reading)
    yield from _switches(reading)
    yield from _guests(reading)
    yield from _peers(reading)
    yield from _clock(reading)
    yield _gauge("up", "Whether a part of the domain works: shim, switch, peer, clock or store.",
         ("domain", "part", "name"),
        [((reading.domain, *part), works) for part, works in reading.parts.items()])  # fmt: skip


def handler_families(handlers: Iterable[HandlerView]) -> Iterator[Metric]:
    """Of what misses start, which is not the domain's to know."""
    rows = [((each.domain, each.name), each) for each in handlers]
    for name, documentation in _HANDLER_COUNTERS.items():
        yield _counter(f"handler_{name}", documentation, ("domain", "handler"),
            [(labels, getattr(each, name)) for labels, each in rows])  # fmt: skip
    yield _gauge("handler_waiting", "Channels whose turn at the handler is to come.", ("domain", "handler"),
        [(labels, each.waiting) for labels, each in rows])  # fmt: skip


_HANDLER_COUNTERS = {
    "started": "Starts of a handler of misses.",
    "failed": "Starts that failed.",
    "timed_out": "Starts that took too long.",
    "retried": "Further tries of starts.",
    "summed": "Miss reports that went into one that waited.",
    "dropped": "Miss reports that had no room.",
}
"""By the names of REST."""


def _roles(domain: Known, name: str) -> tuple[Role, ...]:
    talker, listener = domain.network.domains(domain.channels[name])
    return (*TALKERS * (talker == domain.name), *LISTENERS * (listener == domain.name))


def _parts(domain: Known) -> dict[tuple[str, str], bool]:
    troubles = domain.troubles()
    parts = [("switch", name) for name in domain.bridges] + [("peer", name) for name in domain.peers] + [("store", "")]
    parts += [("shim", domain.name)] * domain.has_shim
    parts += [("clock", name) for name in (domain.name, *(each.domain for each in view.clock(domain).peers))]
    return {part: part not in troubles for part in parts}


Labels = tuple[str, ...]
Rows = Iterable[tuple[Labels, float | None]]
"""Values by their labels; None where nothing is known."""


def _gauge(name: str, documentation: str, labels: Labels, rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"rtvnic_{name}", documentation, labels=labels)
    for values, value in rows:
        if value is not None:
            family.add_metric(values, float(value))
    return family


def _counter(name: str, documentation: str, labels: Labels, rows: Rows) -> Metric:
    family = CounterMetricFamily(f"rtvnic_{name}", documentation, labels=labels)
    for values, value in rows:
        if value is not None:
            family.add_metric(values, value)
    return family


def _histogram(name: str, documentation: str, labels: Labels, rows: Iterable[tuple[Labels, _Books]]) -> Metric:
    family = HistogramMetricFamily(f"rtvnic_{name}", documentation, labels=labels)
    for values, books in rows:
        family.add_metric(values, books.buckets, books.sum_s)
    return family


@dataclass(frozen=True)
class _Books:
    """One distribution of a shim's: cumulative counts by upper bound, and the sum where there is one."""

    buckets: Sequence[tuple[str, float]]
    sum_s: float | None


def _books(statistics: Mapping[str, Any], book: Mapping[str, Any], kind: str, summary: str) -> _Books:
    """Of the `kind` delay or lateness; packets that came between two readings of the shim may be in a bucket only."""
    up_to = book[f"{kind}_up_to"]
    count = max(book[summary]["count"], up_to[-1])
    bounds = [str(bound_ns / NS_PER_S) for bound_ns in statistics["bounds_ns"][kind]]
    sum_ns = book.get(f"{kind}_sum_ns")
    return _Books([*zip(bounds, up_to, strict=True), ("+Inf", count)], None if sum_ns is None else sum_ns / NS_PER_S)


def _ends(reading: Reading) -> Iterator[Metric]:
    yield _gauge("ends", "The domain's ends of channels, by state.", ("domain", "state"),
        [((reading.domain, state), reading.states.get(state, 0)) for state in State])  # fmt: skip
    yield _gauge("channels_omitted", "Channels without metrics of their own: there are more than are shown.",
        ("domain",), [((reading.domain,), reading.omitted)])  # fmt: skip


def _channels(reading: Reading) -> Iterator[Metric]:
    labels = ("domain", "channel", "class")
    named = {each.name: (reading.domain, each.name, each.deadline_class) for each in reading.channels}

    def rows(value: Callable[[ChannelView], float | None], *roles: Role) -> Rows:
        wanted = [each for each in reading.channels if not roles or set(roles) & set(reading.roles[each.name])]
        return [(named[each.name], value(each)) for each in wanted]

    def books(kind: str, summary: str, role: Role) -> Iterator[tuple[Labels, _Books]]:
        for each in reading.channels:
            book = reading.statistics.get("channels", {}).get(str(each.channel_label))
            if book is not None and role in reading.roles[each.name]:
                yield named[each.name], _books(reading.statistics, book, kind, summary)

    yield _gauge("channel_state", "1 for the state in which a channel is, the worse of its ends'; else 0.",
        (*labels, "state"),
        [((*named[each.name], state), each.state is state) for each in reading.channels for state in State],
    )  # fmt: skip
    yield _gauge("channel_deadline_seconds", "The relative deadline.", labels,
        rows(lambda each: each.deadline_ns / NS_PER_S))  # fmt: skip
    yield _gauge("channel_bound_seconds", "The longest that admission lets a packet take.", labels,
        rows(lambda each: None if each.bound_ns is None else each.bound_ns / NS_PER_S))  # fmt: skip
    yield _gauge("channel_adapted_seconds", "How much earlier than planned it is due at its shim.", labels,
        rows(lambda each: None if each.adaptation is None else each.adaptation.adapted_ns / NS_PER_S))  # fmt: skip
    yield _gauge("channel_lost_packets", "Sent and not received, those under way included.", labels,
        rows(lambda each: each.lost, *LISTENERS))  # fmt: skip
    for name, (documentation, role) in _COUNTERS.items():
        yield _counter(f"channel_{name}_packets", documentation, labels,
            rows(attrgetter(name), role))  # fmt: skip
    for kind, name, documentation, role in _DISTRIBUTIONS:
        yield _histogram(f"channel_{name}_seconds", documentation, labels, books(kind, name, role))


def _classes(reading: Reading) -> Iterator[Metric]:
    labels = ("domain", "class")
    for name, (documentation, _) in _COUNTERS.items():
        yield _counter(f"class_{name}_packets", documentation, labels,
            [((reading.domain, each.name), getattr(each, name)) for each in reading.classes])  # fmt: skip
    by_queue = reading.statistics.get("classes", {})
    for kind, name, documentation, _ in _DISTRIBUTIONS:
        yield _histogram(f"class_{name}_seconds", documentation, labels,
            [((reading.domain, each.name), _books(reading.statistics, by_queue[str(each.queue_id)], kind, name))
             for each in reading.classes if str(each.queue_id) in by_queue],
        )  # fmt: skip


_COUNTERS = {
    "sent": ("Labelled by the talker's switch; of a class, sent by the shim.", Role.TALKER),
    "received": ("Delivered by the listener's switch; of a class, seen by the shim.", Role.LISTENER),
    "missed": ("Arrived after their deadline.", Role.LISTENER),
    "within_clock_error": ("Late by less than the clocks may be apart.", Role.LISTENER),
    "unjudged": ("Arrived while a clock had just been set.", Role.LISTENER),
    "bypassed": ("Arrived without a stamp: past a shim that was down.", Role.LISTENER),
    "postponed": ("Beyond the contract, and due later for it.", Role.TALKER),
    "excess_dropped": ("Too far beyond the contract.", Role.TALKER),
    "demoted": ("Too late to be on time, and given way to others.", Role.TALKER),
    "late_dropped": ("Too late to be on time, and dropped.", Role.TALKER),
    "queue_full": ("Dropped: more of the channel waited than the shim had room left.", Role.TALKER),
}
"""Packets, by the names of REST."""

_DISTRIBUTIONS = (
    ("delay", "queueing_delay", "From coming to the talker's shim to leaving it.", Role.TALKER),
    ("lateness", "lateness", "Arrival minus deadline; negative: early.", Role.LISTENER),
)


def _shim(reading: Reading) -> Iterator[Metric]:
    egress, ingress = (reading.statistics.get(side, {}) for side in ("egress", "ingress"))
    here = reading.domain

    def plain(name: str, documentation: str, value: float | None) -> Metric:
        return _counter(name, documentation, ("domain",), [((here,), value)])

    def by_cause(name: str, documentation: str, counts: Mapping[str, int], causes: Iterable[str]) -> Metric:
        return _counter(name, documentation, ("domain", "cause"), [((here, each), counts.get(each)) for each in causes])

    yield _counter("shim_sent_packets", "Sent by the shim.", ("domain", "traffic"),
        [((here, kind), egress.get(f"{kind}_packets")) for kind in ("real_time", "best_effort")])  # fmt: skip
    yield plain("shim_checked_packets", "Arrived with two labels and looked at.", ingress.get("packets"))
    yield by_cause("shim_dropped_packets", "Dropped by the shim before the wire.", egress, SHIM_DROPS)
    yield by_cause("shim_unjudged_packets", "Arrived, and not held to a deadline.", ingress, SHIM_UNJUDGED)
    yield plain("shim_late_departures", "Sent with the last bit after the deadline.", egress.get("late_departures"))
    yield plain("shim_untold_misses", "Counted as missed, but not told one by one.", ingress.get("miss_events_dropped"))


def _switches(reading: Reading) -> Iterator[Metric]:
    labels = ("domain", "switch")
    yield _counter("switch_dropped_packets", "Refused by a bridge.", (*labels, "cause"),
        [((reading.domain, each.name, cause), count)
         for each in reading.switches for cause, count in each.dropped.items()])  # fmt: skip
    yield _gauge("switch_flows", "Flows of ours that a bridge has.", labels,
        [((reading.domain, each.name), each.flows) for each in reading.switches])  # fmt: skip
    yield _gauge("queue_proved", "Whether marked frames came out of the queue of their class.",
        (*labels, "interface", "queue"),
        [((reading.domain, each.switch, each.interface, str(each.queue_id)), each.proof is Proof.PROVED)
         for each in reading.queues if each.proof is not None])  # fmt: skip
    yield _counter("queue_errors_packets", "Dropped by a queue.", (*labels, "interface", "queue"),
        [((reading.domain, each.switch, each.interface, str(each.queue_id)), each.errors)
         for each in reading.queues])  # fmt: skip


GUEST_OUTCOMES = ("refused", "busy", "metered", "crowded_out", "malformed")
"""Of what a guest has asked: what did not get what it wanted, by the names of REST."""


def _guests(reading: Reading) -> Iterator[Metric]:
    labels = ("domain", "vm")
    named = {each.vm: (reading.domain, each.vm) for each in reading.guests}
    yield _gauge("guest_channels", "Channels that a VM has opened.", labels,
        [(named[each.vm], each.channels) for each in reading.guests])  # fmt: skip
    yield _counter("guest_requests", "Understood requests of a VM.", labels,
        [(named[each.vm], each.requests) for each in reading.guests])  # fmt: skip
    yield _counter("guest_unserved", "What a VM has asked in vain.", (*labels, "outcome"),
        [((*named[each.vm], outcome), getattr(each, outcome))
         for each in reading.guests for outcome in GUEST_OUTCOMES])  # fmt: skip
    yield _counter("guest_call_ups", "Told a VM of misses.", labels,
        [(named[each.vm], each.call_ups) for each in reading.guests])  # fmt: skip
    yield _counter("guest_call_ups_dropped", "Reports of misses that a VM could not be told of.", labels,
        [(named[each.vm], each.call_ups_dropped) for each in reading.guests])  # fmt: skip


def _peers(reading: Reading) -> Iterator[Metric]:
    for name, documentation in _PEER_COUNTERS.items():
        yield _counter(f"peer_{name}", documentation, ("domain", "peer"),
            [((reading.domain, each.domain), getattr(each, name)) for each in reading.peers])  # fmt: skip
    yield _counter("peer_strangers", "Connected as another controller, and shown out.", ("domain",),
        [((reading.domain,), reading.strangers)])  # fmt: skip


_PEER_COUNTERS = {
    "dropped": "Messages that had no room.",
    "refused": "Sessions that ended because of what the other side said or showed.",
    "reconnects": "Sessions after the first.",
}
"""By the names of REST."""


def _clock(reading: Reading) -> Iterator[Metric]:
    here, clock = reading.domain, reading.clock

    def seconds(known_ns: int | None) -> float | None:
        return None if known_ns is None else known_ns / NS_PER_S

    yield _gauge("clock_error_seconds", "How far this machine's wall clock may be off; none: nobody knows.",
        ("domain", "source"), [((here, clock.source), seconds(clock.error_ns))])  # fmt: skip
    yield _gauge("clock_difference_seconds", "How far a peer's wall clock may be from this one; none: nobody knows.",
        ("domain", "peer"), [((here, each.domain), seconds(each.difference_ns)) for each in clock.peers])  # fmt: skip
    yield _counter("clock_steps", "How often the wall clock was set under the shim.", ("domain",),
        [((here,), clock.steps)])  # fmt: skip
