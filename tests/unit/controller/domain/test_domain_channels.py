"""Channels that come, change and go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from support.domains import contents_of
from support.networks import FAST, channel
from support.script import S, Script, all_entries, installed, plain

from controller.domain.domain import Domain
from controller.domain.events import (
    AskContents,
    ChannelsTold,
    Command,
    Contents,
    ContentsReported,
    Follow,
    KeepCounts,
    PeerGone,
    PeerReported,
    Publish,
    Send,
    SetQueues,
    SetShim,
    ShimGone,
    ShimReady,
    SwitchConnected,
    Tell,
    Tick,
)
from controller.domain.lifecycle import State
from controller.domain.parts import GRACE_NS
from controller.domain.reports import Role
from controller.model import Channel, Excess, Scheduler
from controller.network.labels import TICK_NS
from controller.openflow.counts import Counts, Traffic
from controller.openflow.flows import base_entries, listener_entries, talker_entries
from controller.openflow.pipeline import Entry, FlowEntry, Meter, MeterWithdrawal, Purpose, Withdrawal
from controller.store.records import StoreBack, StoreGone


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
    assert commands == [SetQueues(left.domain.network.channels)]


def test_a_switch_is_asked_when_a_flow_may_have_to_go_and_once_however_many_do(left: Script) -> None:
    installed(left)
    held = contents_of(all_entries(left.domain.network))
    left.hear(ContentsReported("left", held))
    video, audio = channels_of(left)["video"], channels_of(left)["audio"]
    more = replace(audio, name="more", label=19)
    assert AskContents("left") not in left.tell_channels({"video": video, "audio": audio, "more": more})
    assert AskContents("left") in left.tell_channels({"video": video, "audio": audio})
    assert AskContents("left") not in left.tell_channels({"audio": audio})
    assert AskContents("left") in left.hear(Tick()), "at least once a second, lest an answer never comes"
    assert AskContents("left") not in left.tell_channels({})
    assert AskContents("left") in left.hear(ContentsReported("left", held)), "for this answer may be older than the end"
    assert AskContents("left") not in left.hear(ContentsReported("left", Contents()))


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
    (queues,) = [command for command in commands if isinstance(command, SetQueues)]
    assert queues.channels["video"].wire_rate_bps == shim.settings.channels[17]["rate_bps"]
    assert shim.settings.channels[17]["downstream_ns"] == TICK_NS + 7000


def test_bounds_alone_are_news_to_the_shim(left: Script) -> None:
    """When a channel of other domains has come to a port on the way."""
    channels, port = left.domain.network.channels, ("middle", "right")
    told = []
    for bound_ns in (7000, 9000, 9000):
        commands = left.hear(ChannelsTold(channels, bounds={port: {"fast": bound_ns, "slow": 10_000}}))
        told.append([each.settings.channels[17]["downstream_ns"] for each in commands if isinstance(each, SetShim)])
    ((first_ns,), (second_ns,), third) = told
    assert (second_ns - first_ns, third) == (2000, [])


def test_behind_class_queues_meters_are_as_lenient_as_admission_has_found() -> None:
    network = plain().with_scheduler(Scheduler.QUEUES)
    dropping = replace(network.channels["audio"], excess=Excess.DROP)
    channels = {**network.channels, "audio": dropping}
    script = Script(replace(network, channels=channels), "left")
    contracts = []
    for jitter_ns in (None, 0, S // 1000):
        script.hear(ChannelsTold(channels, jitter_ns=jitter_ns))
        ends = script.domain.ends
        meters = [entry for end in ends.values() for entry in end.entries if isinstance(entry, Meter)]
        assert all(end.channel == channels[name] for name, end in ends.items())
        contracts.append({meter.meter_id: (meter.rate_kbps, meter.burst_kbits) for meter in meters})
    to_the_letter, headroom, jitter = (each[17] for each in contracts)
    assert to_the_letter[0] < headroom[0] == jitter[0]
    assert to_the_letter[1] == headroom[1] < jitter[1]
    assert len({each[18] for each in contracts}) == 1, "what is to be dropped is dropped"


def test_a_new_channel_waits_until_the_shim_has_its_terms(left: Script) -> None:
    network = left.domain.network
    new = channel("new", network.vms["vm1"], network.vms["vm2"], 19, FAST)
    installed(left)
    assert sends(left.tell_channels(channels_of(left, new=new))) == []
    left.tell_listeners(State.INSTALLED)
    assert left.end("new") == (State.WAITING, "the shim of left has not taken its terms yet")
    batch = left.one_send(ShimReady(left.revision))
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


def test_counts_go_on_when_a_channel_changes_after_its_switch_began_anew(left: Script) -> None:
    installed(left)
    network = left.domain.network
    changed = replace(network.channels["video"], deadline_ns=network.channels["video"].deadline_ns - 100_000)
    (flow,), (other,) = talker_entries(network, network.channels["video"]), talker_entries(network, changed)
    held = contents_of(all_entries(network))

    def packets_once_told(contents: Contents) -> int:
        left.hear(ContentsReported("left", contents))
        return packets()

    def packets() -> int:
        return left.domain.bridges["left"].traffic()[Purpose.TALKER, 17].packets

    assert isinstance(flow, FlowEntry) and isinstance(other, FlowEntry) and flow.cookie != other.cookie
    assert packets_once_told(replace(held, flows={**held.flows, flow.cookie: Traffic(1000, 60_000)})) == 1000
    assert packets_once_told(Contents()) == 1000
    assert packets_once_told(replace(held, flows={**held.flows, flow.cookie: Traffic(5, 300)})) == 1005
    left.tell_channels(channels_of(left, video=changed))
    assert packets() == 1005
    left.hear(ShimReady(left.revision))
    assert packets() == 1005
    del held.flows[flow.cookie]  # type: ignore[attr-defined]
    assert packets_once_told(replace(held, flows={**held.flows, other.cookie: Traffic(6, 360)})) == 1006


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
