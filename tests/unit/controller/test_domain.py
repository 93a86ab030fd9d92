"""One controller's mind at literal times, and at random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.examples import distinct, example
from support.fake_table import FakeSwitch
from support.networks import FAST, channel, two_hypervisors

from controller.domain import MISSES_KEPT, RETRY_NS, Domain
from controller.events import (
    AskFlows,
    AskMeters,
    AskQueues,
    AskShim,
    Command,
    Confirmed,
    Event,
    FlowsReported,
    MetersReported,
    Missed,
    PeerGone,
    PeerReported,
    PortReported,
    QueueCount,
    QueuesReported,
    Refused,
    Send,
    ShimGone,
    ShimReady,
    ShimReported,
    SwitchConnected,
    SwitchGone,
    Tell,
    Tick,
    Traffic,
)
from controller.flows import base_entries, listener_entries, talker_entries
from controller.lifecycle import Installation, State
from controller.model import Excess, Network, Scheduler, SwitchKind
from controller.parts import Miss
from controller.pipeline import (
    COOKIE_MARK,
    PORTS,
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    Purpose,
    ReparseGroup,
    Withdrawal,
    is_ours,
)
from controller.reports import EndReport, Role
from controller.wiring import LIVENESS_PORT, UPLINK_PORT, ports_of

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

    def hear(self, event: Event, at_ns: int | None = None) -> list[Command]:
        """What is ordered; what goes into the log is kept apart."""
        self.now_ns = self.now_ns if at_ns is None else at_ns
        commands = self.domain.handle(event, self.now_ns)
        self.told += [command for command in commands if isinstance(command, Tell)]
        return [command for command in commands if not isinstance(command, Tell)]

    def one_send(self, event: Event, at_ns: int | None = None) -> Send:
        (command,) = self.hear(event, at_ns)
        assert isinstance(command, Send)
        return command

    def confirm(self, batch: Send) -> list[Command]:
        return self.hear(Confirmed(batch.bridge, batch.batch))

    def set_up(self, bridge: str) -> None:
        """From connection to a confirmed base."""
        assert self.hear(SwitchConnected(bridge)) == [AskFlows(bridge)]
        self.confirm(self.one_send(FlowsReported(bridge, {})))

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


def flows_of(entries: Iterable[Entry]) -> dict[int, Traffic]:
    """A switch's words on `entries` when nothing has been counted yet."""
    return {entry.cookie: Traffic() for entry in entries if isinstance(entry, FlowEntry)}


def all_entries(network: Network) -> tuple[Entry, ...]:
    """Of the bridge `left` and its talkers."""
    ends = (entry for channel in network.channels.values() for entry in talker_entries(network, channel))
    return (*base_entries(network, "left"), *ends)


@pytest.fixture
def left() -> Script:
    return Script(plain(), "left")


@pytest.fixture
def right() -> Script:
    return Script(plain(), "right")


def installed(script: Script) -> None:
    """All of `left`, at 10 s."""
    script.now_ns = 10 * S
    script.set_up("left")
    script.hear(ShimReady())
    (batch,) = script.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    script.confirm(batch)
    assert {end.state for end in script.domain.ends.values()} == {State.INSTALLED}


# From nothing to installed


def test_a_switch_is_asked_for_its_flows_before_it_is_told_any(left: Script) -> None:
    assert left.hear(SwitchConnected("left")) == [AskFlows("left")]
    assert (left.base.state, left.base.why) == (State.WAITING, "the switch left has not told its flows yet")


def test_then_it_gets_its_base_in_one_batch_a_group_before_the_flows_that_use_it(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    batch = left.one_send(FlowsReported("left", {}), at_ns=2 * S)
    assert batch.entries == base_entries(left.domain.network, "left")
    assert isinstance(batch.entries[0], FailoverGroup)
    assert (left.base.state, left.base.since_ns) == (State.INSTALLING, 2 * S)


def test_the_base_is_installed_when_the_switch_has_confirmed_it_and_not_before(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    batch = left.one_send(FlowsReported("left", {}))
    assert left.hear(FlowsReported("left", flows_of(batch.entries))) == []
    assert left.base.state is State.INSTALLING
    assert left.confirm(batch) == []
    assert left.base.state is State.INSTALLED


def test_a_talker_waits_for_its_switch_its_shim_and_its_listener(left: Script) -> None:
    left.hear(Tick())
    assert left.end("video") == (State.WAITING, "the switch left is not connected")
    left.hear(SwitchConnected("left"))
    assert left.end("video") == (State.WAITING, "the switch left has not told its flows yet")
    batch = left.one_send(FlowsReported("left", {}))
    assert left.end("video") == (State.WAITING, "the switch left is not set up: it has not confirmed yet")
    left.confirm(batch)
    assert left.end("video") == (State.WAITING, "the shim of left has not answered yet")
    left.hear(ShimGone("is not running"))
    assert left.end("video") == (State.WAITING, "the shim of left is not running")
    left.hear(ShimReady())
    assert left.end("video") == (
        State.WAITING,
        "the listener's end is waiting: the controller of right has not answered yet",
    )
    left.hear(PeerGone("right", "is not running"))
    assert left.end("video") == (State.WAITING, "the listener's end is waiting: the controller of right is not running")
    left.tell_listeners(State.WAITING, why="the shim of right is not running")
    assert left.end("video") == (State.WAITING, "the listener's end is waiting: the shim of right is not running")
    left.hear(PeerReported("right", {}))
    assert left.end("video") == (State.WAITING, "the listener's end is waiting")
    (batch,) = left.tell_listeners(State.INSTALLED)
    network = left.domain.network
    assert batch == Send(
        "left", 2, tuple(entry for each in network.channels.values() for entry in talker_entries(network, each))
    )
    assert left.end("video") == (State.INSTALLING, "")
    assert left.confirm(batch) == []
    assert left.end("video") == (State.INSTALLED, "")


def test_a_listener_waits_for_its_switch_and_its_shim_only(right: Script) -> None:
    right.set_up("right")
    assert right.end("video") == (State.WAITING, "the shim of right has not answered yet")
    batch = right.one_send(ShimReady())
    network = right.domain.network
    assert batch.entries == tuple(
        entry for each in network.channels.values() for entry in listener_entries(network, each)
    )
    right.confirm(batch)
    assert right.end("audio") == (State.INSTALLED, "")


def test_each_channel_goes_its_own_way(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady())
    (batch,) = left.hear(PeerReported("right", {"audio": EndReport(role=Role.LISTENER, state=State.INSTALLED)}))
    assert isinstance(batch, Send)
    assert batch.entries == talker_entries(left.domain.network, left.domain.network.channels["audio"])
    left.confirm(batch)
    assert (left.end("audio")[0], left.end("video")[0]) == (State.INSTALLED, State.WAITING)


def test_a_listener_without_its_shim_is_a_listener_all_the_same(left: Script) -> None:
    """Else a talker whose switch comes back would wait for a shim that is not its own."""
    left.hear(SwitchConnected("left"))
    left.confirm(left.one_send(FlowsReported("left", {})))
    left.hear(ShimReady())
    (batch,) = left.hear(PeerReported("right", {"audio": EndReport(role=Role.LISTENER, state=State.DEGRADED)}))
    assert isinstance(batch, Send)
    assert [entry.subject for entry in batch.entries if isinstance(entry, FlowEntry)] == [18]


def test_a_channel_within_the_domain_needs_neither_shim_nor_peer() -> None:
    network = two_hypervisors(kind=SwitchKind.PLAIN)
    third = replace(network.vms["vm2"], name="vm3", hypervisor="left")
    near = channel("near", network.vms["vm1"], third, 19, FAST)
    script = Script(replace(network, vms={"vm1": network.vms["vm1"], "vm3": third}, channels={"near": near}), "left")
    assert not script.domain.peers
    script.hear(SwitchConnected("left"))
    script_batch = script.one_send(FlowsReported("left", {}))
    (batch,) = script.confirm(script_batch)
    assert isinstance(batch, Send)
    assert batch.entries == talker_entries(script.domain.network, near)
    script.confirm(batch)
    assert script.end("near") == (State.INSTALLED, "")


def test_first_in_first_out_has_no_ends() -> None:
    script = Script(two_hypervisors(Scheduler.FIFO, SwitchKind.PLAIN), "left")
    script.set_up("left")
    assert (script.domain.ends, script.domain.has_shim) == ({}, False)
    assert list(script.domain.channels) == ["video", "audio"]
    assert script.hear(Tick()) == [AskFlows("left"), AskQueues("left")]


def test_an_ovs_switch_of_the_domain_is_set_up_beside_the_hypervisors_bridge() -> None:
    script = Script(example("ovs_core"), "left")
    assert list(script.domain.bridges) == ["left", "east"]
    script.hear(SwitchConnected("east"))
    batch = script.one_send(FlowsReported("east", {}))
    assert batch.entries == base_entries(script.domain.network, "east")
    script.confirm(batch)
    assert script.domain.bridges["east"].base.state is State.INSTALLED
    assert script.base.state is State.WAITING


def test_a_domain_knows_only_its_own_channels() -> None:
    network = plain()
    alone = replace(network.hypervisors["left"], name="alone")
    script = Script(replace(network, hypervisors=network.hypervisors | {"alone": alone}), "alone")
    assert (script.domain.channels, script.domain.ends, script.domain.peers) == ({}, {}, {})


# Refusals


def refused_base(script: Script, at_ns: int) -> Send:
    script.hear(SwitchConnected("left"))
    batch = script.one_send(FlowsReported("left", {}), at_ns)
    assert script.hear(Refused("left", batch.batch, batch.entries[3], TABLE_FULL)) == []
    assert script.confirm(batch) == []
    return batch


def test_a_refused_base_says_why_and_so_do_the_ends_that_need_it(left: Script) -> None:
    refused_base(left, at_ns=5 * S)
    assert (left.base.state, left.base.why, left.base.since_ns) == (State.REFUSED, TABLE_FULL, 5 * S)
    assert left.end("video") == (State.WAITING, f"the switch left is not set up: {TABLE_FULL}")


def test_a_refusal_is_tried_again_after_a_while_and_not_before(left: Script) -> None:
    first = refused_base(left, at_ns=5 * S)
    assert left.hear(Tick(), at_ns=5 * S + RETRY_NS - 1) == [AskFlows("left"), AskQueues("left")]
    assert left.base.state is State.REFUSED
    *questions, again = left.hear(Tick(), at_ns=5 * S + RETRY_NS)
    assert questions == [AskFlows("left"), AskQueues("left")]
    assert again == Send("left", first.batch + 1, first.entries)
    left.confirm(again)
    assert left.base.state is State.INSTALLED


def test_only_the_channel_with_the_refused_flow_is_refused(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady())
    (batch,) = left.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    (audio,) = talker_entries(left.domain.network, left.domain.network.channels["audio"])
    left.hear(Refused("left", batch.batch, audio, TABLE_FULL))
    assert (left.end("audio"), left.end("video")[0]) == ((State.REFUSED, TABLE_FULL), State.INSTALLING)
    left.confirm(batch)
    assert (left.end("audio"), left.end("video")) == ((State.REFUSED, TABLE_FULL), (State.INSTALLED, ""))


def test_no_answer_at_all_refuses_the_whole_batch(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady())
    (batch,) = left.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    left.hear(Refused("left", batch.batch, None, "no answer within 5 s"))
    left.confirm(batch)
    assert left.end("audio") == left.end("video") == (State.REFUSED, "no answer within 5 s")


def test_a_second_refusal_in_a_batch_changes_nothing(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    batch = left.one_send(FlowsReported("left", {}))
    for entry, why in zip(batch.entries[:2], ("one", "two"), strict=True):
        left.hear(Refused("left", batch.batch, entry, why))
    assert (left.base.state, left.base.why) == (State.REFUSED, "one")


# Connections that come and go


def test_a_confirmation_of_an_earlier_connection_installs_nothing(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    stale = left.one_send(FlowsReported("left", {}))
    left.hear(SwitchConnected("left"))
    left.hear(Refused("left", stale.batch, stale.entries[0], TABLE_FULL))
    left.confirm(stale)
    assert left.base.state is State.WAITING
    fresh = left.one_send(FlowsReported("left", {}))
    assert fresh.batch != stale.batch
    left.confirm(stale)
    assert left.base.state is State.INSTALLING


def test_a_switch_that_goes_takes_everything_with_it(left: Script) -> None:
    installed(left)
    assert left.hear(SwitchGone("left"), at_ns=20 * S) == []
    assert (left.base.state, left.base.why, left.base.since_ns) == (
        State.WAITING,
        "the switch left is not connected",
        20 * S,
    )
    assert left.end("video") == (State.WAITING, "the switch left is not connected")
    assert left.hear(Tick()) == [AskShim()]


def test_a_switch_that_comes_back_with_all_its_flows_is_sent_only_what_it_cannot_tell(left: Script) -> None:
    installed(left)
    network = left.domain.network
    left.hear(SwitchGone("left"))
    left.hear(SwitchConnected("left"))
    batch = left.one_send(FlowsReported("left", flows_of(all_entries(network))))
    groups = [entry for entry in base_entries(network, "left") if not isinstance(entry, FlowEntry)]
    assert batch.entries == tuple(groups)
    assert {type(entry) for entry in groups} == {FailoverGroup, ReparseGroup}
    ends = left.one_send(Confirmed("left", batch.batch))
    assert ends.entries == ()
    left.confirm(ends)
    assert left.end("video") == (State.INSTALLED, "")


def test_a_closed_port_is_sent_again_too() -> None:
    for name in ("left", "right"):
        script = Script(example("ovs_core"), name)
        (bridge,) = [bridge for bridge in script.domain.bridges if bridge != name]
        entries = base_entries(script.domain.network, bridge)
        script.hear(SwitchConnected(bridge))
        batch = script.one_send(FlowsReported(bridge, flows_of(entries)))
        assert batch.entries == tuple(entry for entry in entries if isinstance(entry, ClosedPort))


def test_after_a_restart_of_the_controller_only_what_changed_is_sent(left: Script) -> None:
    entries = base_entries(left.domain.network, "left")
    left.hear(SwitchConnected("left"))
    batch = left.one_send(FlowsReported("left", flows_of(entries[:-1])))
    groups = [entry for entry in entries if not isinstance(entry, FlowEntry)]
    assert batch.entries == (*groups, entries[-1])


def test_flows_that_bear_our_mark_and_that_nobody_wants_are_withdrawn_first(left: Script) -> None:
    stranger, other = COOKIE_MARK | 2 << 40 | 4711 << 20, COOKIE_MARK | 1
    left.hear(SwitchConnected("left"))
    batch = left.one_send(FlowsReported("left", {stranger: Traffic(), other: Traffic(1, 60)}))
    assert batch.entries[:2] == (Withdrawal(other), Withdrawal(stranger))
    assert left.confirm(batch) == []
    assert left.hear(FlowsReported("left", flows_of(batch.entries))) == []


def test_a_stranger_that_turns_up_later_is_withdrawn_alone(left: Script) -> None:
    installed(left)
    flows = flows_of(all_entries(left.domain.network))
    batch = left.one_send(FlowsReported("left", flows | {COOKIE_MARK | 1: Traffic()}))
    assert batch.entries == (Withdrawal(COOKIE_MARK | 1),)
    left.confirm(batch)
    assert left.hear(Tick())[:2] == [AskFlows("left"), AskQueues("left")]


def test_a_refused_withdrawal_harms_nobody_and_is_tried_again(left: Script) -> None:
    installed(left)
    flows = flows_of(all_entries(left.domain.network)) | {COOKIE_MARK | 1: Traffic()}
    batch = left.one_send(FlowsReported("left", flows))
    left.hear(Refused("left", batch.batch, batch.entries[0], TABLE_FULL))
    left.confirm(batch)
    assert left.base.state is State.INSTALLED
    assert left.one_send(FlowsReported("left", flows)).entries == batch.entries


def test_lost_flows_are_put_back(left: Script) -> None:
    installed(left)
    network = left.domain.network
    (audio,) = talker_entries(network, network.channels["audio"])
    kept = flows_of(entry for entry in all_entries(network) if entry is not audio and entry != audio)
    batch = left.one_send(FlowsReported("left", kept))
    assert batch.entries == (audio,)
    assert (left.end("audio")[0], left.end("video")[0]) == (State.INSTALLING, State.INSTALLED)
    left.confirm(batch)
    assert left.end("audio") == (State.INSTALLED, "")


def test_a_flushed_switch_is_set_up_anew_base_first(left: Script) -> None:
    installed(left)
    network = left.domain.network
    base = left.one_send(FlowsReported("left", {}))
    assert base.entries == base_entries(network, "left")
    ends = left.one_send(Confirmed("left", base.batch))
    assert (*base.entries, *ends.entries) == all_entries(network)


def test_a_shim_or_a_peer_that_goes_withdraws_nothing(left: Script) -> None:
    installed(left)
    assert left.hear(ShimGone("is not running")) == []
    assert left.hear(PeerGone("right", "is not running")) == []
    assert left.tell_listeners(State.REFUSED) == []
    assert left.end("video") == (State.INSTALLED, "")


def test_the_log_is_told_when_the_shim_ceases_to_work_and_when_it_works_again(left: Script) -> None:
    for event, at_ns in (
        (ShimReady(), 1),
        (PortReported("left", UPLINK_PORT, False), 2),
        (PortReported("left", LIVENESS_PORT, False), 3),
        (ShimGone("is not running"), 4),
        (ShimGone("is not running"), 5),
        (PortReported("left", LIVENESS_PORT, True), 6),
        (ShimReady(), 7),
    ):
        left.hear(event, at_ns * S)
    assert left.told == [
        Tell("the shim of left works", is_trouble=False),
        Tell("the shim of left does not forward; packets go past it", is_trouble=True),
        Tell("the shim of left works", is_trouble=False),
    ]
    assert (left.domain.shim.since_ns, left.domain.shim.trouble) == (7 * S, "")


def test_a_shim_that_came_back_while_its_switch_was_away_is_no_trouble(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    left.hear(ShimReady())
    left.hear(PortReported("left", LIVENESS_PORT, False))
    assert left.domain.shim.trouble
    left.hear(SwitchGone("left"))
    left.hear(SwitchConnected("left"))
    assert left.domain.shim.trouble == ""
    left.hear(PortReported("left", LIVENESS_PORT, False))
    assert left.domain.shim.trouble


def test_meters_are_asked_where_there_are_any() -> None:
    network = plain()
    strict = replace(network.channels["video"], excess=Excess.DROP)
    script = Script(replace(network, channels=network.channels | {"video": strict}), "left")
    script.hear(SwitchConnected("left"))
    assert AskMeters("left") in script.hear(Tick())
    script.hear(MetersReported("left", {1: 5}))
    assert script.domain.bridges["left"].meters == {1: 5}


def test_a_peer_that_went_is_remembered_by_what_it_told(left: Script) -> None:
    left.hear(PeerReported("right", {"video": EndReport(role=Role.LISTENER, state=State.INSTALLED, packets=7)}))
    left.hear(PeerGone("right", "is not running"))
    end = left.domain.remote_end(left.domain.network.channels["video"])
    assert (end.packets, end.state, end.why) == (7, State.WAITING, "the controller of right is not running")


# Once a second, and what is only noted


def test_each_second_everything_that_is_there_is_asked(left: Script) -> None:
    assert left.hear(Tick()) == []
    left.hear(ShimReady())
    assert left.hear(Tick()) == [AskShim()]
    left.hear(SwitchConnected("left"))
    assert left.hear(Tick()) == [AskFlows("left"), AskQueues("left"), AskShim()]
    left.hear(ShimGone("is not running"))
    assert left.hear(Tick()) == [AskFlows("left"), AskQueues("left")]


def test_what_the_switch_and_the_shim_count_is_kept(left: Script) -> None:
    queues = (QueueCount(1, 5, Traffic(3, 300), 0),)
    assert left.hear(QueuesReported("left", queues)) == []
    assert left.hear(ShimReported({"classes": {}})) == []
    assert left.domain.bridges["left"].queues == queues
    assert left.domain.shim.statistics == {"classes": {}}


def miss(label: int, lateness_ns: int = 5) -> Mapping[str, int]:
    return {"label": label, "lateness_ns": lateness_ns, "at_ns": 99}


def test_misses_are_those_of_the_domains_channels(right: Script) -> None:
    assert right.hear(Missed((miss(17), miss(4711), miss(18, 6)))) == []
    assert list(right.domain.misses) == [Miss("video", 5, 99), Miss("audio", 6, 99)]


def test_only_the_last_misses_are_kept(right: Script) -> None:
    right.hear(Missed(tuple(miss(17, number) for number in range(MISSES_KEPT + 5))))
    assert len(right.domain.misses) == MISSES_KEPT
    assert right.domain.misses[0].lateness_ns == 5


def test_a_batch_of_a_connection_that_ended_is_forgotten(left: Script) -> None:
    installed(left)
    left.one_send(FlowsReported("left", flows_of(all_entries(left.domain.network)) | {COOKIE_MARK | 1: Traffic()}))
    left.hear(SwitchGone("left"))
    left.hear(SwitchConnected("left"))
    left.one_send(FlowsReported("left", {}))
    left.hear(SwitchGone("left"))
    assert left.domain._batches == {}


# At random


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
        self.sent_labels: list[str] = []

    def hear(self, event: Event) -> None:
        for command in self.domain.handle(event, self.now_ns):
            if isinstance(command, Send):
                self.check_send(command)
            if not isinstance(command, AskShim | Tell):
                assert command.bridge in self.connected, "only a connected switch is told anything"
                self.orders[command.bridge].append(command)

    def check_send(self, batch: Send) -> None:
        """No packet is labelled before somebody expects it, and no flow stands on a base that is not there."""
        for end in self.domain.ends.values():
            if any(entry in batch.entries for entry in end.entries):
                assert self.domain.name in self.confirmed
                if end.role is Role.TALKER and not self.network.is_local(end.channel):
                    assert end.channel.name in self.told_installed

    def bridges(self) -> st.SearchStrategy[str]:
        return st.sampled_from(sorted(self.domain.bridges))

    @rule(data=st.data(), is_flushed=st.booleans())
    def connect(self, data: st.DataObject, is_flushed: bool) -> None:
        """A first connection, or one that takes the place of another."""
        bridge = data.draw(self.bridges())
        if is_flushed:
            self.switches[bridge] = FakeSwitch(self.switches[bridge].ports)
        self.drop(bridge)
        self.connected.add(bridge)
        self.hear(SwitchConnected(bridge))

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
        if isinstance(order, AskFlows):
            self.hear(FlowsReported(bridge, dict.fromkeys(filter(is_ours, self.switches[bridge].cookies), Traffic())))
        elif isinstance(order, Send):
            self.carry_out(order, verdict, data)

    def carry_out(self, batch: Send, verdict: str, data: st.DataObject) -> None:
        refused: Entry | None = None
        if verdict == "refuses one" and batch.entries:
            refused = data.draw(st.sampled_from(batch.entries))
            self.hear(Refused(batch.bridge, batch.batch, refused, TABLE_FULL))
        if verdict == "is silent":
            self.hear(Refused(batch.bridge, batch.batch, None, "no answer within 5 s"))
        else:
            taken = [entry for entry in batch.entries if entry != refused]
            if isinstance(refused, FailoverGroup | ReparseGroup):
                taken = []
            self.switches[batch.bridge].take(taken)
        is_whole = refused is None or isinstance(refused, Withdrawal)  # which is tried again at the next report
        self.note_confirmed(batch, is_whole and verdict != "is silent")
        self.hear(Confirmed(batch.bridge, batch.batch))

    def note_confirmed(self, batch: Send, is_whole: bool) -> None:
        base = self.domain.bridges[batch.bridge].base
        if is_whole or base.state is State.INSTALLED:
            self.confirmed.add(batch.bridge)

    @rule(is_ready=st.booleans())
    def shim(self, is_ready: bool) -> None:
        self.hear(ShimReady() if is_ready else ShimGone("is not running"))

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

    @rule(data=st.data())
    def peer_gone(self, data: st.DataObject) -> None:
        for peer in self.domain.peers:
            self.hear(PeerGone(peer, "is not running"))
            self.told_installed = set()

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
        self.hear(ShimReady())
        for peer in self.domain.peers:
            self.tell(peer, dict.fromkeys(self.domain.ends, State.INSTALLED))
        for _ in range(4):
            self.settle()
            self.now_ns += RETRY_NS
            self.hear(Tick())
        self.settle()
        for bridge in self.domain.bridges.values():
            assert {each.state for each in bridge.installations} == {State.INSTALLED}
            wanted = {
                entry.cookie for each in bridge.installations for entry in each.entries if isinstance(entry, FlowEntry)
            }
            assert self.switches[bridge.name].cookies == wanted

    def settle(self) -> None:
        while any(self.orders.values()):
            for bridge, orders in self.orders.items():
                if orders:
                    order = orders.pop(0)
                    if isinstance(order, AskFlows):
                        cookies = self.switches[bridge].cookies
                        self.hear(FlowsReported(bridge, dict.fromkeys(cookies, Traffic())))
                    elif isinstance(order, Send):
                        self.switches[bridge].take(order.entries)
                        self.confirmed.add(bridge)
                        self.hear(Confirmed(bridge, order.batch))


@pytest.mark.parametrize("name", ["left", "right"])
@pytest.mark.parametrize("file", ["two_hypervisors", "ovs_core"])
def test_any_order_of_events_ends_well(file: str, name: str) -> None:
    machine = type("Machine", (DomainMachine,), {"network": example(file), "name": name})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))
