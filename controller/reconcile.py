"""The difference between what a switch is to have and what it says that it has.

Pure. What is there already is not sent again, and what bears no mark of ours is never touched: flows are known by their
cookies, groups and meters by their numbers and contents. A meter is ours where it has the number of a channel whose
flows we find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from controller.events import Contents
from controller.pipeline import (
    ClosedPort,
    Entry,
    FailoverGroup,
    FlowEntry,
    Meter,
    MeterWithdrawal,
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

    The first function is asked for cookies, the second for the labels of channels whose flows are there.
    """
    cookies = sorted(cookie for cookie in contents.flows if not is_flow_wanted(cookie))
    labels = {label for cookie in contents.flows if (label := talker_label(cookie)) is not None}
    meters = sorted(label for label in labels & contents.meters.keys() if not is_meter_wanted(label))
    return [*map(Withdrawal, cookies), *map(MeterWithdrawal, meters)]


def talker_label(cookie: int) -> int | None:
    """The label of the channel whose talker's flow has this cookie; None for all other flows."""
    found = channel_end(cookie)
    return found[1] if found and found[0] is Purpose.TALKER else None


def channel_end(cookie: int) -> tuple[Purpose, int] | None:
    """Which end of which channel a flow with this cookie is for; None for one of the bridge's own."""
    try:
        purpose, label = purpose_and_subject(cookie)
    except ValueError:  # of another version of this program
        return None
    return (purpose, label) if purpose in CHANNEL_PURPOSES else None


def _is_there(entry: Entry, contents: Contents) -> bool:
    match entry:
        case FlowEntry():
            return entry.cookie in contents.flows
        case FailoverGroup() | ReparseGroup():
            return contents.groups.get(entry.group_id) == entry
        case Meter():
            return contents.meters.get(entry.meter_id) == entry
        case ClosedPort():
            return entry.port in contents.closed_ports
        case Withdrawal() | MeterWithdrawal():
            return False
