"""One controller's mind at literal times, and at random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from support.domains import contents_of
from support.examples import distinct, example
from support.networks import FAST, channel, two_hypervisors

from controller.domain.domain import RETRY_NS, Domain
from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    AskShim,
    ChannelsTold,
    Command,
    Confirmed,
    Contents,
    ContentsReported,
    Event,
    Follow,
    KeepCounts,
    MetersReported,
    Missed,
    PeerGone,
    PeerReported,
    PortReported,
    Publish,
    QueueCount,
    QueuesReported,
    Refused,
    Send,
    SetQueues,
    SetShim,
    ShimGone,
    ShimReady,
    ShimReported,
    Standing,
    SwitchConnected,
    SwitchGone,
    Tell,
    Tick,
    WriteBack,
)
from controller.domain.known import MISSES_KEPT
from controller.domain.lifecycle import Installation, State
from controller.domain.parts import GRACE_NS, Miss
from controller.domain.reports import EndReport, Role
from controller.model import Channel, Excess, Network, Scheduler, SwitchKind
from controller.network.wiring import LIVENESS_PORT, UPLINK_PORT
from controller.openflow.counts import Counts, Traffic
from controller.openflow.flows import base_entries, listener_entries, talker_entries
from controller.openflow.pipeline import (
    COOKIE_MARK,
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    Meter,
    MeterWithdrawal,
    Purpose,
    Withdrawal,
)
from controller.store.records import StoreBack, StoreGone

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
        (command,) = self.hear(event, at_ns)
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
    script.hear(ShimReady(1))
    (batch,) = script.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    script.confirm(batch)
    assert {end.state for end in script.domain.ends.values()} == {State.INSTALLED}


# From nothing to installed


def test_a_switch_is_asked_what_it_has_before_it_is_told_anything(left: Script) -> None:
    assert left.hear(SwitchConnected("left")) == [AskContents("left")]
    assert (left.base.state, left.base.why) == (State.WAITING, "the switch left has not told what it has yet")


def test_then_it_gets_its_base_in_one_batch_a_group_before_the_flows_that_use_it(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    batch = left.one_send(ContentsReported("left", Contents()), at_ns=2 * S)
    assert batch.entries == base_entries(left.domain.network, "left")
    assert isinstance(batch.entries[0], FailoverGroup)
    assert (left.base.state, left.base.since_ns) == (State.INSTALLING, 2 * S)


def test_the_base_is_installed_when_the_switch_has_confirmed_it_and_not_before(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    batch = left.one_send(ContentsReported("left", Contents()))
    assert left.hear(ContentsReported("left", contents_of(batch.entries))) == []
    assert left.base.state is State.INSTALLING
    assert left.confirm(batch) == []
    assert left.base.state is State.INSTALLED


def test_a_talker_waits_for_its_switch_its_shim_and_its_listener(left: Script) -> None:
    left.hear(Tick())
    assert left.end("video") == (State.WAITING, "the switch left is not connected")
    left.hear(SwitchConnected("left"))
    assert left.end("video") == (State.WAITING, "the switch left has not told what it has yet")
    batch = left.one_send(ContentsReported("left", Contents()))
    assert left.end("video") == (State.WAITING, "the switch left is not set up: it has not confirmed yet")
    left.confirm(batch)
    assert left.end("video") == (State.WAITING, "the shim of left has not answered yet")
    left.hear(ShimGone("is not running"))
    assert left.end("video") == (State.WAITING, "the shim of left is not running")
    left.hear(ShimReady(1))
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
    batch = right.one_send(ShimReady(1))
    network = right.domain.network
    assert batch.entries == tuple(
        entry for each in network.channels.values() for entry in listener_entries(network, each)
    )
    right.confirm(batch)
    assert right.end("audio") == (State.INSTALLED, "")


def test_each_channel_goes_its_own_way(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady(1))
    (batch,) = left.hear(PeerReported("right", {"audio": EndReport(role=Role.LISTENER, state=State.INSTALLED)}))
    assert isinstance(batch, Send)
    assert batch.entries == talker_entries(left.domain.network, left.domain.network.channels["audio"])
    left.confirm(batch)
    assert (left.end("audio")[0], left.end("video")[0]) == (State.INSTALLED, State.WAITING)


def test_a_listener_without_its_shim_is_a_listener_all_the_same(left: Script) -> None:
    """Else a talker whose switch comes back would wait for a shim that is not its own."""
    left.hear(SwitchConnected("left"))
    left.confirm(left.one_send(ContentsReported("left", Contents())))
    left.hear(ShimReady(1))
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
    script_batch = script.one_send(ContentsReported("left", Contents()))
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
    assert script.hear(Tick()) == [AskContents("left"), AskQueues("left")]


def test_an_ovs_switch_of_the_domain_is_set_up_beside_the_hypervisors_bridge() -> None:
    script = Script(example("ovs_core"), "left")
    assert list(script.domain.bridges) == ["left", "east"]
    script.hear(SwitchConnected("east"))
    batch = script.one_send(ContentsReported("east", Contents()))
    assert batch.entries == base_entries(script.domain.network, "east")
    script.confirm(batch)
    assert script.domain.bridges["east"].base.state is State.INSTALLED
    assert script.base.state is State.WAITING


def test_a_domain_knows_only_its_own_channels() -> None:
    network = plain()
    alone = replace(network.hypervisors["left"], name="alone")
    script = Script(replace(network, hypervisors=network.hypervisors | {"alone": alone}), "alone")
    assert (script.domain.channels, script.domain.ends, script.domain.peers) == ({}, {}, {})
    assert list(script.domain.network.channels) == ["video", "audio"], "they may cross a switch of the domain"


# Refusals


def refused_base(script: Script, at_ns: int) -> Send:
    script.hear(SwitchConnected("left"))
    batch = script.one_send(ContentsReported("left", Contents()), at_ns)
    assert script.hear(Refused("left", batch.batch, batch.entries[3], TABLE_FULL)) == []
    assert script.confirm(batch) == []
    return batch


def test_a_refused_base_says_why_and_so_do_the_ends_that_need_it(left: Script) -> None:
    refused_base(left, at_ns=5 * S)
    assert (left.base.state, left.base.why, left.base.since_ns) == (State.REFUSED, TABLE_FULL, 5 * S)
    assert left.end("video") == (State.WAITING, f"the switch left is not set up: {TABLE_FULL}")


def test_a_refusal_is_tried_again_after_a_while_and_not_before(left: Script) -> None:
    first = refused_base(left, at_ns=5 * S)
    assert left.hear(Tick(), at_ns=5 * S + RETRY_NS - 1) == [AskContents("left"), AskQueues("left")]
    assert left.base.state is State.REFUSED
    *questions, again = left.hear(Tick(), at_ns=5 * S + RETRY_NS)
    assert questions == [AskContents("left"), AskQueues("left")]
    assert again == Send("left", first.batch + 1, first.entries)
    left.confirm(again)
    assert left.base.state is State.INSTALLED


def test_only_the_channel_with_the_refused_flow_is_refused(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady(1))
    (batch,) = left.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    (audio,) = talker_entries(left.domain.network, left.domain.network.channels["audio"])
    left.hear(Refused("left", batch.batch, audio, TABLE_FULL))
    assert (left.end("audio"), left.end("video")[0]) == ((State.REFUSED, TABLE_FULL), State.INSTALLING)
    left.confirm(batch)
    assert (left.end("audio"), left.end("video")) == ((State.REFUSED, TABLE_FULL), (State.INSTALLED, ""))


def test_no_answer_at_all_refuses_the_whole_batch(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady(1))
    (batch,) = left.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    left.hear(Refused("left", batch.batch, None, "no answer within 5 s"))
    left.confirm(batch)
    assert left.end("audio") == left.end("video") == (State.REFUSED, "no answer within 5 s")


def test_a_second_refusal_in_a_batch_changes_nothing(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    batch = left.one_send(ContentsReported("left", Contents()))
    for entry, why in zip(batch.entries[:2], ("one", "two"), strict=True):
        left.hear(Refused("left", batch.batch, entry, why))
    assert (left.base.state, left.base.why) == (State.REFUSED, "one")


# Connections that come and go


def test_a_confirmation_of_an_earlier_connection_installs_nothing(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    stale = left.one_send(ContentsReported("left", Contents()))
    left.hear(SwitchConnected("left"))
    left.hear(Refused("left", stale.batch, stale.entries[0], TABLE_FULL))
    left.confirm(stale)
    assert left.base.state is State.WAITING
    fresh = left.one_send(ContentsReported("left", Contents()))
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


def test_a_switch_that_comes_back_with_all_that_it_had_is_sent_nothing(left: Script) -> None:
    installed(left)
    left.hear(SwitchGone("left"))
    left.hear(SwitchConnected("left"))
    assert left.hear(ContentsReported("left", contents_of(all_entries(left.domain.network)))) == []
    assert left.end("video") == (State.INSTALLED, "")


def test_after_a_restart_of_the_controller_nothing_is_sent_where_nothing_has_changed(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    assert left.hear(ContentsReported("left", contents_of(all_entries(left.domain.network)))) == []
    left.hear(ShimReady(1))
    assert left.tell_listeners(State.INSTALLED) == []
    assert {end.state for end in left.domain.ends.values()} == {State.INSTALLED}


def test_a_port_that_is_closed_already_is_not_closed_again() -> None:
    for name in ("left", "right"):
        script = Script(example("ovs_core"), name)
        (bridge,) = [bridge for bridge in script.domain.bridges if bridge != name]
        entries = base_entries(script.domain.network, bridge)
        script.hear(SwitchConnected(bridge))
        open_ports = replace(contents_of(entries), closed_ports=frozenset())
        assert script.hear(ContentsReported(bridge, contents_of(entries))) == []
        lost = script.hear(ContentsReported(bridge, open_ports))
        closed = tuple(entry for entry in entries if isinstance(entry, ClosedPort))
        assert [command.entries for command in lost if isinstance(command, Send)] == ([closed] if closed else [])


def test_after_a_restart_of_the_controller_only_what_changed_is_sent(left: Script) -> None:
    entries = base_entries(left.domain.network, "left")
    left.hear(SwitchConnected("left"))
    batch = left.one_send(ContentsReported("left", contents_of(entries[:-1])))
    assert batch.entries == entries[-1:]


def test_a_group_that_is_gone_or_another_is_put_back(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    groups = [entry for entry in base_entries(left.domain.network, "left") if isinstance(entry, FailoverGroup)]
    changed = {**held.groups, groups[0].group_id: replace(groups[0], buckets=())}
    del changed[groups[1].group_id]
    batch = left.one_send(ContentsReported("left", replace(held, groups=changed)))
    assert batch.entries == tuple(groups[:2])
    assert left.end("video") == (State.INSTALLED, "")


def test_groups_that_are_none_of_ours_are_left_alone(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    assert left.hear(ContentsReported("left", replace(held, groups={**held.groups, 4711: None}))) == []


STRANGERS = {COOKIE_MARK | 2 << 40 | 4711 << 20: Traffic(), COOKIE_MARK | 1: Traffic(1, 60)}


def with_flows(contents: Contents, flows: Mapping[int, Traffic]) -> Contents:
    return replace(contents, flows={**contents.flows, **flows})


def test_flows_that_bear_our_mark_and_that_nobody_wants_go_once_what_is_wanted_is_there(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    stranger, other = STRANGERS
    batch = left.one_send(ContentsReported("left", Contents(flows=STRANGERS)))
    assert batch.entries[-1:] == (Withdrawal(stranger),), "of a channel that nobody knows"
    assert left.confirm(batch) == []
    held = contents_of(batch.entries, Contents(flows=STRANGERS))
    batch = left.one_send(ContentsReported("left", held))
    assert batch.entries == (Withdrawal(other),)
    assert left.confirm(batch) == []
    assert left.hear(ContentsReported("left", contents_of(batch.entries, held))) == []


def test_a_stranger_that_turns_up_later_is_withdrawn_alone(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    batch = left.one_send(ContentsReported("left", with_flows(held, {COOKIE_MARK | 1: Traffic()})))
    assert batch.entries == (Withdrawal(COOKIE_MARK | 1),)
    left.confirm(batch)
    assert left.hear(Tick())[:2] == [AskContents("left"), AskQueues("left")]


def test_a_refused_withdrawal_harms_nobody_and_is_tried_again(left: Script) -> None:
    installed(left)
    held = with_flows(contents_of(all_entries(left.domain.network)), {COOKIE_MARK | 1: Traffic()})
    batch = left.one_send(ContentsReported("left", held))
    left.hear(Refused("left", batch.batch, batch.entries[0], TABLE_FULL))
    left.confirm(batch)
    assert left.base.state is State.INSTALLED
    assert left.one_send(ContentsReported("left", held)).entries == batch.entries


def test_lost_flows_are_put_back(left: Script) -> None:
    installed(left)
    network = left.domain.network
    (audio,) = talker_entries(network, network.channels["audio"])
    kept = contents_of(entry for entry in all_entries(network) if entry is not audio and entry != audio)
    batch = left.one_send(ContentsReported("left", kept))
    assert batch.entries == (audio,)
    assert (left.end("audio")[0], left.end("video")[0]) == (State.INSTALLING, State.INSTALLED)
    left.confirm(batch)
    assert left.end("audio") == (State.INSTALLED, "")


def test_a_flushed_switch_is_set_up_anew_base_first(left: Script) -> None:
    installed(left)
    network = left.domain.network
    base = left.one_send(ContentsReported("left", Contents()))
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
        (ShimReady(1), 1),
        (PortReported("left", UPLINK_PORT, False), 2),
        (PortReported("left", LIVENESS_PORT, False), 3),
        (ShimGone("is not running"), 4),
        (ShimGone("is not running"), 5),
        (PortReported("left", LIVENESS_PORT, True), 6),
        (ShimReady(1), 7),
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
    left.hear(ShimReady(1))
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
    script.hear(MetersReported("left", {17: 5}))
    assert script.domain.bridges["left"].meters == {17: 5}


def test_a_peer_that_went_is_remembered_by_what_it_told(left: Script) -> None:
    left.hear(PeerReported("right", {"video": EndReport(role=Role.LISTENER, state=State.INSTALLED, packets=7)}))
    left.hear(PeerGone("right", "is not running"))
    end = left.domain.remote_end(left.domain.network.channels["video"])
    assert (end.packets, end.state, end.why) == (7, State.WAITING, "the controller of right is not running")


# Once a second, and what is only noted


def test_each_second_everything_that_is_there_is_asked(left: Script) -> None:
    assert left.hear(Tick()) == []
    left.hear(ShimReady(1))
    assert left.hear(Tick()) == [AskShim()]
    left.hear(SwitchConnected("left"))
    assert left.hear(Tick()) == [AskContents("left"), AskQueues("left"), AskShim()]
    left.hear(ShimGone("is not running"))
    assert left.hear(Tick()) == [AskContents("left"), AskQueues("left")]


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
    held = contents_of(all_entries(left.domain.network))
    left.one_send(ContentsReported("left", with_flows(held, {COOKIE_MARK | 1: Traffic()})))
    left.hear(SwitchGone("left"))
    left.hear(SwitchConnected("left"))
    left.one_send(ContentsReported("left", Contents()))
    left.hear(SwitchGone("left"))
    assert left.domain._batches == {}


# Channels that come, change and go


def channels_of(script: Script, **changed: Channel | None) -> dict[str, Channel]:
    """The script's, some of them changed or left out."""
    found = {**script.domain.network.channels, **changed}
    return {name: each for name, each in found.items() if each is not None}


def sends(commands: Iterable[Command]) -> list[tuple[Entry, ...]]:
    return [command.entries for command in commands if isinstance(command, Send)]


def test_before_the_channels_are_told_those_of_the_switch_are_left_alone() -> None:
    network = plain()
    domain = Domain(network, "left")
    domain.handle(SwitchConnected("left"), 0)
    held = contents_of(all_entries(network))
    assert all(isinstance(each, Publish) for each in domain.handle(ContentsReported("left", held), S))
    assert domain.store_trouble == "no answer yet"
    commands = domain.handle(ChannelsTold(network.channels), 2 * S)
    assert sends(commands) == []
    assert AskContents("left") in commands
    assert domain.store_trouble == ""


def test_what_is_told_first_goes_to_the_shim_to_the_queues_and_to_the_peers() -> None:
    network = plain()
    follow, shim, queues, _ = Domain(network, "left").handle(ChannelsTold(network.channels), 0)
    assert isinstance(shim, SetShim) and sorted(shim.settings.channels) == [17, 18]
    assert follow == Follow(("right",))
    assert queues == SetQueues(network.channels)


def test_the_same_channels_again_are_no_news(left: Script) -> None:
    installed(left)
    commands = left.tell_channels(channels_of(left))
    assert commands == [SetQueues(left.domain.network.channels), AskContents("left")]


def test_a_store_that_goes_changes_nothing_but_is_told(left: Script) -> None:
    installed(left)
    assert left.hear(StoreGone("no answer from unix:/nowhere")) == []
    assert left.domain.store_trouble == "no answer from unix:/nowhere"
    assert left.end("video") == (State.INSTALLED, "")
    assert left.hear(StoreBack()) == []
    assert left.domain.store_trouble == ""
    assert left.told[-2:] == [
        Tell("the channel store: no answer from unix:/nowhere", is_trouble=True),
        Tell("the channel store answers again", is_trouble=False),
    ]


def test_how_ends_stand_is_written_back_once_a_second_where_it_has_changed(left: Script) -> None:
    left.hear(Tick())
    assert {(each.channel, each.role, each.state) for each in left.written} == {
        (name, Role.TALKER, State.WAITING) for name in ("video", "audio")
    }
    left.written.clear()
    left.hear(Tick())
    assert left.written == []
    installed(left)
    left.hear(Tick())
    assert {(each.channel, each.state, each.why) for each in left.written} == {
        (name, State.INSTALLED, "") for name in ("video", "audio")
    }
    left.written.clear()
    left.hear(ShimGone("is not running"))
    left.hear(Tick())
    assert {(each.state, each.why) for each in left.written} == {(State.DEGRADED, "the shim of left is not running")}


def test_what_is_written_back_is_of_the_version_that_was_told(left: Script) -> None:
    left.hear(ChannelsTold(left.domain.network.channels, versions={"video": 3, "audio": 5}))
    left.hear(Tick())
    assert {(each.channel, each.version) for each in left.written} == {("video", 3), ("audio", 5)}


def test_slacks_jitter_and_bounds_are_those_that_admission_has_found(left: Script) -> None:
    network = left.domain.network
    port = ("middle", "right")
    commands = left.hear(
        ChannelsTold(network.channels, jitter_ns=S // 1000, bounds={port: {"fast": 7000}}, slacks_ns={"left": 123})
    )
    (shim,) = [command for command in commands if isinstance(command, SetShim)]
    assert shim.settings.link["be_slack_ns"] == 123
    video = network.channels["video"]
    assert shim.settings.channels[17]["rate_bps"] > video.wire_rate_bps
    assert shim.settings.channels[17]["downstream_ns"] == network.hypervisors["left"].allowance_ns + 7000


def test_a_new_channel_waits_until_the_shim_has_its_terms(left: Script) -> None:
    network = left.domain.network
    new = channel("new", network.vms["vm1"], network.vms["vm2"], 19, FAST)
    installed(left)
    assert sends(left.tell_channels(channels_of(left, new=new))) == []
    left.tell_listeners(State.INSTALLED)
    assert left.end("new") == (State.WAITING, "the shim of left has not taken its terms yet")
    (batch,) = left.hear(ShimReady(left.revision))
    assert isinstance(batch, Send)
    assert batch.entries == talker_entries(left.domain.network, new)
    assert left.end("video") == (State.INSTALLED, "")


def test_a_changed_channel_keeps_its_flow_until_the_new_one_is_there(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    video = left.domain.network.channels["video"]
    shorter = replace(video, deadline_ns=video.deadline_ns - 1_000_000)
    left.tell_listeners(State.WAITING)
    assert sends(left.tell_channels(channels_of(left, video=shorter))) == []
    assert left.hear(ContentsReported("left", held)) == [], "nothing is withdrawn"
    (batch,) = left.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    assert batch.entries == talker_entries(left.domain.network, shorter)
    assert left.confirm(batch) == []
    both = contents_of(batch.entries, held)
    (former,) = talker_entries(plain(), video)
    assert isinstance(former, FlowEntry)
    assert sends(left.hear(ContentsReported("left", both))) == [(Withdrawal(former.cookie),)]


def test_a_change_that_only_the_shim_sees_sends_no_flow(left: Script) -> None:
    installed(left)
    video = left.domain.network.channels["video"]
    commands = left.tell_channels(channels_of(left, video=replace(video, burst_bytes=2 * video.burst_bytes)))
    assert sends(commands) == []
    (told,) = [command for command in commands if isinstance(command, SetShim)]
    assert told.settings.channels[17]["burst_bytes"] == 2 * video.burst_bytes
    assert left.end("video") == (State.INSTALLED, "")


def test_a_channel_that_goes_leaves_the_shim_when_its_flow_is_gone(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    left.hear(ContentsReported("left", held))
    assert not any(isinstance(each, SetShim) for each in left.tell_channels(channels_of(left, video=None)))
    (batch,) = left.hear(ContentsReported("left", held))
    assert isinstance(batch, Send)
    (flow,) = talker_entries(plain(), plain().channels["video"])
    assert isinstance(flow, FlowEntry)
    assert batch.entries == (Withdrawal(flow.cookie),)
    left.confirm(batch)
    (shim,) = left.hear(ContentsReported("left", contents_of(batch.entries, held)))
    assert isinstance(shim, SetShim) and list(shim.settings.channels) == [18]


def test_a_listeners_flow_outlives_its_channel_for_the_packets_that_are_under_way(right: Script) -> None:
    right.set_up("right")
    right.confirm(right.one_send(ShimReady(1)))
    network = right.domain.network
    flows = [flow for each in network.channels.values() for flow in listener_entries(network, each)]
    held = contents_of([*base_entries(network, "right"), *flows])
    right.tell_channels(channels_of(right, video=None), at_ns=20 * S)
    assert sends(right.hear(ContentsReported("right", held), at_ns=20 * S + GRACE_NS - 1)) == []
    (gone,) = listener_entries(network, network.channels["video"])
    assert sends(right.hear(ContentsReported("right", held), at_ns=20 * S + GRACE_NS)) == [(Withdrawal(gone.cookie),)]


def test_a_meter_goes_with_its_channel_and_when_the_channel_no_longer_wants_it() -> None:
    network = plain()
    strict = replace(network.channels["video"], excess=Excess.DROP)
    script = Script(replace(network, channels=network.channels | {"video": strict}), "left")
    installed(script)
    held = contents_of(all_entries(script.domain.network))
    assert isinstance(held.meters[17], Meter)
    commands = script.tell_channels(channels_of(script, video=network.channels["video"]))
    (batch,) = [command for command in commands if isinstance(command, Send)]
    assert batch.entries == talker_entries(network, network.channels["video"])
    script.confirm(batch)
    (strict_flow,) = [entry for entry in talker_entries(network, strict) if isinstance(entry, FlowEntry)]
    held = contents_of([*batch.entries, Withdrawal(strict_flow.cookie)], held)
    assert sends(script.hear(ContentsReported("left", held))) == [(MeterWithdrawal(17),)]
    foreign = replace(held, meters={5: None, 4711: Meter(4711, 1, 1)})
    assert sends(script.hear(ContentsReported("left", foreign))) == []


def test_a_channel_that_goes_takes_its_meter_with_it() -> None:
    network = plain()
    strict = replace(network.channels["video"], excess=Excess.DROP)
    script = Script(replace(network, channels=network.channels | {"video": strict}), "left")
    installed(script)
    held = contents_of(all_entries(script.domain.network))
    script.tell_channels(channels_of(script, video=None))
    (flow,) = [entry for entry in talker_entries(network, strict) if isinstance(entry, FlowEntry)]
    assert sends(script.hear(ContentsReported("left", held))) == [(Withdrawal(flow.cookie), MeterWithdrawal(17))]


def test_peers_come_and_go_with_the_channels_that_they_share(left: Script) -> None:
    assert list(left.domain.peers) == ["right"]
    commands = left.tell_channels({})
    assert Follow(()) in commands and left.domain.peers == {}
    left.hear(PeerReported("right", {}))
    left.hear(PeerGone("right", "is not running"))
    assert left.domain.peers == {}


def test_counts_go_on_when_a_switch_begins_anew(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    counted = {cookie: Traffic(7, 700) for cookie in held.flows}
    left.hear(ContentsReported("left", replace(held, flows=counted)))
    left.hear(ContentsReported("left", Contents()))
    left.hear(ContentsReported("left", replace(held, flows=dict.fromkeys(held.flows, Traffic(2, 200)))))
    assert left.domain.bridges["left"].traffic()[Purpose.TALKER, 17] == Traffic(9, 900)


def test_counts_go_on_after_a_restart_of_both_controller_and_switch_before_the_channels_are_told() -> None:
    network = plain()
    held = contents_of(all_entries(network))
    former = Counts(last=dict.fromkeys(held.flows, Traffic(7, 700)))
    domain = Domain(network, "left", {"left": former})
    domain.handle(SwitchConnected("left"), 0)
    assert KeepCounts({"left": former}) in domain.handle(ContentsReported("left", Contents()), S)
    domain.handle(ChannelsTold(network.channels), 2 * S)
    domain.handle(ContentsReported("left", replace(held, flows=dict.fromkeys(held.flows, Traffic(2, 200)))), 3 * S)
    assert domain.bridges["left"].traffic()[Purpose.TALKER, 17] == Traffic(9, 900)


def test_a_channel_that_comes_again_is_counted_from_zero(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    left.hear(ContentsReported("left", replace(held, flows=dict.fromkeys(held.flows, Traffic(7, 700)))))
    left.tell_channels({})
    left.hear(ContentsReported("left", replace(held, flows=dict.fromkeys(held.flows, Traffic(7, 700)))))
    left.tell_channels(plain().channels)
    left.hear(ContentsReported("left", held))
    assert left.domain.bridges["left"].traffic()[Purpose.TALKER, 17] == Traffic()


def test_what_was_sent_to_a_switch_is_counted(left: Script) -> None:
    installed(left)
    sent = left.domain.bridges["left"].changes_sent
    assert sent == len(all_entries(left.domain.network))
    left.hear(ContentsReported("left", contents_of(all_entries(left.domain.network))))
    assert left.domain.bridges["left"].changes_sent == sent
