"""Guarantees hop by hop: ways, bounds worked out by hand and against a simulator, how a deadline is split, refusals."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fifo_simulator import Bucket, longest_delay

from controller.admission.advice import refusal_text
from controller.admission.condition import Demand, delay_bounds_ns
from controller.admission.guarantee import Guarantees, Refusal, Source, plain_bound_ns, plain_come_bits
from controller.admission.paths import Port, Server
from controller.admission.queues import Asked, class_bounds_ns
from controller.model import Channel, Network, Scheduler, SwitchKind
from controller.network.labels import TICK_NS, absolute_deadline_label, lateness_ns, relative_deadline_label
from controller.topology_file.load import parse
from controller.units import NS_PER_MS, NS_PER_S

MBPS = 1_000_000
ONE_OF_EACH_NS = 246_720
"""A full frame of best effort and one of a channel, (1538 + 1546) * 8 bits, at 100 Mb/s."""

TOPOLOGY = """
version: 1
hypervisors:
  left: {{uplink: {{rate: 100Mbps, switch: near}}}}
  other: {{uplink: {{rate: 100Mbps, switch: near}}}}
  right: {{uplink: {{rate: 100Mbps, switch: far}}, allowance: 300us}}
switches: {{near: {near}, far: {far}}}
links: [[near, far, 50Mbps]]
hosts: {{h: {{switch: far, ip: 10.0.0.5}}}}
vms:
  a: {{hypervisor: left, ip: 10.0.0.1}}
  a2: {{hypervisor: left, ip: 10.0.0.2}}
  o: {{hypervisor: other, ip: 10.0.0.3}}
  b: {{hypervisor: right, ip: 10.0.0.4}}
channels:
  c: {{from: a, to: b, deadline: 5ms, min_rate: 2Mbps, burst: 1546B}}
"""
UPLINK, TRUNK, LAST = Port("left", "near", True), Port("near", "far", False), Port("far", "right", False)


def network(near: str = "plain", far: str = "plain") -> Network:
    """Two switches in a row; `left` and `other` at the near one, `right` at the far one; a channel from left to it."""
    return parse(TOPOLOGY.format(near=near, far=far).encode(), Path("net.yaml"), is_admission_asked=False)


def with_channels(base: Network, channels: Sequence[Channel]) -> Network:
    return replace(base, channels={each.name: each for each in channels})


def like(
    base: Network, name: str, deadline_ns: int = 5 * NS_PER_MS, rate_bps: int = 2 * MBPS, **more: object
) -> Channel:
    """Another channel like `c`, in the class that takes its deadline."""
    taker = next(each for each in base.classes if each.takes(deadline_ns))
    changed = {"name": name, "deadline_ns": deadline_ns, "rate_bps": rate_bps, "deadline_class": taker, **more}
    return replace(base.channels["c"], **changed)  # type: ignore[arg-type]


def with_uplink(base: Network, name: str, **changes: object) -> Network:
    hypervisor = base.hypervisors[name]
    changed = replace(hypervisor, uplink=replace(hypervisor.uplink, **changes))  # type: ignore[arg-type]
    return replace(base, hypervisors={**base.hypervisors, name: changed})


def verdicts(of: Network) -> set[tuple[Port | str, str]]:
    return {(refusal.at, refusal.what) for refusal in Guarantees(of).refusals}


# Ways


def test_a_way_leads_by_the_uplink_and_a_port_of_each_switch() -> None:
    found = Guarantees(network("plain", "ovs"))
    assert found.ways == {"c": (UPLINK, TRUNK, LAST)}
    assert [found.paths.server(port) for port in (UPLINK, TRUNK, LAST)] == [Server.EDF, Server.PLAIN, Server.QUEUES]
    assert [found.paths.rate_bps(port) // MBPS for port in (UPLINK, TRUNK, LAST)] == [100, 50, 100]
    assert found.shims == [UPLINK]


def test_ports_know_the_channels_that_leave_by_them() -> None:
    base = network()
    there, back = base.channels["c"], like(base, "back", talker="b", listener="a")
    from_other = like(base, "o", talker="o")
    ports = Guarantees(with_channels(base, [there, back, from_other])).ports
    assert ports[TRUNK] == ports[LAST] == [there, from_other]
    assert ports[UPLINK] == [there]
    assert ports[Port("far", "near", False)] == ports[Port("near", "left", False)] == [back]


def test_ports_in_words() -> None:
    assert (str(UPLINK), str(TRUNK)) == ("the uplink of left", "the port of near to far")


def test_a_local_channel_has_no_way() -> None:
    base = network()
    found = Guarantees(with_channels(base, [like(base, "local", listener="a2", rate_bps=900 * MBPS)]))
    assert (found.ways, found.ports, found.by_channel, found.refusals) == ({}, {}, {}, [])


@pytest.mark.parametrize("end", ["left", "right"])
def test_a_channel_with_a_fifo_uplink_at_an_end_has_no_way(end: str) -> None:
    found = Guarantees(with_uplink(network(), end, scheduler=Scheduler.FIFO))
    assert (found.ways, found.by_channel, found.refusals) == ({}, {}, [])


def test_an_uplink_without_a_shim_is_served_by_class_queues() -> None:
    found = Guarantees(with_uplink(network(), "left", scheduler=Scheduler.QUEUES))
    assert found.paths.server(UPLINK) is Server.QUEUES
    assert found.shims == []


# A plain port, by hand

STEEP = Source(100 * MBPS, MBPS, burst_bytes=1546 + 12_375)
"""Beyond its first frame it comes at 100 Mb/s for 1 ms: 99,000 bits more than the 1 Mb/s that it is sure of."""


def test_one_source_of_the_same_rate_never_queues() -> None:
    assert plain_bound_ns(100 * MBPS, [STEEP]) == ONE_OF_EACH_NS


def test_one_slower_source_never_queues() -> None:
    assert plain_bound_ns(100 * MBPS, [replace(STEEP, link_bps=10 * MBPS)]) == ONE_OF_EACH_NS


def test_one_faster_source_queues_until_its_burst_is_over() -> None:
    """At 1 Gb/s for 0.1 ms: 12,304 + 12,368 + 100,000 bits take 1.24672 ms, of which 0.1 ms went by meanwhile."""
    source = Source(1000 * MBPS, 10 * MBPS, burst_bytes=1546 + 12_375)
    assert plain_bound_ns(100 * MBPS, [source]) == 1_146_720


def test_two_sources_of_the_same_rate_queue_while_both_come_fast() -> None:
    """After 1 ms, 12,304 + 2 * (12,368 + 100,000) bits came, which take 2.3704 ms: 1 ms went by meanwhile."""
    assert plain_bound_ns(100 * MBPS, [STEEP, STEEP]) == 1_370_400


def test_two_sources_of_one_frame_wait_for_each_other() -> None:
    small = replace(STEEP, burst_bytes=1546)
    assert plain_bound_ns(100 * MBPS, [small, small]) == (1538 + 2 * 1546) * 80


def test_the_burst_that_ends_last_may_be_the_worst() -> None:
    """Two come at 50 Mb/s until 1 ms and until 2 ms, one at 60 Mb/s for long: the queue grows until 2 ms. By then came
    12,304 + (12,368 + 49,000 + 2,000) + (12,368 + 100,000) + (12,368 + 120,000) bits."""
    first, second = (Source(50 * MBPS, MBPS, 1546 + 49 * 125 * ms) for ms in (1, 2))
    lasting = Source(60 * MBPS, 55 * MBPS, burst_bytes=10**6)
    assert plain_bound_ns(100 * MBPS, [first, second, lasting]) == 3_204_080 - 2 * NS_PER_MS


@pytest.mark.parametrize("link_bps", [10 * MBPS, 100 * MBPS, 1000 * MBPS])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_bound_is_what_has_come_and_not_gone_where_that_is_most(link_bps: int, count: int) -> None:
    sources = [Source(link_bps, each * MBPS, 2000 * each) for each in range(1, count + 1)]
    times_ns = {0, *(int(source.bend_ns) for source in sources)}
    most_bits = max(plain_come_bits(sources, t_ns) - 100 * MBPS * t_ns // NS_PER_S for t_ns in times_ns)
    assert plain_bound_ns(100 * MBPS, sources) == pytest.approx(10 * most_bits, abs=10 * (count + 1))


def test_nothing_limits_the_delay_where_the_rates_fill_the_port() -> None:
    half = replace(STEEP, rate_bps=50 * MBPS)
    assert plain_bound_ns(100 * MBPS, [half, half]) is None
    assert plain_bound_ns(100 * MBPS, [half, replace(half, rate_bps=50 * MBPS - 1)]) is not None


# A plain port, simulated

SIZES = st.lists(st.integers(64, 1546), min_size=1, max_size=30).map(tuple)
BUCKETS = st.lists(
    st.builds(
        Bucket,
        link_bps=st.sampled_from([5 * MBPS, 10 * MBPS, 20 * MBPS, 100 * MBPS]),
        rate_bps=st.integers(10_000, 4 * MBPS),
        burst_bytes=st.integers(1546, 20 * 1546),
        sizes_bytes=st.one_of(SIZES, st.integers(1, 40).map(lambda count: (1546,) * count)),
        start=st.one_of(st.just(Fraction(0)), st.fractions(0, Fraction(1, 100), max_denominator=10**6)),
    ),
    min_size=1,
    max_size=4,
)


@given(BUCKETS, st.sampled_from([10 * MBPS, 20 * MBPS, 100 * MBPS]))
def test_no_packet_takes_longer_than_the_bound(buckets: list[Bucket], rate_bps: int) -> None:
    bound_ns = plain_bound_ns(rate_bps, [Source(each.link_bps, each.rate_bps, each.burst_bytes) for each in buckets])
    if bound_ns is None:
        assert sum(each.rate_bps for each in buckets) >= rate_bps
    else:
        assert longest_delay(rate_bps, buckets) * NS_PER_S <= bound_ns


@pytest.mark.parametrize("count", [1, 2, 5])
def test_greedy_sources_come_close_to_the_bound(count: int) -> None:
    """Within a frame of each source: the bound counts parts of a frame, the simulator only whole ones."""
    bucket = Bucket(100 * MBPS, MBPS, 10 * 1546, (1546,) * 20)
    source = Source(bucket.link_bps, bucket.rate_bps, bucket.burst_bytes)
    bound_ns = plain_bound_ns(100 * MBPS, [source] * count)
    assert bound_ns is not None
    longest_ns = longest_delay(100 * MBPS, [bucket] * count) * NS_PER_S
    assert bound_ns - count * 1546 * 80 <= longest_ns <= bound_ns


# How a deadline is split


def test_the_shim_gets_what_the_host_and_later_hops_leave() -> None:
    """One source, never faster than the next port but at the trunk: there 100 Mb/s come for a port of 50 Mb/s."""
    base = network()
    found = Guarantees(base)
    channel = base.channels["c"]
    wire_bps, allowance_ns = 2_100_544, 200_000
    arriving_bytes = 1546 + -(-wire_bps * 5 // 8000)
    trunk_ns = plain_bound_ns(50 * MBPS, [Source(100 * MBPS, wire_bps, arriving_bytes)])
    assert trunk_ns is not None
    assert channel.wire_rate_bps == wire_bps
    assert found.downstream_ns(channel) == TICK_NS + trunk_ns + ONE_OF_EACH_NS
    (asked,) = found.demands(UPLINK)
    assert asked == Demand("c", 5 * NS_PER_MS - allowance_ns - found.downstream_ns(channel), wire_bps, 1546)
    guarantee = found.by_channel["c"]
    assert [hop.bound_ns for hop in guarantee.hops][1:] == [trunk_ns, ONE_OF_EACH_NS]


@given(st.integers(3_000_000, 50_000_000), st.integers(0, 10**18))
def test_what_has_left_the_shim_in_time_is_never_late_by_its_stamp(deadline_ns: int, arrival_wall_ns: int) -> None:
    """Though its label, and then its stamp, are rounded down to a tick."""
    base = network()
    channel = like(base, "c", deadline_ns)
    found = Guarantees(with_channels(base, [channel]))
    (asked,) = found.demands(UPLINK)
    stamp = absolute_deadline_label(arrival_wall_ns + relative_deadline_label(deadline_ns) * TICK_NS)
    taken_ns = found.by_channel["c"].allowance_ns + found.downstream_ns(channel)
    last_ns = arrival_wall_ns + asked.deadline_ns + taken_ns - TICK_NS
    assert -TICK_NS <= lateness_ns(stamp, last_ns) <= 0


def test_class_queues_on_the_way_take_what_their_share_takes() -> None:
    base = network("ovs", "ovs")
    channel = base.channels["c"]
    arriving_bytes = 1546 + -(-channel.wire_rate_bps * 5 // 8000)
    asked = {"8ms": Asked(channel.wire_rate_bps, 1546, arriving_bytes, 5 * NS_PER_MS)}
    later = [class_bounds_ns(rate * MBPS, base.classes, asked)["8ms"] for rate in (50, 100)]
    guarantee = Guarantees(base).by_channel["c"]
    assert [hop.bound_ns for hop in guarantee.hops][1:] == later
    assert Guarantees(base).downstream_ns(channel) == TICK_NS + sum(bound or 0 for bound in later)


def test_at_an_uplink_of_class_queues_the_burst_is_the_contract_s_own() -> None:
    base = with_uplink(network(), "left", scheduler=Scheduler.QUEUES)
    asked = {"8ms": Asked(base.channels["c"].wire_rate_bps, 1546, 1546, 5 * NS_PER_MS)}
    first = class_bounds_ns(100 * MBPS, base.classes, asked)["8ms"]
    assert Guarantees(base).by_channel["c"].hops[0].bound_ns == first


def test_the_bound_is_the_sum_and_the_margin_what_is_left() -> None:
    base = network("ovs", "plain")
    found = Guarantees(base)
    guarantee = found.by_channel["c"]
    at_shim = delay_bounds_ns(found.paths.edf_link(UPLINK), found.demands(UPLINK))["c"]
    assert guarantee.allowance_ns == 200_000
    assert guarantee.hops[0].bound_ns == at_shim
    assert guarantee.bound_ns + TICK_NS == guarantee.allowance_ns + found.downstream_ns(guarantee.channel) + at_shim
    assert guarantee.margin_ns == 5 * NS_PER_MS - guarantee.bound_ns > 0


def test_the_allowance_is_the_talker_s() -> None:
    base = network()
    back = Guarantees(with_channels(base, [like(base, "back", talker="b", listener="a")])).by_channel["back"]
    assert back.allowance_ns == 300_000


def test_no_bound_and_no_margin_where_a_hop_has_none() -> None:
    base = network()
    guarantee = Guarantees(with_channels(base, [like(base, "c", rate_bps=60 * MBPS)])).by_channel["c"]
    assert guarantee.hops[1].bound_ns is None
    assert (guarantee.bound_ns, guarantee.margin_ns) == (None, None)


# Refusals


def refusals(of: Network) -> list[Refusal]:
    return Guarantees(of).refusals


def test_what_is_kept_is_not_refused() -> None:
    assert refusals(network()) == refusals(network("ovs", "ovs")) == []


def test_more_than_the_uplink_may_carry() -> None:
    base = with_uplink(network(), "left", limit_bps=2 * MBPS)
    what = "all channels together ask for 2.101Mbps on the wire; their limit is 2Mbps"
    assert refusals(base) == [Refusal(UPLINK, what, ("c",), "take channels away, or a higher limit")]
    assert refusals(with_uplink(base, "left", limit_bps=2_100_544)) == []


def test_the_limit_of_an_uplink_counts_only_what_leaves_there() -> None:
    assert refusals(with_uplink(network(), "right", limit_bps=1000)) == []


def test_more_than_a_class_may_carry() -> None:
    base = network()
    limited = [replace(each, limit_bps=2 * MBPS) if each.name == "8ms" else each for each in base.classes]
    channels = [like(replace(base, classes=tuple(limited)), "c"), like(base, "slower", 10 * NS_PER_MS)]
    what = "the channels of class '8ms' ask for 2.101Mbps on the wire; their limit is 2Mbps"
    found = refusals(with_channels(replace(base, classes=tuple(limited)), channels))
    assert found == [
        Refusal(port, what, ("c",), "take channels away, or a higher limit") for port in (UPLINK, TRUNK, LAST)
    ]


@pytest.mark.parametrize("kind", SwitchKind)
def test_more_than_a_later_port_carries(kind: SwitchKind) -> None:
    base = network(near=kind)
    found = refusals(with_channels(base, [like(base, "c", 50 * NS_PER_MS, 60 * MBPS)]))
    what = "channels ask for 63.02Mbps on the wire of the 50Mbps that it carries"
    assert Refusal(TRUNK, what, ("c",)) in found


def test_those_that_ask_most_are_named_first() -> None:
    base = network()
    channels = [like(base, f"c{rate}", 50 * NS_PER_MS, rate * MBPS) for rate in (10, 20, 15, 5)]
    (found,) = [each for each in refusals(with_channels(base, channels)) if each.at == TRUNK]
    assert found.heaviest == ("c20", "c15", "c10")


def test_a_deadline_that_is_used_up_on_the_way() -> None:
    base = network()
    tight = with_channels(base, [like(base, "c", 500_000)])
    (found,) = refusals(tight)
    assert found.at == "c"
    assert found.what == (
        "its deadline is used up before its shim has any: "
        "200us for left's allowance, 10us for the stamp, "
        "504.2us at the port of near to far, 246.7us at the port of far to right"
    )
    assert found.heaviest == ("c",)
    assert Guarantees(tight).demands(UPLINK) == [], "it asks nothing of a shim that has no time for it"
    assert Guarantees(tight).by_channel["c"].hops[0].bound_ns is None


def test_a_deadline_that_class_queues_alone_use_up() -> None:
    base = with_uplink(network(), "left", scheduler=Scheduler.QUEUES)
    (found,) = refusals(with_channels(base, [like(base, "c", 500_000)]))
    assert found.at == "c"
    assert found.what.startswith("its deadline is used up: 200us for left's allowance, 247.4us at the uplink of left, ")


@pytest.mark.parametrize(("scheduler", "refused"), [(Scheduler.QUEUES, []), (Scheduler.EDF, ["c"])])
def test_class_queues_may_use_up_all_of_a_deadline_but_a_shim_needs_some(
    scheduler: Scheduler, refused: list[str]
) -> None:
    base = with_uplink(network(), "left", scheduler=scheduler)
    left, channel = base.hypervisors["left"], base.channels["c"]
    all_ns = channel.deadline_ns - Guarantees(base).downstream_ns(channel)
    full = replace(base, hypervisors={**base.hypervisors, "left": replace(left, allowance_ns=all_ns)})
    over = replace(base, hypervisors={**base.hypervisors, "left": replace(left, allowance_ns=all_ns + 1)})
    assert [each.at for each in refusals(full)] == refused
    assert [each.at for each in refusals(over)] == ["c"]


def test_a_channel_of_which_more_packets_may_wait_than_a_shim_holds() -> None:
    """In frames of 64 + 28 + 14 bytes, 138 on the wire, the burst alone is 14,492.8."""
    base = network()
    crowding = replace(base.channels["c"], packet_bytes=64, burst_bytes=2_000_000, deadline_ns=400 * NS_PER_MS)
    (found,) = [each for each in refusals(with_channels(base, [crowding])) if each.at == "c"]
    assert found.what.endswith("of its packets may wait at its shim, which holds 8,192 of one channel")
    assert refusal_text(Guarantees(with_channels(base, [crowding])), found).endswith(f"; {found.cure}")
    assert "c" not in [each.at for each in refusals(with_channels(base, [replace(crowding, packet_bytes=1400)]))]
    queues = with_uplink(base, "left", scheduler=Scheduler.QUEUES)
    assert not any("its shim" in each.what for each in refusals(with_channels(queues, [crowding])))


def test_a_shim_that_cannot_keep_all_deadlines() -> None:
    base = with_uplink(network(), "left", be_slack_ns=200_000)
    (found,) = refusals(base)
    assert found == Refusal(
        UPLINK,
        "not all deadlines can be kept: in the worst 200us it is asked for 4,736 bits more than it sends",
        ("c",),
    )


def test_rates_that_fill_an_uplink() -> None:
    base = network()
    what = "not all deadlines can be kept: each second it is asked for 5,027,175 bits more than it sends"
    assert Refusal(UPLINK, what, ("c",)) in refusals(with_channels(base, [like(base, "c", 50 * NS_PER_MS, 100 * MBPS)]))


# What must be so of any network

ENDS = [("a", "b"), ("a2", "b"), ("o", "b"), ("b", "a"), ("b", "o"), ("a", "o"), ("a", "a2"), ("o", "h")]


@st.composite
def networks(draw: st.DrawFn, kinds: Sequence[str] = ("plain", "ovs"), most_rate_bps: int = 12 * MBPS) -> Network:
    """Networks of up to eight channels around the border of what their links can do."""
    base = network(draw(st.sampled_from(kinds)), draw(st.sampled_from(kinds)))
    base = with_uplink(
        base,
        "left",
        be_slack_ns=draw(st.sampled_from([500_000, 2 * NS_PER_MS, 10 * NS_PER_MS])),
        limit_bps=draw(st.sampled_from([None, 20 * MBPS])),
    )
    count = draw(st.integers(0, 8))
    return with_channels(base, [draw(channels(base, f"c{number}", most_rate_bps)) for number in range(count)])


@st.composite
def channels(draw: st.DrawFn, base: Network, name: str, most_rate_bps: int = 12 * MBPS) -> Channel:
    talker, listener = draw(st.sampled_from(ENDS))
    deadline_ns = draw(st.integers(2, 200)) * NS_PER_MS // 2
    rate_bps, burst_bytes = draw(st.integers(1000, most_rate_bps)), draw(st.integers(64, 8000))
    return like(base, name, deadline_ns, rate_bps, burst_bytes=burst_bytes, talker=talker, listener=listener)


def bounds(of: Network) -> dict[str, list[int | None]]:
    return {name: [hop.bound_ns for hop in each.hops] for name, each in Guarantees(of).by_channel.items()}


@given(networks(), st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(base: Network, rng: random.Random) -> None:
    channels = list(base.channels.values())
    rng.shuffle(channels)
    shuffled = with_channels(base, channels)
    assert verdicts(shuffled) == verdicts(base)
    assert bounds(shuffled) == bounds(base)


@settings(max_examples=300)
@given(networks(), st.data())
def test_whoever_leaves_does_no_harm(base: Network, data: st.DataObject) -> None:
    if base.channels and not Guarantees(base).refusals:
        gone = data.draw(st.sampled_from(sorted(base.channels)))
        left = [each for each in base.channels.values() if each.name != gone]
        assert refusals(with_channels(base, left)) == []


def test_a_large_burst_that_leaves_does_no_harm_though_it_takes_its_share_along() -> None:
    """A class gets in proportion to what its shortest deadline needs: `bulk` brings the 200ms class several times the
    rate that `calm` alone has beside the other class. But how long a packet waits does not hang on that."""
    base = with_uplink(network("ovs", "ovs"), "left", be_slack_ns=15 * NS_PER_MS)
    base = with_uplink(base, "other", be_slack_ns=15 * NS_PER_MS)
    beside = like(base, "beside", 40 * NS_PER_MS, 10_000, burst_bytes=95_000, talker="o")
    calm = like(base, "calm", 200 * NS_PER_MS, MBPS, burst_bytes=25_000)
    bulk = like(base, "bulk", 190 * NS_PER_MS, 10_000, burst_bytes=94_000)
    assert refusals(with_channels(base, [beside, calm, bulk])) == []
    assert refusals(with_channels(base, [beside, calm])) == []


@given(networks())
def test_what_is_not_refused_has_a_bound_within_its_deadline(base: Network) -> None:
    if not Guarantees(base).refusals:
        for each in Guarantees(base).by_channel.values():
            assert each.margin_ns is not None
            assert each.margin_ns >= 0


# From the guarantees before


@st.composite
def later(draw: st.DrawFn, before: Network) -> Network:
    """A network in which one to three channels of `before` went, came or became others."""
    kept = dict(before.channels)
    for _ in range(draw(st.integers(1, 3))):
        name = f"c{draw(st.integers(0, 9))}"
        if name in kept and draw(st.booleans()):
            del kept[name]
        else:
            kept[name] = draw(channels(network(), name))
    return replace(before, channels=kept)


def seen(found: Guarantees) -> list[object]:
    """All that there is to see, with its order."""
    ports = {port: (members, found.traffic.asked(port)) for port, members in found.ports.items()}
    shims = {port: found.demands(port) for port in found.shims}
    downstream_ns = [found.downstream_ns(found.network.channels[name]) for name in found.ways]
    named = [list(each.items()) for each in (found.by_channel, ports, shims)]
    return [found.refusals, found.ways, found.bounds, downstream_ns, *named]


TOLD = st.none() | st.dictionaries(
    st.sampled_from([(port.node, port.peer) for port in (TRUNK, LAST)]),
    st.dictionaries(st.sampled_from(["4ms", "8ms", "40ms", "200ms"]), st.none() | st.integers(0, 3 * NS_PER_MS)),
)


@settings(max_examples=200)
@given(networks(), st.data())
def test_however_a_network_came_to_be_its_guarantees_are_the_same(base: Network, data: st.DataObject) -> None:
    for name in ("other", "right"):
        base = with_uplink(base, name, scheduler=data.draw(st.sampled_from(Scheduler)))
    told = data.draw(TOLD)
    found = Guarantees(base, told=told)
    for _ in range(data.draw(st.integers(1, 5))):
        if data.draw(st.booleans()):
            assert seen(found) == seen(Guarantees(found.network, told=told))
        told_before, told = told, data.draw(st.just(told) | TOLD)
        network = data.draw(st.just(found.network) | later(found.network))
        after = Guarantees(network, found, told)
        assert seen(after) == seen(Guarantees(network, told=told))
        assert seen(found) == seen(Guarantees(found.network, told=told_before)), "what was before is as it was"
        found = after


def test_bounds_that_are_told_anew_count_though_no_channel_has_changed() -> None:
    """As when somebody else's channel came to the last port."""
    base = network()
    channel, last = base.channels["c"], (LAST.node, LAST.peer)
    found = Guarantees(base, told={last: {"8ms": 300_000}})
    later = Guarantees(base, found, {last: {"8ms": 1_300_000}})
    assert later.downstream_ns(channel) == found.downstream_ns(channel) + NS_PER_MS
    assert later.demands(UPLINK)[0].deadline_ns == found.demands(UPLINK)[0].deadline_ns - NS_PER_MS
    assert found.refusals == []
    assert [each.at for each in Guarantees(base, later, {last: {"8ms": 5 * NS_PER_MS}}).refusals] == ["c"]


def test_what_is_the_same_network_but_for_its_channels_keeps_its_paths() -> None:
    base = network()
    found = Guarantees(base)
    assert Guarantees(with_channels(base, []), found).paths is found.paths
    slower = with_uplink(base, "left", be_slack_ns=200_000)
    assert verdicts(slower) == {(each.at, each.what) for each in Guarantees(slower, found).refusals}
