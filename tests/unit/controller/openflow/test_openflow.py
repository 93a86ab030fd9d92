"""Entries on the wire: what os-ken makes of them, read back."""

from __future__ import annotations

import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.examples import all_networks, example
from support.fake_datapath import HARDWARE_ADDRESS, FakeDatapath, flow_stats, multipart, on_the_wire, parsed

from controller.domain.events import QueueCount
from controller.model import Excess, Network, Scheduler
from controller.network.labels import TTL_CHANNEL, TTL_RELATIVE
from controller.network.wiring import ports_of
from controller.openflow import messages
from controller.openflow.counts import Traffic
from controller.openflow.flows import base_entries, listener_entries, talker_entries
from controller.openflow.pipeline import (
    COOKIE_MARK,
    COOKIE_MARK_MASK,
    FORWARD,
    LISTENER,
    MULTICAST,
    REPARSE_GROUP,
    UPLINK_GROUP,
    Bucket,
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    Group,
    Meter,
    MeterWithdrawal,
    Output,
    Purpose,
    ReparseGroup,
    Withdrawal,
)

# isort: split
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

GROUP_MOD = "!HBxI"
BUCKET = "!HHII4x"
METER_MOD = "!HHI"
METER_BAND = "!HHII"
PORT_MOD = "!I4x6s2xII"
HEADER = 8


@pytest.fixture
def datapath() -> FakeDatapath:
    return FakeDatapath()


def entries_of(network: Network) -> dict[str, list[Entry]]:
    """All entries, by bridge."""
    bridges = [bridge for name in network.hypervisors for bridge in network.bridges_of(name)]
    found: dict[str, list[Entry]] = {bridge: list(base_entries(network, bridge)) for bridge in bridges}
    for channel in network.channels.values():
        if network.is_scheduled(channel):
            found[network.talker_domain(channel)] += talker_entries(network, channel)
            for domain in network.domains(channel)[1:]:
                found[domain] += listener_entries(network, channel)
    return found


def written_and_read(datapath: FakeDatapath, entry: Entry) -> Any:
    return parsed(datapath, on_the_wire(messages.messages(datapath, entry)[-1]))


def actions_of(message: Any) -> list[Any]:
    """Of the apply-actions instruction, where there is one."""
    return [action for each in message.instructions for action in getattr(each, "actions", [])]


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("name", all_networks(Scheduler.EDF))
def test_every_flow_comes_through_as_it_was_meant(name: str, scheduler: Scheduler) -> None:
    network = all_networks(scheduler)[name]
    for bridge, entries in entries_of(network).items():
        datapath = FakeDatapath(ports=[port.number for port in ports_of(network, bridge)])
        for entry in entries:
            message = messages.messages(datapath, entry)[-1]
            data = on_the_wire(message)
            assert len(data) % 8 == 0
            if not isinstance(entry, FlowEntry):
                continue
            read = parsed(datapath, data)
            assert (read.cookie, read.table_id, read.priority) == (entry.cookie, entry.table.number, entry.priority)
            assert dict(read.match.items()) == dict(entry.match)
            assert len(actions_of(read)) == len(entry.actions)
            gotos = [each.table_id for each in read.instructions if isinstance(each, parser.OFPInstructionGotoTable)]
            assert gotos == ([] if entry.goto is None else [entry.goto.number])
            assert (read.command, read.idle_timeout, read.hard_timeout) == (ofp.OFPFC_ADD, 0, 0)
            assert read.buffer_id == ofp.OFP_NO_BUFFER


def test_a_talkers_flow(datapath: FakeDatapath) -> None:
    network = example("two_hypervisors")
    control = network.channels["control"]
    (entry,) = talker_entries(network, control)
    read = written_and_read(datapath, entry)
    assert dict(read.match.items()) == {
        "in_port": 11,
        "eth_type": 0x0800,
        "ipv4_src": "10.0.0.2",
        "ipv4_dst": "10.0.0.12",
        "ip_proto": 17,
        "udp_dst": 7000,
    }
    tc = control.deadline_class.queue_id
    assert [_said(action) for action in actions_of(read)] == [
        ("set", "ip_dscp", control.deadline_class.dscp),
        ("push", 0x8847),
        ("set", "mpls_label", control.label),
        ("set", "mpls_tc", tc),
        ("ttl", TTL_CHANNEL),
        ("push", 0x8847),
        ("set", "mpls_label", 300),
        ("set", "mpls_tc", tc),
        ("ttl", TTL_RELATIVE),
        ("queue", tc),
        ("group", UPLINK_GROUP),
    ]


def test_a_listeners_flow(datapath: FakeDatapath) -> None:
    network = example("two_hypervisors")
    channel = network.channels["telemetry-v6"]
    (entry,) = listener_entries(network, channel)
    read = written_and_read(datapath, entry)
    assert dict(read.match.items()) == {
        "eth_type": 0x8847,
        "eth_dst": network.vms["plant"].mac,
        "mpls_label": channel.label,
        "mpls_bos": 1,
    }
    assert [_said(action) for action in actions_of(read)] == [("pop", 0x86DD), ("output", 11)]


def _said(action: Any) -> tuple[Any, ...]:
    match action:
        case parser.OFPActionSetField():
            return ("set", action.key, action.value)
        case parser.OFPActionPushMpls():
            return ("push", action.ethertype)
        case parser.OFPActionPopMpls():
            return ("pop", action.ethertype)
        case parser.OFPActionSetMplsTtl():
            return ("ttl", action.mpls_ttl)
        case parser.OFPActionSetQueue():
            return ("queue", action.queue_id)
        case parser.OFPActionGroup():
            return ("group", action.group_id)
        case _:
            return ("output", action.port)


def test_a_masked_match(datapath: FakeDatapath) -> None:
    entry = FlowEntry(FORWARD, 10, {"eth_dst": MULTICAST}, Purpose.FORWARDING, actions=(Output(10),))
    assert dict(written_and_read(datapath, entry).match.items()) == {"eth_dst": MULTICAST}


def test_a_drop_has_no_instructions(datapath: FakeDatapath) -> None:
    assert written_and_read(datapath, FlowEntry(FORWARD, 0, {}, Purpose.SPOOFED)).instructions == []


def test_a_group_is_put_in_place_whether_it_is_there_or_not(datapath: FakeDatapath) -> None:
    entry = FailoverGroup(UPLINK_GROUP, (Bucket(watch_port=3, port=2), Bucket(watch_port=1, port=1)))
    data = on_the_wire(messages.messages(datapath, entry)[-1])
    assert struct.unpack_from(GROUP_MOD, data, HEADER) == (0x8000, ofp.OFPGT_FF, UPLINK_GROUP)
    first = HEADER + struct.calcsize(GROUP_MOD)
    length, _, watch_port, watch_group = struct.unpack_from(BUCKET, data, first)
    assert (watch_port, watch_group) == (3, ofp.OFPG_ANY)
    _, _, next_watch_port, _ = struct.unpack_from(BUCKET, data, first + length)
    assert next_watch_port == 1
    outputs = [parser.OFPAction.parser(data, at + struct.calcsize(BUCKET)).port for at in (first, first + length)]
    assert outputs == [2, 1]


def test_a_group_that_has_the_switch_read_a_packet_afresh(datapath: FakeDatapath) -> None:
    data = on_the_wire(messages.messages(datapath, ReparseGroup(REPARSE_GROUP, LISTENER))[-1])
    assert struct.unpack_from(GROUP_MOD, data, HEADER) == (0x8000, ofp.OFPGT_SELECT, REPARSE_GROUP)
    first = HEADER + struct.calcsize(GROUP_MOD)
    (resubmit,) = [parser.OFPAction.parser(data, first + struct.calcsize(BUCKET))]
    assert (resubmit.in_port, resubmit.table_id) == (0xFFF8, LISTENER.number)


def test_a_meter_is_added_or_else_changed(datapath: FakeDatapath) -> None:
    commands = []
    for message in messages.messages(datapath, Meter(3, 1514, 32)):
        data = on_the_wire(message)
        command, flags, meter_id = struct.unpack_from(METER_MOD, data, HEADER)
        kind, length, rate, burst = struct.unpack_from(METER_BAND, data, HEADER + struct.calcsize(METER_MOD))
        assert (meter_id, flags) == (3, ofp.OFPMF_KBPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS)
        assert (kind, length, rate, burst) == (ofp.OFPMBT_DROP, 16, 1514, 32)
        commands.append(command)
    assert commands == [ofp.OFPMC_ADD, ofp.OFPMC_MODIFY]


def test_a_flow_goes_through_its_meter_first(datapath: FakeDatapath) -> None:
    network = example("two_hypervisors")
    strict = replace(network.channels["control"], excess=Excess.DROP)
    *_, flow = talker_entries(replace(network, channels={"control": strict}), strict)
    meter, actions = written_and_read(datapath, flow).instructions
    assert (meter.meter_id, meter.type, actions.type) == (strict.label, ofp.OFPIT_METER, ofp.OFPIT_APPLY_ACTIONS)


def test_what_the_meters_dropped() -> None:
    bands = [SimpleNamespace(packet_band_count=count) for count in (3, 4)]
    assert messages.meters_answer([SimpleNamespace(meter_id=2, band_stats=bands)]) == {2: 7}


@pytest.mark.parametrize(("state", "config", "is_down"), [(0, 0, False), (1, 0, True), (0, 1, True), (4, 0, False)])
def test_a_port_is_down_without_a_carrier_or_when_it_is_set_so(state: int, config: int, is_down: bool) -> None:
    assert messages.is_down(SimpleNamespace(state=state, config=config)) is is_down


def test_a_closed_port_keeps_its_hardware_address(datapath: FakeDatapath) -> None:
    data = on_the_wire(messages.messages(datapath, ClosedPort(3))[-1])
    number, address, config, mask = struct.unpack_from(PORT_MOD, data, HEADER)
    assert (number, address.hex(":"), config, mask) == (3, HARDWARE_ADDRESS % 3, ofp.OFPPC_NO_FWD, ofp.OFPPC_NO_FWD)


def test_a_port_that_the_switch_does_not_have(datapath: FakeDatapath) -> None:
    with pytest.raises(messages.UnknownPortError, match="the switch has no port 99"):
        messages.messages(datapath, ClosedPort(99))


def test_a_withdrawal_takes_exactly_one_cookie_from_every_table(datapath: FakeDatapath) -> None:
    cookie = COOKIE_MARK | 4711
    read = written_and_read(datapath, Withdrawal(cookie))
    assert (read.cookie, read.cookie_mask) == (cookie, 0xFFFFFFFFFFFFFFFF)
    assert (read.command, read.table_id) == (ofp.OFPFC_DELETE, ofp.OFPTT_ALL)
    assert (read.out_port, read.out_group, dict(read.match.items())) == (ofp.OFPP_ANY, ofp.OFPG_ANY, {})


# Questions and answers


def test_questions_can_be_sent(datapath: FakeDatapath) -> None:
    groups, meters, flows = messages.contents_questions(datapath)
    assert meters.meter_id == ofp.OFPM_ALL
    assert (flows.cookie, flows.cookie_mask, flows.table_id) == (COOKIE_MARK, COOKIE_MARK_MASK, ofp.OFPTT_ALL)
    assert (flows.out_port, flows.out_group) == (ofp.OFPP_ANY, ofp.OFPG_ANY)
    queues = messages.queues_question(datapath)
    assert (queues.port_no, queues.queue_id) == (ofp.OFPP_ANY, ofp.OFPQ_ALL)
    for message in (groups, meters, flows, queues, messages.barrier(datapath)):
        assert on_the_wire(message)[0] == messages.VERSION


def group_as_told(datapath: FakeDatapath, entry: Entry) -> Any:
    """What a switch that has taken a group says of it."""
    (message,) = messages.messages(datapath, entry)
    return parser.OFPGroupDescStats(type_=message.type, group_id=message.group_id, buckets=message.buckets)


@pytest.mark.parametrize("name", all_networks(Scheduler.EDF))
def test_our_groups_are_known_again(datapath: FakeDatapath, name: str) -> None:
    groups = [entry for entry in base_entries(all_networks(Scheduler.EDF)[name], "left") if isinstance(entry, Group)]
    assert len(groups) > 2
    told = messages.groups_answer([group_as_told(datapath, entry) for entry in groups])
    assert told == {entry.group_id: entry for entry in groups}


@pytest.mark.parametrize(
    ("kind", "actions"),
    [
        (ofp.OFPGT_FF, [parser.OFPActionSetQueue(1)]),
        (ofp.OFPGT_FF, []),
        (ofp.OFPGT_SELECT, [parser.OFPActionOutput(1, 0)]),
        (ofp.OFPGT_ALL, [parser.NXActionResubmitTable(0xFFF8, 3)]),
        (ofp.OFPGT_SELECT, [parser.NXActionResubmitTable(0xFFF8, 9)]),
        (ofp.OFPGT_INDIRECT, [parser.OFPActionOutput(1, 0)]),
    ],
)
def test_a_group_that_is_none_of_ours(kind: int, actions: list[Any]) -> None:
    bucket = parser.OFPBucket(watch_port=3, watch_group=ofp.OFPG_ANY, actions=actions)
    found = parser.OFPGroupDescStats(type_=kind, group_id=9, buckets=[bucket])
    assert messages.groups_answer([found]) == {9: None}


def test_meters_are_known_again_and_those_of_others_are_none_of_ours() -> None:
    ours = ofp.OFPMF_KBPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS
    drop, remark = parser.OFPMeterBandDrop(600, 32), parser.OFPMeterBandDscpRemark(600, 32, 1)
    told = [(ours, [drop]), (ofp.OFPMF_PKTPS, [drop]), (ours, [remark]), (ours, [drop, drop]), (ours, [])]
    found = [
        parser.OFPMeterConfigStats(flags=flags, meter_id=number, bands=bands)
        for number, (flags, bands) in enumerate(told, 17)
    ]
    assert messages.meter_settings_answer(found) == {17: Meter(17, 600, 32)} | dict.fromkeys(range(18, 22))


def test_a_port_that_nothing_leaves_by(datapath: FakeDatapath) -> None:
    assert messages.closed_ports(datapath) == set()
    datapath.ports[4].config = ofp.OFPPC_NO_FWD
    assert messages.closed_ports(datapath) == {4}


def test_a_meter_is_withdrawn_by_its_number(datapath: FakeDatapath) -> None:
    command, _, meter_id = struct.unpack_from(
        METER_MOD, on_the_wire(messages.messages(datapath, MeterWithdrawal(17))[-1]), HEADER
    )
    assert (command, meter_id) == (ofp.OFPMC_DELETE, 17)


def test_flows_of_one_cookie_are_added_up_and_those_of_others_left_out() -> None:
    ours, also_ours, foreign = COOKIE_MARK | 1, COOKIE_MARK | 2, 7
    body = flow_stats((ours, 1, 60), (foreign, 9, 900), (also_ours, 0, 0), (ours, 2, 200))
    assert messages.flows_answer(body) == {ours: Traffic(3, 260), also_ours: Traffic(0, 0)}


def test_queues() -> None:
    body = [
        parser.OFPQueueStats(
            port_no=1, queue_id=5, tx_bytes=300, tx_packets=3, tx_errors=2, duration_sec=0, duration_nsec=0
        )
    ]
    assert messages.queues_answer(body) == (QueueCount(1, 5, Traffic(3, 300), 2),)


def test_the_last_part_of_an_answer() -> None:
    assert messages.is_last_part(multipart([]))
    assert not messages.is_last_part(multipart([], has_more=True))


def test_errors_bear_the_names_of_the_specification() -> None:
    text = messages.error_text(ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL)
    assert "OFPET_FLOW_MOD_FAILED" in text
    assert "OFPFMFC_TABLE_FULL" in text


def test_an_error_that_nobody_knows_is_told_all_the_same() -> None:
    assert "4711" in messages.error_text(4711, 99)
