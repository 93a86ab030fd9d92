"""The difference between what a switch is to have and what it says that it has.

Pure. What is there already is not sent again, and what bears no mark of ours is never touched: flows are known by their
cookies, groups and meters by their numbers and contents. A meter is ours where it has the number of a channel, or of a
guest's port, whose flows we find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from controller.domain.events import Contents
from controller.guests.entries import meter_id
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

CHANNEL_PURPOSES = (Purpose.TALKER, Purpose.LISTENER)


def missing(entries: Iterable[Entry], contents: Contents) -> Iterator[Entry]:
    """Those of `entries` that the switch does not have, or not like that; in their order."""
    return (entry for entry in entries if not _is_there(entry, contents))


def unwanted(
    contents: Contents, is_flow_wanted: Callable[[int], bool], is_meter_wanted: Callable[[int], bool]
) -> list[Entry]:
    """What takes from the switch the flows and meters of ours that are not wanted.

    The first function is asked for cookies, the second for the numbers of meters whose flows are there.
    """
    cookies = sorted(cookie for cookie in contents.flows if not is_flow_wanted(cookie))
    numbers = {number for cookie in contents.flows if (number := metered_by(cookie)) is not None}
    meters = sorted(number for number in numbers & contents.meters.keys() if not is_meter_wanted(number))
    return [*map(Withdrawal, cookies), *map(MeterWithdrawal, meters)]


def metered_by(cookie: int) -> int | None:
    """The number of the meter that a flow with this cookie goes through if it has one; None for all other flows."""
    match _meaning(cookie):
        case (Purpose.TALKER, label):
            return label
        case (Purpose.GUEST, port):
            return meter_id(port)
    return None


def channel_end(cookie: int) -> tuple[Purpose, int] | None:
    """Which end of which channel a flow with this cookie is for; None for one of the bridge's own."""
    found = _meaning(cookie)
    return found if found and found[0] in CHANNEL_PURPOSES else None


def _meaning(cookie: int) -> tuple[Purpose, int] | None:
    try:
        return purpose_and_subject(cookie)
    except ValueError:  # of another version of this program
        return None


def _is_there(entry: Entry, contents: Contents) -> bool:
    match entry:
        case FlowEntry():
            return entry.cookie in contents.flows
        case FailoverGroup() | ReparseGroup():
            return contents.groups.get(entry.group_id) == entry
        case Meter() | PacketMeter():
            return contents.meters.get(entry.meter_id) == entry
        case ClosedPort():
            return entry.port in contents.closed_ports
        case Withdrawal() | MeterWithdrawal():
            return False
