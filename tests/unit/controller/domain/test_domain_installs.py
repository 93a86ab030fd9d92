"""From nothing to installed: what waits for what."""

from __future__ import annotations

from dataclasses import replace

from support.domains import contents_of
from support.examples import example
from support.networks import FAST, channel, two_hypervisors
from support.script import S, Script, plain

from controller.domain.events import (
    AskContents,
    AskQueues,
    Contents,
    ContentsReported,
    PeerGone,
    PeerReported,
    Send,
    ShimGone,
    ShimReady,
    SwitchConnected,
    Tick,
)
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Role
from controller.model import Scheduler, SwitchKind
from controller.openflow.flows import base_entries, listener_entries, talker_entries
from controller.openflow.pipeline import FailoverGroup, FlowEntry


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
