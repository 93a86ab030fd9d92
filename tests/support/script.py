"""A domain at literal times: events in, what it orders out."""

from __future__ import annotations

from collections.abc import Mapping

from support.examples import distinct
from support.networks import two_hypervisors

from controller.domain.domain import Domain
from controller.domain.events import (
    AskContents,
    AskShim,
    ChannelsTold,
    Command,
    Confirmed,
    Contents,
    ContentsReported,
    Event,
    PeerReported,
    Publish,
    Send,
    SetShim,
    ShimReady,
    Standing,
    SwitchConnected,
    Tell,
    WriteBack,
)
from controller.domain.lifecycle import Installation, State
from controller.domain.reports import EndReport, Role
from controller.model import Channel, Network, SwitchKind
from controller.openflow.flows import base_entries, talker_entries
from controller.openflow.pipeline import Entry

S = 1_000_000_000
TABLE_FULL = "OFPET_FLOW_MOD_FAILED OFPFMFC_TABLE_FULL"


def plain() -> Network:
    return distinct(two_hypervisors(kind=SwitchKind.PLAIN))


class Script:
    """A domain, the time, and what it has ordered last."""

    def __init__(self, network: Network, name: str) -> None:
        self.domain = Domain(network, name)
        self.now_ns = 0
        self.told: list[Tell] = []
        self.written: list[Standing] = []
        self.tell_channels(network.channels)

    def hear(self, event: Event, at_ns: int | None = None) -> list[Command]:
        """What is ordered; what goes into the log, or back to the store, is kept apart."""
        self.now_ns = self.now_ns if at_ns is None else at_ns
        commands = self.domain.handle(event, self.now_ns)
        self.told += [command for command in commands if isinstance(command, Tell)]
        self.written += [each for command in commands if isinstance(command, WriteBack) for each in command.standings]
        return [command for command in commands if not isinstance(command, Tell | WriteBack | Publish)]

    def tell_channels(self, channels: Mapping[str, Channel], at_ns: int | None = None) -> list[Command]:
        commands = self.hear(ChannelsTold(channels), at_ns)
        self.revision = max([0, *(command.revision for command in commands if isinstance(command, SetShim))])
        return commands

    def one_send(self, event: Event, at_ns: int | None = None) -> Send:
        (command,) = (each for each in self.hear(event, at_ns) if not isinstance(each, AskShim))
        assert isinstance(command, Send)
        return command

    def confirm(self, batch: Send) -> list[Command]:
        return self.hear(Confirmed(batch.bridge, batch.batch))

    def set_up(self, bridge: str) -> None:
        """From connection to a confirmed base."""
        assert self.hear(SwitchConnected(bridge)) == [AskContents(bridge)]
        self.confirm(self.one_send(ContentsReported(bridge, Contents())))

    def tell_listeners(self, state: State, domain: str = "right", why: str = "") -> list[Command]:
        return self.hear(listeners(domain, self.domain.network, state, why))

    @property
    def base(self) -> Installation:
        return self.domain.bridges[self.domain.name].base

    def end(self, channel: str) -> tuple[State, str]:
        end = self.domain.ends[channel]
        return end.state, end.why


def listeners(domain: str, network: Network, state: State, why: str = "") -> PeerReported:
    """What the controller at the listeners' ends tells."""
    ends = {name: EndReport(role=Role.LISTENER, state=state, why=why) for name in network.channels}
    return PeerReported(domain, ends)


def all_entries(network: Network) -> tuple[Entry, ...]:
    """Of the bridge `left` and its talkers."""
    ends = (entry for channel in network.channels.values() for entry in talker_entries(network, channel))
    return (*base_entries(network, "left"), *ends)


def installed(script: Script) -> None:
    """All of `left`, at 10 s."""
    script.now_ns = 10 * S
    script.set_up("left")
    script.hear(ShimReady(1))
    (batch,) = script.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    script.confirm(batch)
    assert {end.state for end in script.domain.ends.values()} == {State.INSTALLED}
