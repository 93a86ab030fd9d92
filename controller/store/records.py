"""What the channel store holds, as data: channels with owner, version and standing, rows to and from them.

Pure. A *row* is a dict of columns with values as `ovs.db.idl` gives them: a set is a list, an optional value a list of
one or none. docs/store.md tells of every column. A channel's version is the store's revision at its last change, so a
name that was removed and taken again does not get an old version back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

from controller.model import Bypass, Channel, DeadlineClass, Excess, Late, Protocol

Row = Mapping[str, Any]
Bounds = Mapping[tuple[str, str], Mapping[str, int | None]]
"""By node and peer of a port, and by class: the longest that a packet takes there, None where nothing limits it."""

NO_JITTER_NS = -1
"""`jitter_ns` where shims hold channels to the letter of their contracts."""

STANDING_COLUMNS = frozenset({"talker_state", "talker_reason", "listener_state", "listener_reason"})
"""What controllers write back; no change of a channel."""

_NO_LIMIT_NS = -1


class Owner(StrEnum):
    """Who asked for a channel, and may change it: a topology file, REST, or a guest."""

    FILE = "file"
    REST = "rest"
    GUEST = "guest"


@dataclass(frozen=True)
class EndStanding:
    """What an end's controller last said of it. `state` is empty until it has spoken of this version."""

    state: str = ""
    reason: str = ""


UNKNOWN = EndStanding()


@dataclass(frozen=True)
class Record:
    """A channel in the store. `domains`: those of its ends and of Open vSwitch switches on its way, sorted, each once.

    Records with the same content are equal, whatever their standing. A writer need not set `version`: the store does.
    """

    channel: Channel
    owner: Owner
    version: int
    domains: tuple[str, ...]
    talker: EndStanding = field(default=UNKNOWN, compare=False)
    listener: EndStanding = field(default=UNKNOWN, compare=False)


@dataclass(frozen=True)
class Snapshot:
    """The store at one moment. `records` are sorted by name. `topology` is the digest of the network that took them.

    `slacks` are the best-effort slacks in ns, by hypervisor, that admission counts on.
    """

    revision: int
    topology: str
    jitter_ns: int
    records: Mapping[str, Record]
    bounds: Bounds
    slacks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What a writer wants of the store, all or nothing. What is None stays as it is; `bounds` are of all ports."""

    put: tuple[Record, ...] = ()
    remove: tuple[str, ...] = ()
    bounds: Bounds | None = None
    jitter_ns: int | None = None
    slacks: Mapping[str, int] | None = None
    topology: str | None = None


@dataclass(frozen=True)
class ChannelsRead:
    """All channels of a domain: at first, and after each change of one, of bounds, jitter or topology."""

    snapshot: Snapshot


@dataclass(frozen=True)
class StoreGone:
    """The store cannot be read; what was read last goes on to hold."""

    why: str


@dataclass(frozen=True)
class StoreBack:
    """The store can be read again after StoreGone. What changed meanwhile follows in ChannelsRead."""


StoreEvent = ChannelsRead | StoreGone | StoreBack


class UnreadableRowError(ValueError):
    """A row that no writer of ours made. `str(error)` says which channel and why."""


def row_of(record: Record) -> dict[str, Any]:
    """The columns of table Channel for `record`, save the standing."""
    channel = record.channel
    return {
        "name": channel.name,
        "label": channel.label,
        "owner": str(record.owner),
        "version": record.version,
        "talker": channel.talker,
        "listener": channel.listener,
        "domains": sorted(set(record.domains)),
        "source": str(channel.source),
        "destination": str(channel.destination),
        "protocol": _optional(channel.protocol and str(channel.protocol)),
        "src_port": _optional(channel.src_port),
        "dst_port": _optional(channel.dst_port),
        "deadline_ns": channel.deadline_ns,
        "rate_bps": channel.rate_bps,
        "burst_bytes": channel.burst_bytes,
        "packet_bytes": channel.packet_bytes,
        "excess": str(channel.excess),
        "late": str(channel.late),
        "on_bypass": str(channel.on_bypass),
        "on_miss": sorted(set(channel.on_miss)),
    }


def record_of(row: Row, classes: Sequence[DeadlineClass]) -> Record:
    """The record that `row` tells of, in a network with these classes. Raises UnreadableRowError."""
    try:
        return Record(
            channel=_channel(row, classes),
            owner=Owner(row["owner"]),
            version=row["version"],
            domains=tuple(sorted(row["domains"])),
            talker=EndStanding(row["talker_state"], row["talker_reason"]),
            listener=EndStanding(row["listener_state"], row["listener_reason"]),
        )
    except ValueError as error:
        raise UnreadableRowError(f"channel '{row['name']}' of the store: {error}") from None


def _channel(row: Row, classes: Sequence[DeadlineClass]) -> Channel:
    return Channel(
        name=row["name"],
        label=row["label"],
        talker=row["talker"],
        listener=row["listener"],
        source=ip_address(row["source"]),
        destination=ip_address(row["destination"]),
        protocol=Protocol(row["protocol"][0]) if row["protocol"] else None,
        src_port=next(iter(row["src_port"]), None),
        dst_port=next(iter(row["dst_port"]), None),
        deadline_ns=row["deadline_ns"],
        rate_bps=row["rate_bps"],
        burst_bytes=row["burst_bytes"],
        deadline_class=class_of(row["deadline_ns"], classes),
        packet_bytes=row["packet_bytes"],
        on_miss=tuple(sorted(row["on_miss"])),
        excess=Excess(row["excess"]),
        late=Late(row["late"]),
        on_bypass=Bypass(row["on_bypass"]),
    )


def class_of(deadline_ns: int, classes: Sequence[DeadlineClass]) -> DeadlineClass:
    """The class that takes the deadline, else the slowest: so a writer with new classes can read what old ones took."""
    slowest = max(classes, key=lambda each: each.up_to_ns)
    return next((each for each in classes if each.takes(deadline_ns)), slowest)


def _optional(value: Any) -> list[Any]:
    return [] if value is None else [value]


def snapshot_of(whole: Row | None, records: Iterable[Record], ports: Iterable[Row]) -> Snapshot:
    """What the row of Global and those of Port say, with `records`.

    A reader that does not have `Global.revision` gets the version of its latest channel in its place.
    """
    by_name = {record.channel.name: record for record in records}
    whole = whole or {"topology": "", "jitter_ns": NO_JITTER_NS, "slacks": {}}
    return Snapshot(
        revision=whole.get("revision", max((record.version for record in by_name.values()), default=0)),
        topology=whole["topology"],
        jitter_ns=whole["jitter_ns"],
        records=dict(sorted(by_name.items())),
        bounds={(row["node"], row["peer"]): _bounds(row["bounds"]) for row in ports},
        slacks=dict(whole["slacks"]),
    )


def bounds_row(bounds: Mapping[str, int | None]) -> dict[str, int]:
    """The column `bounds` of table Port."""
    return {name: _NO_LIMIT_NS if bound_ns is None else bound_ns for name, bound_ns in bounds.items()}


def _bounds(column: Mapping[str, int]) -> dict[str, int | None]:
    return {name: None if bound_ns == _NO_LIMIT_NS else bound_ns for name, bound_ns in column.items()}


def effective(change: Change, before: Snapshot) -> Change | None:
    """What of `change` is new to `before`; None if nothing is. New and changed records get the next revision."""
    revision = before.revision + 1
    kept = {record.channel.name for record in change.put}
    put = tuple(
        replace(record, version=revision)
        for record in change.put
        if not _is_same(record, before.records.get(record.channel.name))
    )
    reduced = Change(
        put=put,
        remove=tuple(name for name in change.remove if name in before.records and name not in kept),
        bounds=None if change.bounds == before.bounds else change.bounds,
        jitter_ns=None if change.jitter_ns == before.jitter_ns else change.jitter_ns,
        slacks=None if change.slacks == before.slacks else change.slacks,
        topology=None if change.topology == before.topology else change.topology,
    )
    return None if reduced == Change() else reduced


def _is_same(record: Record, stored: Record | None) -> bool:
    """Whether `stored` says all that `record` does; sets have no order."""
    return stored is not None and row_of(replace(record, version=stored.version)) == row_of(stored)


def is_done(change: Change, before: Snapshot, after: Snapshot) -> bool:
    """Whether the effective `change`, whose acknowledgement was lost, is what made the revision after `before`.

    Its channels tell by their versions; for a change of no channel the answer is no: it does no harm to repeat it.
    """
    revision = before.revision + 1
    found = [after.records.get(record.channel.name) for record in change.put]
    is_put = all(
        stored is not None and stored.version == revision and _is_same(record, stored)
        for record, stored in zip(change.put, found, strict=True)
    )
    is_removed = not any(name in after.records for name in change.remove)
    return after.revision >= revision and bool(change.put or change.remove) and is_put and is_removed
