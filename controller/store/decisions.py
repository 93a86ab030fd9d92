"""What a writer may make of the store: the channels that admission takes, with labels for new ones, by their owners.

Pure. Each method of a Clerk is something to be done; it returns what `Store.change` asks of the present state, anew
each time that somebody else was faster: the change, or a refusal that is raised. All of it is decided over all channels
at once, so two that ask for the last room cannot both have it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

from controller.admission.advice import refusal_texts, with_slacks
from controller.admission.guarantee import Guarantees
from controller.admission.paths import Way
from controller.admission.tolerance import leniency_ns, lenient
from controller.errors import CannotRun, Conflict, NotAdmitted, Outdated
from controller.model import AUTO_SLACK_NS, CHANNELS_MAX, Channel, Host, Network, Vm
from controller.network.labels import free_label
from controller.network.selectors import clashes, selector
from controller.store.records import NO_JITTER_NS, Change, Owner, Record, Snapshot

Decision = Callable[[Snapshot], Change | None]
Refuse = Callable[[Guarantees], NotAdmitted]
"""What to say of guarantees that not all can be kept."""

ANY_VERSION = None
"""For a writer that does not mind what was there before."""


def _advised(found: Guarantees) -> NotAdmitted:
    return NotAdmitted(refusal_texts(found))


class Clerk:
    """Decides for one network, of which it knows all but the channels. Not thread-safe: one change at a time.

    Where admission is not asked, what the links cannot keep is taken too.
    """

    def __init__(self, network: Network, is_admission_asked: bool = True) -> None:
        self._network = network
        self._topology = digest(network)
        self._is_admission_asked = is_admission_asked
        self._known: dict[int | None, Guarantees] = {}

    def apply(self, channels: Mapping[str, Channel], may_change_topology: bool = False) -> Decision:
        """The file's channels are to be exactly `channels`. Those of other owners stay, also where they are the same.

        A store of another topology gets this one only if that is asked for, and if all that stays has a place in it.
        """

        def decide(before: Snapshot) -> Change:
            kept = {name: record for name, record in before.records.items() if record.owner is not Owner.FILE}
            for name in channels.keys() & kept.keys():
                if _fields(kept[name].channel, channels[name]):
                    raise Conflict(f"channel '{name}' is there already, made by {kept[name].owner}; give another name")
            wanted = {**{name: _record(each, Owner.FILE) for name, each in channels.items()}, **kept}
            return self._change(before, wanted, may_change_topology=may_change_topology)

        return decide

    def put(
        self, channel: Channel, owner: Owner, version: int | None = ANY_VERSION, refuse: Refuse = _advised
    ) -> Decision:
        """There is to be this channel, in place of one of its name, which is to have `version` (0: there is none).

        Not in an empty store, which gets the channels of a file first.
        """

        def decide(before: Snapshot) -> Change:
            _require_channels_of_a_file(before)
            _require_version(before, channel.name, version)
            _require_owner(before, channel.name, owner)
            return self._change(before, {**before.records, channel.name: _record(channel, owner)}, refuse)

        return decide

    def remove(self, name: str, owner: Owner, version: int | None = ANY_VERSION) -> Decision:
        """There is to be no channel `name`; where there is one it is to have `version`."""

        def decide(before: Snapshot) -> Change | None:
            _require_version(before, name, version)
            _require_owner(before, name, owner)
            rest = {other: record for other, record in before.records.items() if other != name}
            return self._change(before, rest) if name in before.records else None

        return decide

    def _change(
        self,
        before: Snapshot,
        wanted: Mapping[str, Record],
        refuse: Refuse = _advised,
        may_change_topology: bool = False,
    ) -> Change:
        """From `before` to `wanted`, if that is admitted. What only takes channels away is, in the same topology."""
        is_other = before.topology not in ("", self._topology)
        if is_other:
            self._require_move(wanted, may_change_topology)
        _require_room(before, wanted)
        labelled = _labelled(before, wanted)
        _refuse_double_meanings(record.channel for record in labelled.values())
        network = self._whole(labelled)
        guarantees = self._guarantees(None, network)
        if self._is_admission_asked and guarantees.refusals and (is_other or not _only_removes(before, wanted)):
            raise refuse(guarantees)
        jitter_ns = leniency_ns(network, self._guarantees)
        held = self._guarantees(jitter_ns, lenient(network, jitter_ns))
        return Change(
            put=tuple(
                replace(each, domains=domains_of(network, held.ways, each.channel)) for each in labelled.values()
            ),
            remove=tuple(before.records.keys() - wanted.keys()),
            bounds={(port.node, port.peer): bounds for port, bounds in held.bounds.items()},
            jitter_ns=NO_JITTER_NS if jitter_ns is None else jitter_ns,
            slacks=slacks_of(network),
            topology=self._topology,
        )

    def _require_move(self, wanted: Mapping[str, Record], may_change_topology: bool) -> None:
        if not may_change_topology:
            raise Conflict(
                "the store belongs to another topology: hypervisors, switches, VMs or classes differ; bring it this "
                "one with `rtvnic apply FILE --new-topology`, or apply the file that the controllers were started with"
            )
        reasons = {name: _homelessness(self._network, record.channel) for name, record in wanted.items()}
        if found := [f"'{name}' of {wanted[name].owner} ({why})" for name, why in reasons.items() if why]:
            raise Conflict(
                f"the new topology has no place for {', '.join(found)}; remove them first, with `rtvnic channel "
                "remove NAME` at a controller of the former file"
            )

    def _whole(self, records: Mapping[str, Record]) -> Network:
        """The network with all channels, and each `be_slack: auto` as these need it."""
        channels = {name: records[name].channel for name in sorted(records)}
        return with_slacks(replace(self._network, channels=channels))

    def _guarantees(self, jitter_ns: int | None, network: Network) -> Guarantees:
        """Those of `network`, whose contracts forgive `jitter_ns`. Quick, for they differ little from the last ones."""
        found = Guarantees(network, self._known.get(jitter_ns))
        self._known[jitter_ns] = found
        return found


def digest(network: Network) -> str:
    """Names what a network is without its channels and what follows from them, and without what concerns one controller
    alone: its certificates, what misses start there, and what its guests may ask for."""
    hypervisors = {
        name: replace(each, uplink=replace(each.uplink, be_slack_ns=AUTO_SLACK_NS))
        if each.uplink.is_slack_auto
        else each
        for name, each in network.hypervisors.items()
    }
    vms = {name: replace(vm, quota=None) for name, vm in network.vms.items()}
    bare = replace(network, file=Path(), channels={}, hypervisors=hypervisors, vms=vms, tls_directory=None, handlers={})
    return hashlib.sha256(json.dumps(bare, default=_said, sort_keys=True).encode()).hexdigest()


def _said(part: object) -> object:
    """`part` of a network for JSON. A field at its default says nothing: one that is new leaves digests as they are."""
    if not is_dataclass(part):
        return str(part)
    return {each.name: found for each in fields(part) if (found := getattr(part, each.name)) != each.default}


@dataclass(frozen=True)
class Differences:
    """What `apply` would do to the file's channels: `changed` says of each which fields, as (field, before, after)."""

    added: tuple[str, ...]
    changed: Mapping[str, tuple[tuple[str, object, object], ...]]
    removed: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)


def differences(before: Snapshot, channels: Mapping[str, Channel]) -> Differences:
    """Between the file's channels in the store, with others of the same names, and `channels`. Labels are the store's
    own."""
    stored = {
        name: record.channel
        for name, record in before.records.items()
        if record.owner is Owner.FILE or name in channels
    }
    changed = {name: _fields(stored[name], channels[name]) for name in channels if name in stored}
    return Differences(
        added=tuple(name for name in channels if name not in stored),
        changed={name: found for name, found in changed.items() if found},
        removed=tuple(name for name in stored if name not in channels),
    )


def _fields(before: Channel, after: Channel) -> tuple[tuple[str, object, object], ...]:
    names = [field.name for field in fields(Channel) if field.name not in ("label", "deadline_class")]
    pairs = ((name, _comparable(getattr(before, name)), _comparable(getattr(after, name))) for name in names)
    return tuple(each for each in pairs if each[1] != each[2])


def _comparable(value: object) -> object:
    """Handlers of a miss have no order in the store."""
    return tuple(sorted(value)) if isinstance(value, tuple) else value


def slacks_of(network: Network) -> dict[str, int]:
    """By hypervisor, the best-effort slack that admission counts on."""
    return {name: hypervisor.uplink.be_slack_ns for name, hypervisor in network.hypervisors.items()}


def domains_of(network: Network, ways: Mapping[str, Way], channel: Channel) -> tuple[str, ...]:
    """Whose controllers have to do with `channel`: those of its ends, and of Open vSwitch switches on its way."""
    nodes = [port.node for port in ways.get(channel.name, ()) if port.node in network.switches]
    crossed = {network.switches[node].domain for node in nodes} - {""}
    return tuple(sorted({*network.domains(channel), *crossed}))


def _homelessness(network: Network, channel: Channel) -> str:
    """Why `channel` cannot be one of `network`; empty if it can."""
    listeners: Mapping[str, Vm | Host] = {**network.vms, **network.hosts}
    ends = (
        (channel.talker, network.vms.get(channel.talker), channel.source),
        (channel.listener, listeners.get(channel.listener), channel.destination),
    )
    for name, node, address in ends:
        if node is None:
            return f"there is no '{name}'"
        if address not in [each.ip for each in node.addresses]:
            return f"'{name}' does not have {address}"
    is_taken = any(each.takes(channel.deadline_ns) for each in network.classes)
    return "" if is_taken else "no class takes its deadline"


def _only_removes(before: Snapshot, wanted: Mapping[str, Record]) -> bool:
    return all(
        name in before.records and not _fields(before.records[name].channel, record.channel)
        for name, record in wanted.items()
    )


def _record(channel: Channel, owner: Owner) -> Record:
    return Record(channel, owner, version=0, domains=())


def _labelled(before: Snapshot, wanted: Mapping[str, Record]) -> dict[str, Record]:
    """`wanted` with labels: a channel has its own for as long as it takes the same packets to the same listener."""
    taken = {record.channel.label for record in before.records.values()}
    labelled = {}
    for name, record in wanted.items():
        label = _label_of(record.channel, before.records.get(name))
        if label is None:
            label = free_label(name, taken)
            taken.add(label)
        labelled[name] = replace(record, channel=replace(record.channel, label=label))
    return labelled


def _label_of(channel: Channel, former: Record | None) -> int | None:
    if former is None or selector(former.channel) != selector(channel):
        return None
    is_same_way = (former.channel.talker, former.channel.listener) == (channel.talker, channel.listener)
    return former.channel.label if is_same_way else None


def _refuse_double_meanings(channels: Iterable[Channel]) -> None:
    for clash in clashes((channel.name, selector(channel)) for channel in channels):
        raise Conflict(f"channel '{clash.name}': {clash}")


def _require_room(before: Snapshot, wanted: Mapping[str, Record]) -> None:
    """That there will not be more channels than may be, or not more than there are."""
    if len(wanted) > max(CHANNELS_MAX, len(before.records)):
        raise Conflict(f"there would be {len(wanted):,} channels; at most {CHANNELS_MAX:,}: remove others first")


def _require_channels_of_a_file(before: Snapshot) -> None:
    if not before.topology:
        raise CannotRun("the store has no file's channels yet", "try again in a moment, or `rtvnic apply` the file")


def _require_version(before: Snapshot, name: str, version: int | None) -> None:
    found = before.records[name].version if name in before.records else 0
    if version is not None and version != found:
        what = f"has version {found}" if found else "is not there"
        raise Outdated(f"channel '{name}' {what}; read it again, and ask again")


def _require_owner(before: Snapshot, name: str, owner: Owner) -> None:
    if name in before.records and (found := before.records[name].owner) is not owner:
        cure = "change the topology file and apply it" if found is Owner.FILE else f"only {found} may change it"
        raise Conflict(f"channel '{name}' belongs to {found}; {cure}")
