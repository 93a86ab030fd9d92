"""Domains in a known state: everything that they order is carried out at once, by switches that never refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from controller.domain.domain import Domain
from controller.domain.events import (
    AskContents,
    ChannelsTold,
    Command,
    Confirmed,
    Contents,
    ContentsReported,
    Event,
    PeerReported,
    Send,
    SetShim,
    ShimReady,
    SwitchConnected,
    Traffic,
)
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Role
from controller.model import Network
from controller.openflow.pipeline import (
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    Meter,
    MeterWithdrawal,
    PacketMeter,
    Purpose,
    ReparseGroup,
    Withdrawal,
    purpose_and_subject,
)

Answer = TypeVar("Answer")
S = 1_000_000_000


def domain_of(network: Network, name: str) -> Domain:
    """One that was told its channels, and of whose orders nothing has come."""
    domain = Domain(network, name)
    domain.handle(ChannelsTold(network.channels), 0)
    return domain


def contents_of(entries: Iterable[Entry], before: Contents | None = None) -> Contents:
    """A switch's words when it has carried out `entries` and nothing has been counted yet."""
    held = before or Contents()
    flows, groups, meters, closed = dict(held.flows), dict(held.groups), dict(held.meters), set(held.closed_ports)
    for entry in entries:
        match entry:
            case FlowEntry():
                flows[entry.cookie] = Traffic()
            case FailoverGroup() | ReparseGroup():
                groups[entry.group_id] = entry
            case Meter() | PacketMeter():
                meters[entry.meter_id] = entry
            case ClosedPort():
                closed.add(entry.port)
            case Withdrawal():
                flows.pop(entry.cookie, None)
            case MeterWithdrawal():
                meters.pop(entry.meter_id, None)
    return Contents(flows, groups, meters, frozenset(closed))


class Driver:
    """A domain, and what its switches would have."""

    def __init__(self, network: Network, name: str) -> None:
        self.domain = Domain(network, name)
        self.contents = {bridge: Contents() for bridge in self.domain.bridges}
        self.revision = 0
        self.hear(ChannelsTold(network.channels), now_ns=0)

    def ask(self, question: Callable[[Domain], Answer]) -> Answer:
        """As controller.domain.loop.DomainLoop does, in the caller's thread."""
        return question(self.domain)

    def hear(self, *events: Event, now_ns: int = S) -> None:
        """Let the domain handle `events`, and whatever follows from its commands."""
        under_way = list(events)
        while under_way:
            for command in self.domain.handle(under_way.pop(0), now_ns):
                under_way += self._answers(command)

    def _answers(self, command: Command) -> list[Event]:
        match command:
            case Send():
                self.contents[command.bridge] = contents_of(command.entries, self.contents[command.bridge])
                return [Confirmed(command.bridge, command.batch)]
            case AskContents():
                return [ContentsReported(command.bridge, self.contents[command.bridge])]
            case SetShim():
                self.revision = command.revision
                return []
            case _:
                return []

    def connect(self) -> None:
        """All switches and the shim."""
        self.hear(*(SwitchConnected(bridge) for bridge in self.domain.bridges), ShimReady(self.revision))

    def count(self, bridge: str, purpose: Purpose, subject: int, traffic: Traffic) -> None:
        """Have each flow of a purpose and subject count `traffic`, and be told so."""
        held = self.contents[bridge]
        found = [cookie for cookie in held.flows if purpose_and_subject(cookie) == (purpose, subject)]
        assert found, f"{bridge} has no flow for {purpose!r} {subject}"
        self.contents[bridge] = replace(held, flows={**held.flows, **dict.fromkeys(found, traffic)})
        self.hear(ContentsReported(bridge, self.contents[bridge]))


def peer_tells(
    network: Network, domain: str, role: Role, state: State = State.INSTALLED, **fields: Any
) -> PeerReported:
    """The same for all channels."""
    return PeerReported(domain, {name: EndReport(role=role, state=state, **fields) for name in network.channels})


def summary(count: int, value: int) -> Mapping[str, int]:
    """A distribution of the shim's in which every packet took `value` ns."""
    return {"count": count} | dict.fromkeys(("min", "mean", "p50", "p90", "p99", "p999", "max"), value)


NOTHING = {"count": 0} | dict.fromkeys(("min", "mean", "p50", "p90", "p99", "p999", "max"))


BOUNDS_NS = {"delay": [20_000, 1_000_000_000], "lateness": [-1_000_000, 0, 1_000_000]}


def books(**changes: Any) -> dict[str, Any]:
    """The shim's books of one channel, in the names of its protocol."""
    counts = ("sent_packets", "sent_bytes", "received_packets", "received_bytes", "missed", "bypassed")
    buckets: dict[str, Any] = {"delay_sum_ns": 0, "delay_up_to": [0] * len(BOUNDS_NS["delay"])}
    buckets["lateness_up_to"] = [0] * len(BOUNDS_NS["lateness"])
    return dict.fromkeys(counts, 0) | {"queueing_delay": NOTHING, "lateness": NOTHING} | buckets | changes


def class_books(packets: int = 0, size: int = 0, **changes: Any) -> dict[str, Any]:
    """The shim's books of one class, in the names of its protocol."""
    found = books(**changes)
    del found["sent_packets"], found["sent_bytes"]
    return {"packets": packets, "bytes": size} | found


def statistics(channels: Mapping[int, Any], classes: Mapping[int, Any]) -> dict[str, Any]:
    return {
        "egress": {},
        "ingress": {},
        "bounds_ns": BOUNDS_NS,
        "channels": {str(label): value for label, value in channels.items()},
        "classes": {str(tc): value for tc, value in classes.items()},
    }
