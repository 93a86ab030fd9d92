"""What the adapt experiment concludes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from made import packets, stream

from bench.adapt import DEADLINES, Kind, Outcome, Phase, Sample, report, text
from bench.streams import Packet, Stream, network_of
from controller.admission.guarantee import Guarantees
from controller.model import Network
from controller.units import NS_PER_MS, NS_PER_S

COUNT = 10_000
BEGIN_NS, END_NS = 2 * NS_PER_S, 6 * NS_PER_S
LATE_NS = 30 * NS_PER_MS


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with network_of(text()) as found:
        yield found


def late(found: Stream, count: int, from_ns: int) -> Stream:
    """Of what was sent from `from_ns` on, the first `count` came late."""
    left, arrived = count, []
    for packet in found.arrived:
        is_late = packet.sent_ns >= from_ns and left > 0
        left -= is_late
        arrived.append(Packet(packet.sent_ns, LATE_NS, packet.sequence) if is_late else packet)
    return replace(found, arrived=arrived)


def outcome(network: Network, misses: Mapping[Kind, int], from_ns: int = BEGIN_NS) -> Outcome:
    """Each channel of a kind has so many misses; what adapts does so from 3 s to 8 s."""
    streams = []
    for channel in network.channels.values():
        kind = next(kind for kind in Kind if channel.name.startswith(kind))
        streams.append(late(stream(channel, packets(COUNT)), misses.get(kind, 0), from_ns))
    samples = [Sample(at * NS_PER_S, {"adapt16ms": 4 * NS_PER_MS if 3 <= at < 8 else 0}) for at in range(12)]
    return Outcome(streams, BEGIN_NS, END_NS, samples, stalls=())


def failures(found: Outcome) -> list[str]:
    return [verdict.text for verdict in report(found).verdicts if not verdict.holds]


def test_the_plan_knows_of_no_bursts_and_keeps_all_deadlines(network: Network) -> None:
    assert Guarantees(network).refusals == []
    asking = {each.name for each in network.channels.values() if "adapt" in each.on_miss}
    assert asking == {f"adapt{deadline}" for deadline in DEADLINES}


@pytest.mark.parametrize(
    ("plain", "adapting", "holds"), [(100, 10, True), (100, 0, True), (100, 11, False), (0, 0, False)]
)
def test_a_tenth_of_the_misses_or_less(network: Network, plain: int, adapting: int, holds: bool) -> None:
    found = outcome(network, {Kind.PLAIN: plain, Kind.ADAPT: adapting})
    assert (not failures(found)) is holds


def test_only_the_bursts_count(network: Network) -> None:
    assert failures(outcome(network, {Kind.PLAIN: 100}, from_ns=END_NS)) != []
    assert failures(outcome(network, {Kind.PLAIN: 100}, from_ns=0)) != []


def test_a_miss_elsewhere_is_a_failure(network: Network) -> None:
    (failure,) = failures(outcome(network, {Kind.PLAIN: 100, Kind.ASIDE: 1}))
    assert failure.startswith("channels that go elsewhere missed 2")


def test_when_all_was_as_planned_again(network: Network) -> None:
    found = outcome(network, {Kind.PLAIN: 100})
    assert found.back_s == 2
    never = replace(found, samples=found.samples[:7])
    assert never.back_s is None
    assert failures(never) == ["as planned again never after the bursts, wanted 120 s or less"]


def test_a_packet_that_the_bursts_met_is_theirs(network: Network) -> None:
    found = outcome(network, {})
    first = found.streams[0]
    met = replace(first, arrived=[Packet(BEGIN_NS - NS_PER_MS, LATE_NS, 0)])
    changed = replace(found, streams=[met])
    assert (changed.arrived(Kind.PLAIN, Phase.BEFORE), changed.arrived(Kind.PLAIN, Phase.BURSTS)) == (0, 1)


def test_the_report_can_be_drawn_and_written(network: Network) -> None:
    from matplotlib.figure import Figure

    result = report(outcome(network, {Kind.PLAIN: 100}))
    result.draw(Figure())
    assert '"back_s": 2.0' in result.as_json()
