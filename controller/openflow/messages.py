"""Entries as OpenFlow 1.3 messages of os-ken, and its answers as our own data. Keeps no state, sends nothing."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from controller.domain.events import QueueCount
from controller.openflow.counts import Traffic
from controller.openflow.pipeline import (
    COOKIE_MARK,
    COOKIE_MARK_MASK,
    ETH_MPLS,
    LISTENER,
    Action,
    AnyMeter,
    Bucket,
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    Group,
    Meter,
    MeterWithdrawal,
    Output,
    PacketMeter,
    PopMpls,
    Purpose,
    PushMpls,
    ReparseGroup,
    SetField,
    SetMplsTtl,
    SetQueue,
    ToController,
    ToGroup,
    Withdrawal,
    is_ours,
    purpose_and_subject,
)
from controller.without_eventlet import without_eventlet

with without_eventlet():
    from os_ken.ofproto import ofproto_v1_3 as ofp
    from os_ken.ofproto import ofproto_v1_3_parser as parser

VERSION: int = ofp.OFP_VERSION
HEADER = struct.Struct(ofp.OFP_HEADER_PACK_STR)
GROUP_ADD_OR_MODIFY = 0x8000
"""Open vSwitch's own group command: no error whether the group is there or not."""

WHOLE_COOKIE = 0xFFFFFFFFFFFFFFFF

Message = Any
Datapath = Any


class UnknownPortError(LookupError):
    """An entry for a port that the switch did not tell of."""


def parsed(datapath: Datapath, frame: bytes) -> Message:
    """The message in `frame`, which `frames` has found sound. Raises what os-ken raises where it does not know a field.

    Not by os-ken's `ofproto_parser.msg`: that prints all bytes of what it cannot read.
    """
    version, kind, length, xid = HEADER.unpack_from(frame)
    return parser.msg_parser(datapath, version, kind, length, xid, frame)


def messages(datapath: Datapath, entry: Entry) -> list[Message]:
    """What puts `entry` into the switch, whatever was there before. Raises UnknownPortError.

    All but the last may be answered by an error that means nothing.
    """
    if isinstance(entry, Meter | PacketMeter):
        return [_meter(datapath, entry, command) for command in (ofp.OFPMC_ADD, ofp.OFPMC_MODIFY)]
    return [_BUILDERS[type(entry)](datapath, entry)]


def barrier(datapath: Datapath) -> Message:
    return parser.OFPBarrierRequest(datapath)


def contents_questions(datapath: Datapath) -> Iterator[Message]:
    """Ask for all groups, all meters, and last for all flows that bear our mark."""
    yield parser.OFPGroupDescStatsRequest(datapath)
    yield parser.OFPMeterConfigStatsRequest(datapath)
    yield parser.OFPFlowStatsRequest(datapath, cookie=COOKIE_MARK, cookie_mask=COOKIE_MARK_MASK)


def meters_question(datapath: Datapath) -> Message:
    return parser.OFPMeterStatsRequest(datapath)


def queues_question(datapath: Datapath) -> Message:
    return parser.OFPQueueStatsRequest(datapath)


def flows_answer(body: Iterable[Any]) -> dict[int, Traffic]:
    """What each of our flows has counted, by cookie."""
    flows: dict[int, Traffic] = {}
    for flow in body:
        if is_ours(flow.cookie):
            flows[flow.cookie] = flows.get(flow.cookie, Traffic()) + Traffic(flow.packet_count, flow.byte_count)
    return flows


def groups_answer(body: Iterable[Any]) -> dict[int, Group | None]:
    """By number; None for a group that is none of ours."""
    return {group.group_id: _group(group) for group in body}


def meter_settings_answer(body: Iterable[Any]) -> dict[int, AnyMeter | None]:
    """By number; None for a meter that is none of ours."""
    return {meter.meter_id: _meter_settings(meter) for meter in body}


def queues_answer(body: Iterable[Any]) -> tuple[QueueCount, ...]:
    return tuple(
        QueueCount(queue.port_no, queue.queue_id, Traffic(queue.tx_packets, queue.tx_bytes), queue.tx_errors)
        for queue in body
    )


def meters_answer(body: Iterable[Any]) -> dict[int, int]:
    """How many packets each meter has dropped."""
    return {meter.meter_id: sum(band.packet_band_count for band in meter.band_stats) for meter in body}


def packet_out(datapath: Datapath, port: int, frame: bytes) -> Message:
    """Have the switch send `frame` by `port`."""
    actions = [parser.OFPActionOutput(port, 0)]
    return parser.OFPPacketOut(datapath, ofp.OFP_NO_BUFFER, ofp.OFPP_CONTROLLER, actions, frame)


def packet_handed_up(message: Message) -> tuple[int, bytes] | None:
    """The port by which a packet came in, and the packet; None for one that no flow of ours for guests hands up."""
    if not is_ours(message.cookie):
        return None
    try:
        purpose, port = purpose_and_subject(message.cookie)
    except ValueError:  # of another version of this program
        return None
    return (port, message.data) if purpose is Purpose.GUEST else None


def ports_down(datapath: Datapath) -> frozenset[int]:
    """The ports that were without a carrier, or set down, when the switch connected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # os-ken warns that it does not follow changes; `app` does
        return frozenset(number for number, port in datapath.ports.items() if is_down(port))


def closed_ports(datapath: Datapath) -> set[int]:
    """The ports that nothing left by when the switch connected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # os-ken warns that it does not follow changes; `app` does
        return {number for number, port in datapath.ports.items() if is_closed(port)}


def is_closed(port: Any) -> bool:
    return bool(port.config & ofp.OFPPC_NO_FWD)


def is_down(port: Any) -> bool:
    return bool(port.state & ofp.OFPPS_LINK_DOWN or port.config & ofp.OFPPC_PORT_DOWN)


def error_text(error_type: int, code: int | None) -> str:
    """An error message of the switch in the words of the OpenFlow specification, such as OFPFMFC_TABLE_FULL.

    A vendor's own error has no code.
    """
    if code is None:
        return str(ofp.ofp_error_type_to_str(error_type))
    return f"{ofp.ofp_error_type_to_str(error_type)} {ofp.ofp_error_code_to_str(error_type, code)}"


def is_last_part(multipart: Message) -> bool:
    """Whether no more parts of this answer follow."""
    return not multipart.flags & ofp.OFPMPF_REPLY_MORE


def _flow(datapath: Datapath, entry: FlowEntry) -> Message:
    instructions = []
    if entry.meter_id is not None:
        instructions.append(parser.OFPInstructionMeter(entry.meter_id))
    if entry.actions:
        instructions.append(parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, _actions(entry.actions)))
    if entry.goto is not None:
        instructions.append(parser.OFPInstructionGotoTable(entry.goto.number))
    return parser.OFPFlowMod(
        datapath,
        cookie=entry.cookie,
        table_id=entry.table.number,
        command=ofp.OFPFC_ADD,
        priority=entry.priority,
        match=parser.OFPMatch(**entry.match),
        instructions=instructions,
    )


def _actions(actions: Iterable[Action]) -> list[Any]:
    return [_ACTIONS[type(action)](action) for action in actions]


def _meter(datapath: Datapath, entry: AnyMeter, command: int) -> Message:
    """To add one that is there is an error, and so is to change one that is not."""
    if isinstance(entry, PacketMeter):
        flags, band = _PACKET_METER_FLAGS, parser.OFPMeterBandDrop(rate=entry.packets_per_s, burst_size=entry.burst)
    else:
        flags, band = _METER_FLAGS, parser.OFPMeterBandDrop(rate=entry.rate_kbps, burst_size=entry.burst_kbits)
    return parser.OFPMeterMod(datapath, command, flags, entry.meter_id, [band])


def _meter_settings(found: Any) -> AnyMeter | None:
    if [type(band) for band in found.bands] != [parser.OFPMeterBandDrop]:
        return None
    settings = found.meter_id, found.bands[0].rate, found.bands[0].burst_size
    if found.flags == _PACKET_METER_FLAGS:
        return PacketMeter(*settings)
    return Meter(*settings) if found.flags == _METER_FLAGS else None


def _failover_group(datapath: Datapath, entry: FailoverGroup) -> Message:
    buckets = [
        parser.OFPBucket(
            watch_port=bucket.watch_port,
            watch_group=ofp.OFPG_ANY,
            actions=_actions((*bucket.pops, Output(bucket.port))),
        )
        for bucket in entry.buckets
    ]
    return parser.OFPGroupMod(datapath, GROUP_ADD_OR_MODIFY, ofp.OFPGT_FF, entry.group_id, buckets)


def _reparse_group(datapath: Datapath, entry: ReparseGroup) -> Message:
    """Open vSwitch chooses a bucket by a hash that its fast path computes; then the packet goes through that again."""
    resubmit = parser.NXActionResubmitTable(ofp.OFPP_IN_PORT & 0xFFFF, entry.table.number)
    bucket = parser.OFPBucket(1, ofp.OFPP_ANY, ofp.OFPG_ANY, [resubmit])
    return parser.OFPGroupMod(datapath, GROUP_ADD_OR_MODIFY, ofp.OFPGT_SELECT, entry.group_id, [bucket])


def _group(found: Any) -> Group | None:
    """A group as the switch describes it."""
    try:
        if found.type == ofp.OFPGT_FF:
            return FailoverGroup(found.group_id, tuple(map(_failover_bucket, found.buckets)))
        ((resubmit,),) = (bucket.actions for bucket in found.buckets)
        return (
            ReparseGroup(found.group_id, _REPARSE_TABLES[resubmit.table_id]) if found.type == ofp.OFPGT_SELECT else None
        )
    except (AttributeError, KeyError, ValueError):  # other actions than ours
        return None


def _failover_bucket(bucket: Any) -> Bucket:
    *pops, output = bucket.actions
    return Bucket(bucket.watch_port, output.port, tuple(PopMpls(pop.ethertype) for pop in pops))


def _closed_port(datapath: Datapath, entry: ClosedPort) -> Message:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # os-ken warns that it does not follow changes; ports are declared, and stay
        port = datapath.ports.get(entry.port)
    if port is None:
        raise UnknownPortError(f"the switch has no port {entry.port}")
    return parser.OFPPortMod(datapath, entry.port, port.hw_addr, config=ofp.OFPPC_NO_FWD, mask=ofp.OFPPC_NO_FWD)


def _withdrawal(datapath: Datapath, entry: Withdrawal) -> Message:
    return parser.OFPFlowMod(
        datapath,
        cookie=entry.cookie,
        cookie_mask=WHOLE_COOKIE,
        table_id=ofp.OFPTT_ALL,
        command=ofp.OFPFC_DELETE,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=parser.OFPMatch(),
    )


def _meter_withdrawal(datapath: Datapath, entry: MeterWithdrawal) -> Message:
    return parser.OFPMeterMod(datapath, ofp.OFPMC_DELETE, 0, entry.meter_id)


_METER_FLAGS: int = ofp.OFPMF_KBPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS
_PACKET_METER_FLAGS: int = ofp.OFPMF_PKTPS | ofp.OFPMF_BURST | ofp.OFPMF_STATS
_REPARSE_TABLES = {LISTENER.number: LISTENER}

_BUILDERS: Mapping[type[Any], Callable[[Datapath, Any], Message]] = {
    FlowEntry: _flow,
    FailoverGroup: _failover_group,
    ReparseGroup: _reparse_group,
    ClosedPort: _closed_port,
    Withdrawal: _withdrawal,
    MeterWithdrawal: _meter_withdrawal,
}

_ACTIONS: Mapping[type[Action], Callable[[Any], Any]] = {
    PushMpls: lambda _: parser.OFPActionPushMpls(ETH_MPLS),
    PopMpls: lambda action: parser.OFPActionPopMpls(action.eth_type),
    SetField: lambda action: parser.OFPActionSetField(**{action.field: action.value}),
    SetMplsTtl: lambda action: parser.OFPActionSetMplsTtl(action.ttl),
    SetQueue: lambda action: parser.OFPActionSetQueue(action.queue_id),
    Output: lambda action: parser.OFPActionOutput(action.port, 0),
    ToGroup: lambda action: parser.OFPActionGroup(action.group_id),
    ToController: lambda action: parser.OFPActionOutput(ofp.OFPP_CONTROLLER, action.most_bytes),
}
