"""Switches, shims and peers that come and go, and switches that have lost or found something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from support.domains import contents_of
from support.examples import example
from support.script import TABLE_FULL, S, Script, all_entries, installed, plain

from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    AskShim,
    Confirmed,
    Contents,
    ContentsReported,
    MetersReported,
    PeerGone,
    PeerReported,
    PortReported,
    Refused,
    Send,
    ShimGone,
    ShimReady,
    SwitchConnected,
    SwitchGone,
    Tell,
    Tick,
)
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Role, unknown_end
from controller.model import Excess
from controller.network.wiring import LIVENESS_PORT, UPLINK_PORT
from controller.openflow.counts import Traffic
from controller.openflow.flows import base_entries, talker_entries
from controller.openflow.pipeline import COOKIE_MARK, ClosedPort, FailoverGroup, Withdrawal


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
    left.hear(SwitchConnected("left", frozenset({UPLINK_PORT})))
    assert left.domain.shim.trouble == ""


def test_a_shim_that_is_bypassed_still_when_its_switch_comes_back_is_told_of_once(left: Script) -> None:
    left.hear(ShimReady(1))
    left.hear(SwitchConnected("left", frozenset({LIVENESS_PORT})))
    left.told.clear()
    left.hear(SwitchGone("left"))
    left.hear(SwitchConnected("left", frozenset({LIVENESS_PORT})))
    assert left.domain.shim.trouble == "does not forward; packets go past it"
    assert left.told == []


def test_meters_are_asked_where_there_are_any() -> None:
    network = plain()
    strict = replace(network.channels["video"], excess=Excess.DROP)
    script = Script(replace(network, channels=network.channels | {"video": strict}), "left")
    script.hear(SwitchConnected("left"))
    assert AskMeters("left") in script.hear(Tick())
    script.hear(MetersReported("left", {17: 5}))
    assert script.domain.bridges["left"].meters == {17: 5}


def test_of_a_peer_that_went_nothing_is_known(left: Script) -> None:
    left.hear(PeerReported("right", {"video": EndReport(role=Role.LISTENER, state=State.INSTALLED, packets=7)}))
    left.hear(PeerGone("right", "is not running"))
    end = left.domain.remote_end(left.domain.network.channels["video"])
    assert end == unknown_end(Role.LISTENER, "the controller of right is not running")


def test_a_batch_of_a_connection_that_ended_is_forgotten(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    left.one_send(ContentsReported("left", with_flows(held, {COOKIE_MARK | 1: Traffic()})))
    left.hear(SwitchGone("left"))
    left.hear(SwitchConnected("left"))
    left.one_send(ContentsReported("left", Contents()))
    left.hear(SwitchGone("left"))
    assert left.domain._batches == {}
