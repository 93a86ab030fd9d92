"""What a writer may make of the store: labels, owners, versions, admission over all channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
from support.examples import example
from support.networks import FAST, channel, two_hypervisors

from controller.admission.guarantee import Guarantees
from controller.admission.tolerance import JITTERS_NS
from controller.errors import CannotRun, Conflict, NotAdmitted, Outdated
from controller.handlers.declared import Handler, Program
from controller.model import AUTO_SLACK_NS, Channel, Network, Protocol, SwitchKind, Vm
from controller.network.labels import TICK_NS
from controller.store.decisions import Clerk, Decision, Differences, differences, digest, domains_of
from controller.store.records import Change, Owner, Record, Snapshot, effective

NETWORK = two_hypervisors(kind=SwitchKind.PLAIN)
VM1, VM2 = NETWORK.vms.values()
EMPTY = Snapshot(0, "", -1, {}, {})
CLERK = Clerk(NETWORK)


def new(name: str = "new", port: int = 7000, **fields: object) -> Channel:
    return replace(channel(name, VM1, VM2, 0, FAST), protocol=Protocol.UDP, dst_port=port, **fields)


def distinct() -> dict[str, Channel]:
    """The network's two channels, by port."""
    return {
        name: replace(each, protocol=Protocol.UDP, dst_port=port)
        for port, (name, each) in enumerate(NETWORK.channels.items(), 1)
    }


def after(before: Snapshot, decision: Decision) -> Snapshot:
    """What the store makes of a decision."""
    wanted = decision(before)
    change = effective(wanted, before) if wanted else None
    if change is None:
        return before
    records = {name: record for name, record in before.records.items() if name not in change.remove}
    return Snapshot(
        revision=before.revision + 1,
        topology=before.topology if change.topology is None else change.topology,
        jitter_ns=before.jitter_ns if change.jitter_ns is None else change.jitter_ns,
        records=records | {record.channel.name: record for record in change.put},
        bounds=before.bounds if change.bounds is None else change.bounds,
        slacks=before.slacks if change.slacks is None else change.slacks,
    )


FILLED = after(EMPTY, CLERK.apply(distinct()))


def labels(snapshot: Snapshot) -> dict[str, int]:
    return {name: record.channel.label for name, record in snapshot.records.items()}


def test_a_file_fills_the_store_with_all_that_controllers_need() -> None:
    assert {name: record.owner for name, record in FILLED.records.items()} == dict.fromkeys(distinct(), Owner.FILE)
    assert all(record.domains == ("left", "right") for record in FILLED.records.values())
    assert len(set(labels(FILLED).values())) == 2 and min(labels(FILLED).values()) >= 16
    assert FILLED.topology == digest(NETWORK)
    assert FILLED.jitter_ns in JITTERS_NS
    assert FILLED.slacks == {"left": 2_000_000, "right": 2_000_000}
    (bounds,) = FILLED.bounds.items()
    assert bounds[0] == ("middle", "right") and set(bounds[1]) == {"fast", "slow"}


def test_a_controller_that_knows_only_its_own_channels_finds_the_same_budgets() -> None:
    """Of a network whose other channels cross the same port."""
    network = two_hypervisors()
    filled = after(EMPTY, Clerk(network).apply(distinct()))
    video = filled.records["video"].channel
    own = replace(network, channels={"video": video})
    told_ns = filled.bounds["middle", "right"]["fast"]
    assert told_ns is not None
    assert Guarantees(own, told=filled.bounds).downstream_ns(video) == told_ns + TICK_NS
    assert Guarantees(own).downstream_ns(video) != told_ns + TICK_NS


def test_the_channels_of_a_file_are_the_first_in_an_empty_store() -> None:
    for owner in (Owner.REST, Owner.GUEST):
        with pytest.raises(CannotRun, match="no file's channels yet; try again in a moment"):
            CLERK.put(new(), owner)(EMPTY)
    assert CLERK.remove("new", Owner.REST)(EMPTY) is None
    no_channels = after(EMPTY, CLERK.apply({}))
    assert set(after(no_channels, CLERK.put(new(), Owner.REST)).records) == {"new"}


def test_the_same_file_again_changes_nothing() -> None:
    assert after(FILLED, Clerk(NETWORK).apply(distinct())) is FILLED


def test_a_file_takes_its_own_channels_away_and_no_others() -> None:
    both = after(FILLED, CLERK.put(new(), Owner.REST))
    assert set(both.records) == {"video", "audio", "new"}
    assert set(after(both, CLERK.apply({})).records) == {"new"}


def test_what_others_have_made_just_so_stays_theirs() -> None:
    """So what was exported can be applied to the store that it is from."""
    both = after(FILLED, CLERK.put(new(), Owner.REST))
    exported = {**distinct(), "new": new()}
    assert after(both, CLERK.apply(exported)) is both
    assert differences(both, exported).is_empty
    assert after(EMPTY, CLERK.apply(exported)).records["new"].owner is Owner.FILE


def test_a_file_cannot_have_a_name_that_somebody_else_has() -> None:
    taken = after(FILLED, CLERK.put(new("extra"), Owner.REST))
    with pytest.raises(Conflict, match="channel 'extra' is there already, made by rest"):
        CLERK.apply({**distinct(), "extra": new("extra", port=9)})(taken)


def test_a_change_of_terms_keeps_the_label_and_a_change_of_packets_does_not() -> None:
    before = after(FILLED, CLERK.put(new(), Owner.REST))
    faster = after(before, CLERK.put(new(deadline_ns=4_000_000), Owner.REST))
    assert faster.records["new"].channel.deadline_ns == 4_000_000
    assert labels(faster) == labels(before)
    other = after(before, CLERK.put(new(port=7001), Owner.REST))
    assert labels(other)["new"] not in labels(before).values()


def test_two_new_channels_whose_names_collide_have_two_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.network.labels.zlib.crc32", lambda _: 100)
    found = after(EMPTY, CLERK.apply(distinct()))
    assert sorted(labels(found).values()) == [116, 117]


def test_channels_that_take_the_same_packets_are_refused() -> None:
    with pytest.raises(Conflict, match="channel 'new': selects the same packets as 'video'"):
        CLERK.put(new(port=1), Owner.REST)(FILLED)
    with pytest.raises(Conflict, match="a packet may belong to this channel"):
        CLERK.put(replace(new(), dst_port=None, src_port=5), Owner.REST)(FILLED)


@pytest.mark.parametrize("version", [None, 1])
def test_only_its_owner_may_change_or_remove_a_channel(version: int | None) -> None:
    with pytest.raises(Conflict, match="belongs to file; change the topology file and apply it"):
        CLERK.remove("video", Owner.REST, version)(FILLED)
    with pytest.raises(Conflict, match="belongs to file"):
        CLERK.put(replace(distinct()["video"], rate_bps=5000), Owner.REST, version)(FILLED)
    theirs = after(FILLED, CLERK.put(new(), Owner.GUEST))
    with pytest.raises(Conflict, match="belongs to guest; only guest may change it"):
        CLERK.remove("new", Owner.REST)(theirs)


def test_who_has_seen_another_version_is_told_so() -> None:
    mine = after(FILLED, CLERK.put(new(), Owner.REST, version=0))
    assert mine.records["new"].version == 2
    for decision in (CLERK.put(new(), Owner.REST, version=0), CLERK.remove("new", Owner.REST, version=1)):
        with pytest.raises(Outdated, match="channel 'new' has version 2"):
            decision(mine)
    with pytest.raises(Outdated, match="channel 'other' is not there"):
        CLERK.remove("other", Owner.REST, version=3)(mine)
    assert "new" not in after(mine, CLERK.remove("new", Owner.REST, version=2)).records


def test_what_is_not_there_can_be_removed_again_and_again() -> None:
    assert CLERK.remove("other", Owner.REST)(FILLED) is None


def test_what_the_links_cannot_keep_is_refused_with_a_remedy() -> None:
    greedy = new(rate_bps=97_000_000)
    with pytest.raises(NotAdmitted) as refusal:
        CLERK.put(greedy, Owner.REST)(FILLED)
    assert refusal.value.reasons[0].startswith("the uplink of left: ")
    assert "min_rate: " in str(refusal.value)
    assert after(FILLED, Clerk(NETWORK, is_admission_asked=False).put(greedy, Owner.REST)).records["new"]


def test_what_only_takes_channels_away_is_always_admitted() -> None:
    """Whatever the links cannot keep of the rest."""
    lax = Clerk(NETWORK, is_admission_asked=False)
    crowded = after(FILLED, lax.put(new(rate_bps=97_000_000), Owner.REST))
    crowded = after(crowded, lax.put(new("small", port=7001), Owner.REST))
    assert set(after(crowded, CLERK.remove("small", Owner.REST)).records) == {"video", "audio", "new"}
    assert set(after(crowded, CLERK.apply({"video": distinct()["video"]})).records) == {"video", "new", "small"}
    slower = replace(distinct()["video"], rate_bps=1_000_000)
    for decision in (CLERK.apply({"video": slower}), CLERK.put(new("small", port=7001, rate_bps=1), Owner.REST)):
        with pytest.raises(NotAdmitted):
            decision(crowded)


def test_there_are_no_more_channels_than_a_shim_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes them, and whatever admission says. What is there already may go, or become another."""
    full = after(FILLED, CLERK.put(new("a", port=7001), Owner.REST))
    monkeypatch.setattr("controller.store.decisions.CHANNELS_MAX", 3)
    for clerk in (CLERK, Clerk(NETWORK, is_admission_asked=False)):
        for decision in (clerk.put(new(), Owner.GUEST), clerk.apply({**distinct(), "new": new()})):
            with pytest.raises(Conflict, match="there would be 4 channels; at most 3: remove others first"):
                decision(full)
    monkeypatch.setattr("controller.store.decisions.CHANNELS_MAX", 1)
    assert set(after(full, CLERK.put(new("a", port=7002), Owner.REST)).records) == {"video", "audio", "a"}
    assert set(after(full, CLERK.remove("a", Owner.REST)).records) == {"video", "audio"}


def test_a_clerk_decides_by_what_it_is_given_and_not_by_what_it_has_seen() -> None:
    """It keeps what it has worked out, and the store may have gone another way."""
    clerk, rates = Clerk(NETWORK), (40_000_000, 45_000_000)
    for number, rate_bps in enumerate(rates):
        assert after(FILLED, clerk.put(new(f"c{number}", 9000 + number, rate_bps=rate_bps), Owner.REST)).revision == 2
    for number, rate_bps in enumerate(rates):
        change = clerk.put(new(f"c{number}", 9000 + number, rate_bps=rate_bps), Owner.REST)(FILLED)
        fresh = Clerk(NETWORK).put(new(f"c{number}", 9000 + number, rate_bps=rate_bps), Owner.REST)(FILLED)
        assert change == fresh


def test_a_store_of_another_topology_is_not_touched() -> None:
    other = replace(NETWORK, vms={"vm1": VM1, "vm2": VM2, "vm3": replace(VM2, name="vm3", mac="02:00:00:00:00:77")})
    with pytest.raises(Conflict, match="belongs to another topology"):
        Clerk(other).apply(distinct())(FILLED)


VM3 = replace(VM2, name="vm3", mac="02:00:00:00:00:77")
OTHER = replace(NETWORK, vms={"vm1": VM1, "vm2": VM2, "vm3": VM3})


def test_a_store_gets_another_topology_where_that_is_asked_for() -> None:
    before = after(FILLED, CLERK.put(new(), Owner.REST))
    moved = after(before, Clerk(OTHER).apply(distinct(), may_change_topology=True))
    assert moved.topology == digest(OTHER) != before.topology
    assert moved.records == before.records
    with pytest.raises(Conflict, match="apply FILE --new-topology"):
        CLERK.put(new(rate_bps=5000), Owner.REST)(moved)
    assert after(moved, Clerk(OTHER).put(new(rate_bps=5000), Owner.REST)).revision == moved.revision + 1
    assert after(moved, Clerk(OTHER).apply(distinct(), may_change_topology=True)) is moved


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (replace(NETWORK, vms={"vm1": VM1, "vm3": VM3}), "there is no 'vm2'"),
        (
            replace(NETWORK, vms={"vm1": VM1, "vm2": replace(VM2, addresses=VM1.addresses)}),
            "'vm2' does not have 10.0.0.2",
        ),
        (replace(NETWORK, classes=NETWORK.classes[1:]), "no class takes its deadline"),
    ],
)
def test_a_topology_without_a_place_for_what_stays_is_refused_by_name(network: Network, why: str) -> None:
    before = after(after(FILLED, CLERK.put(new(), Owner.REST)), CLERK.put(new("other", port=7001), Owner.GUEST))
    with pytest.raises(Conflict) as refusal:
        Clerk(network).apply({}, may_change_topology=True)(before)
    assert f"'new' of rest ({why}), 'other' of guest ({why})" in str(refusal.value)


def test_a_topology_that_cannot_keep_what_stays_is_refused() -> None:
    before = after(FILLED, CLERK.put(new(rate_bps=40_000_000), Owner.REST))
    left = NETWORK.hypervisors["left"]
    slow = replace(left, uplink=replace(left.uplink, rate_bps=20_000_000))
    clerk = Clerk(replace(NETWORK, hypervisors={**NETWORK.hypervisors, "left": slow}))
    with pytest.raises(NotAdmitted, match="'new'"):
        clerk.apply({}, may_change_topology=True)(before)


def test_a_field_that_is_new_and_at_its_default_leaves_a_topology_as_it_was() -> None:
    @dataclass(frozen=True)
    class LaterVm(Vm):
        colour: str = "grey"

    def with_vm1(**more: str) -> Network:
        named = {each.name: getattr(VM1, each.name) for each in fields(Vm)}
        return replace(NETWORK, vms={"vm1": LaterVm(**named, **more), "vm2": VM2})

    assert digest(with_vm1()) == digest(NETWORK) != digest(with_vm1(colour="red"))


def test_a_topology_is_the_same_whatever_its_channels_and_its_file() -> None:
    assert digest(replace(NETWORK, channels={}, file=Path("elsewhere"))) == digest(NETWORK)
    left = NETWORK.hypervisors["left"]

    def with_slack(slack_ns: int, is_auto: bool) -> Network:
        uplink = replace(left.uplink, be_slack_ns=slack_ns, is_slack_auto=is_auto)
        return replace(NETWORK, hypervisors={**NETWORK.hypervisors, "left": replace(left, uplink=uplink)})

    assert digest(with_slack(5, is_auto=True)) == digest(with_slack(6, is_auto=True)) != digest(NETWORK)
    assert digest(with_slack(5, is_auto=False)) != digest(with_slack(6, is_auto=False))


def test_a_topology_is_the_same_whatever_misses_start() -> None:
    pager = Handler("pager", Program(("/bin/true",)), every_ns=1, timeout_ns=1)
    assert digest(replace(NETWORK, handlers={"pager": pager})) == digest(NETWORK)


def test_an_automatic_slack_follows_the_channels() -> None:
    left = NETWORK.hypervisors["left"]
    uplink = replace(left.uplink, be_slack_ns=AUTO_SLACK_NS, is_slack_auto=True)
    clerk = Clerk(replace(NETWORK, hypervisors={**NETWORK.hypervisors, "left": replace(left, uplink=uplink)}))
    few = after(EMPTY, clerk.apply(distinct()))
    many = after(few, clerk.put(new(rate_bps=40_000_000, burst_bytes=20_000), Owner.REST))
    assert 0 < few.slacks["left"] < many.slacks["left"]


def test_a_channel_concerns_its_ends_and_the_switches_that_it_crosses() -> None:
    network = example("ovs_core")
    ways = Guarantees(network).ways
    found = {name: domains_of(network, ways, each) for name, each in network.channels.items()}
    for name, each in network.channels.items():
        crossed = {network.switches[port.node].domain for port in ways.get(name, ()) if port.node in network.switches}
        assert set(found[name]) == {*network.domains(each), *crossed} - {""}


def test_the_differences_of_a_file() -> None:
    wanted: Mapping[str, Channel] = {
        "video": replace(distinct()["video"], rate_bps=1, on_miss=("b", "a")),
        "audio": distinct()["audio"],
        "new": new(),
    }
    found = differences(after(FILLED, CLERK.put(new("extra"), Owner.REST)), wanted)
    assert found == Differences(
        ("new",), {"video": (("rate_bps", 2_000_000, 1), ("on_miss", ("log",), ("a", "b")))}, ()
    )
    assert set(differences(FILLED, {}).removed) == {"audio", "video"}
    assert differences(FILLED, distinct()).is_empty


def test_a_record_is_what_the_store_gets() -> None:
    change = CLERK.put(new(), Owner.REST)(FILLED)
    assert isinstance(change, Change)
    assert all(isinstance(each, Record) for each in change.put) and change.remove == ()
