"""One controller's mind and everything around it, at random: what must hold at every moment, and in the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.examples import example
from support.fake_table import FakeSwitch

from controller.clocks.clock import Clock, Source, as_number_ns
from controller.domain.domain import RETRY_NS, Domain
from controller.domain.events import (
    AskContents,
    ChannelsTold,
    ClockRead,
    Command,
    Confirmed,
    ContentsReported,
    Event,
    PeerClockReported,
    PeerGone,
    PeerJoined,
    PeerReported,
    PortReported,
    Refused,
    Send,
    SetShim,
    ShimGone,
    ShimReady,
    SwitchConnected,
    SwitchGone,
    Tick,
)
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Role
from controller.domain.shim_terms import Settings
from controller.model import Channel, Excess, Network
from controller.network.wiring import LIVENESS_PORT, ports_of
from controller.openflow.pipeline import (
    PORTS,
    Entry,
    FailoverGroup,
    FlowEntry,
    Meter,
    MeterWithdrawal,
    Purpose,
    ReparseGroup,
    Withdrawal,
    is_ours,
)
from controller.openflow.reconcile import channel_end, missing

S = 1_000_000_000
CLOCKS = st.sampled_from(
    [
        Clock(Source.CHRONY, 10_000, "UTC"),
        Clock(Source.CHRONY, 10**6, "UTC"),
        Clock(Source.PTP, 10, "x"),
        Clock(why="-"),
    ]
)
TABLE_FULL = "OFPET_FLOW_MOD_FAILED OFPFMFC_TABLE_FULL"


class Peers:
    """What the other controller knows: the states of its listeners."""

    def __init__(self, names: Iterable[str]) -> None:
        self.states = dict.fromkeys(names, State.WAITING)
        self.is_told = False


class DomainMachine(RuleBasedStateMachine):
    """Everything outside a domain in any order: its bridges, its shim, its peer. Each bridge is a fake switch.

    A switch answers in its order: first the batches that it was sent, each as a whole. What a domain has ordered and
    the switch has not acted on yet is in `orders`; at a disconnect that is gone.
    """

    network: Network
    name: str

    def __init__(self) -> None:
        super().__init__()
        self.domain = Domain(self.network, self.name)
        self.now_ns = 0
        self.switches = {
            bridge: FakeSwitch(port.number for port in ports_of(self.network, bridge)) for bridge in self.domain.bridges
        }
        self.connected: set[str] = set()
        self.orders: dict[str, list[Command]] = {bridge: [] for bridge in self.domain.bridges}
        self.confirmed: set[str] = set()
        self.told_installed: set[str] = set()
        self.revision, self.settings = 0, Settings({})
        self.channels: dict[str, Channel] = {}
        self.hear(ChannelsTold(self.network.channels))

    def hear(self, event: Event) -> None:
        for command in self.domain.handle(event, self.now_ns):
            if isinstance(command, Send):
                self.check_send(command)
            if isinstance(command, SetShim):
                assert command.revision > self.revision
                self.revision, self.settings = command.revision, command.settings
            if isinstance(command, Send | AskContents):
                assert command.bridge in self.connected, "only a connected switch is told anything"
                self.orders[command.bridge].append(command)

    def check_send(self, batch: Send) -> None:
        """No packet is labelled before somebody expects it, and no flow stands on a base that is not there."""
        for end in self.domain.ends.values():
            if any(entry in batch.entries for entry in end.entries):
                assert self.domain.name in self.confirmed
                if end.role is Role.TALKER and not self.network.is_local(end.channel):
                    assert end.channel.name in self.told_installed
                if not self.network.is_local(end.channel):
                    assert end.shim_revision <= self.domain.shim.revision

    def bridges(self) -> st.SearchStrategy[str]:
        return st.sampled_from(sorted(self.domain.bridges))

    @rule(data=st.data(), is_flushed=st.booleans(), is_bypassed=st.booleans())
    def connect(self, data: st.DataObject, is_flushed: bool, is_bypassed: bool) -> None:
        """A first connection, or one that takes the place of another."""
        bridge = data.draw(self.bridges())
        if is_flushed:
            self.switches[bridge] = FakeSwitch(self.switches[bridge].ports)
        self.drop(bridge)
        self.connected.add(bridge)
        self.hear(SwitchConnected(bridge, frozenset({LIVENESS_PORT} if is_bypassed else ())))

    @precondition(lambda self: self.connected)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        bridge = data.draw(st.sampled_from(sorted(self.connected)))
        self.drop(bridge)
        self.connected.discard(bridge)
        self.hear(SwitchGone(bridge))

    def drop(self, bridge: str) -> None:
        self.orders[bridge].clear()
        self.confirmed.discard(bridge)

    @precondition(lambda self: any(self.orders.values()))
    @rule(data=st.data(), verdict=st.sampled_from(["takes", "takes", "refuses one", "is silent"]))
    def answer(self, data: st.DataObject, verdict: str) -> None:
        bridge = data.draw(st.sampled_from([each for each in self.orders if self.orders[each]]))
        order = self.orders[bridge].pop(0)
        if isinstance(order, AskContents):
            self.report(bridge)
        elif isinstance(order, Send):
            self.carry_out(order, verdict, data)

    def report(self, bridge: str) -> None:
        contents = self.switches[bridge].contents
        if not any(missing(self.domain.bridges[bridge].base.entries, contents)):
            self.confirmed.add(bridge)
        self.hear(ContentsReported(bridge, contents))

    def carry_out(self, batch: Send, verdict: str, data: st.DataObject) -> None:
        refused: Entry | None = None
        if verdict == "refuses one" and batch.entries:
            refused = data.draw(st.sampled_from(batch.entries))
            self.hear(Refused(batch.bridge, batch.batch, refused, TABLE_FULL))
        if verdict == "is silent":
            self.hear(Refused(batch.bridge, batch.batch, None, "no answer within 5 s"))
        else:
            taken = [entry for entry in batch.entries if entry != refused]
            if isinstance(refused, FailoverGroup | ReparseGroup | Meter):
                taken = []
            had = self.labels(batch.bridge)
            self.switches[batch.bridge].take(taken)
            wanted = {end.channel.label for end in self.domain.ends.values()}
            assert had & wanted <= self.labels(batch.bridge), "a channel that stays was left without its flow"
        is_whole = refused is None or isinstance(
            refused, Withdrawal | MeterWithdrawal
        )  # which is tried again at the next report
        self.note_confirmed(batch, is_whole and verdict != "is silent")
        self.hear(Confirmed(batch.bridge, batch.batch))

    def labels(self, bridge: str) -> set[int]:
        """Of the channels that have a flow."""
        found = map(channel_end, filter(is_ours, self.switches[bridge].cookies))
        return {end[1] for end in found if end}

    def note_confirmed(self, batch: Send, is_whole: bool) -> None:
        base = self.domain.bridges[batch.bridge].base
        if is_whole or base.state is State.INSTALLED:
            self.confirmed.add(batch.bridge)

    @rule(is_ready=st.booleans())
    def shim(self, is_ready: bool) -> None:
        self.hear(ShimReady(self.revision) if is_ready else ShimGone("is not running"))

    @rule(is_up=st.booleans())
    def liveness(self, is_up: bool) -> None:
        self.hear(PortReported(self.name, LIVENESS_PORT, is_up))

    @rule(data=st.data())
    def peer(self, data: st.DataObject) -> None:
        for peer in self.domain.peers:
            states = {name: data.draw(st.sampled_from(list(State))) for name in self.domain.ends}
            self.tell(peer, states)

    def tell(self, peer: str, states: Mapping[str, State]) -> None:
        ends = {name: EndReport(role=Role.LISTENER, state=state) for name, state in states.items()}
        expecting = {name for name, state in states.items() if state in (State.INSTALLED, State.DEGRADED)}
        self.told_installed |= expecting
        self.hear(PeerReported(peer, ends))
        self.told_installed = expecting

    @rule(clock=CLOCKS, is_peers=st.booleans())
    def clock(self, clock: Clock, is_peers: bool) -> None:
        events = [PeerClockReported(peer, clock) for peer in self.domain.peers] if is_peers else [ClockRead(clock)]
        for event in events:
            self.hear(event)

    @rule(is_same_host=st.booleans())
    def peer_joined(self, is_same_host: bool) -> None:
        for peer in self.domain.peers:
            self.hear(PeerJoined(peer, is_same_host))

    @rule(data=st.data())
    def peer_gone(self, data: st.DataObject) -> None:
        for peer in self.domain.peers:
            self.hear(PeerGone(peer, "is not running"))
            self.told_installed = set()

    @rule(data=st.data())
    def channels_change(self, data: st.DataObject) -> None:
        """Any of the file's, each as it is, with another deadline, with a meter, or under another label."""
        chosen = {}
        for name, channel in self.network.channels.items():
            change = data.draw(st.sampled_from(["", "", "", "gone", "deadline", "meter", "label"]))
            if change == "deadline":
                channel = replace(channel, deadline_ns=channel.deadline_ns - 10_000)
            if change == "meter":
                channel = replace(channel, excess=Excess.DROP)
            if change == "label":
                channel = replace(channel, label=channel.label ^ 1)
            if change != "gone":
                chosen[name] = channel
        self.told_installed -= {
            name for name, each in chosen.items() if each.label != self.network.channels[name].label
        }
        self.hear(ChannelsTold(chosen))

    @rule(wait_ns=st.sampled_from([0, S, RETRY_NS]))
    def tick(self, wait_ns: int) -> None:
        self.now_ns += wait_ns
        self.hear(Tick())

    @rule(data=st.data(), stranger=st.integers(0, 3))
    def somebody_meddles(self, data: st.DataObject, stranger: int) -> None:
        """Flows go from a switch, or come, without anybody telling."""
        switch = self.switches[data.draw(self.bridges())]
        if stranger:
            switch.take([FlowEntry(PORTS, 5, {"in_port": stranger}, Purpose.FORWARDING, stranger)])
        elif switch.cookies:
            switch.take([Withdrawal(data.draw(st.sampled_from(sorted(switch.cookies))))])

    @rule()
    def stale_confirmation(self) -> None:
        for bridge in self.domain.bridges:
            self.hear(Confirmed(bridge, 10**9))

    @invariant()
    def what_is_installed_stands_on_a_connection(self) -> None:
        for bridge in self.domain.bridges.values():
            if bridge.name not in self.connected:
                assert {each.state for each in bridge.installations} <= {State.WAITING}
        assert len(self.domain._batches) <= sum(map(len, self.orders.values()))

    @invariant()
    def the_shim_calls_no_miss_what_the_clocks_leave_in_doubt(self) -> None:
        for channel in self.domain.channels.values():
            terms = self.settings.channels.get(channel.label)
            if terms is not None and self.network.talker_domain(channel) != self.name:
                assert terms["clock_error_ns"] == as_number_ns(self.domain.clock_error_ns(channel))

    @invariant()
    def what_is_not_installed_says_why(self) -> None:
        for bridge in self.domain.bridges.values():
            for each in bridge.installations:
                if each.state in (State.WAITING, State.REFUSED) and self.now_ns:
                    assert each.why

    def teardown(self) -> None:
        """When all is well for long enough, all is installed, and the switch has exactly what it should."""
        for bridge in self.domain.bridges:
            if bridge not in self.connected:
                self.connected.add(bridge)
                self.hear(SwitchConnected(bridge))
        self.hear(ShimReady(self.revision))
        for peer in self.domain.peers:
            self.tell(peer, dict.fromkeys(self.domain.ends, State.INSTALLED))
        for _ in range(6):
            self.settle()
            self.hear(ShimReady(self.revision))
            self.now_ns += RETRY_NS
            self.hear(Tick())
        self.settle()
        for bridge in self.domain.bridges.values():
            assert {each.state for each in bridge.installations} == {State.INSTALLED}
            wanted = {
                entry.cookie for each in bridge.installations for entry in each.entries if isinstance(entry, FlowEntry)
            }
            assert set(filter(is_ours, self.switches[bridge.name].cookies)) == wanted
            meters = {entry for each in bridge.installations for entry in each.entries if isinstance(entry, Meter)}
            assert set(self.switches[bridge.name].meters.values()) == meters

    def settle(self) -> None:
        while any(self.orders.values()):
            for bridge, orders in self.orders.items():
                if orders:
                    order = orders.pop(0)
                    if isinstance(order, AskContents):
                        self.report(bridge)
                    elif isinstance(order, Send):
                        self.switches[bridge].take(order.entries)
                        self.confirmed.add(bridge)
                        self.hear(Confirmed(bridge, order.batch))


@pytest.mark.parametrize("name", ["left", "right"])
@pytest.mark.parametrize("file", ["two_hypervisors", "ovs_core"])
def test_any_order_of_events_ends_well(file: str, name: str) -> None:
    machine = type("Machine", (DomainMachine,), {"network": example(file), "name": name})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))
