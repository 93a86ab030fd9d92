"""What the isolation experiment concludes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made import packets, stream

from bench.isolation import GREEDY, Outcome, offers, report, text
from bench.streams import Exchange, Packet, Stream, network_of
from controller.model import Excess, Network
from controller.units import NS_PER_MS

COUNT = 3000


@pytest.fixture(scope="module", params=list(Excess))
def network(request: pytest.FixtureRequest) -> Network:
    with network_of(text(request.param)) as found:
        return found


def outcome(network: Network, is_flooded: bool, share: float) -> Outcome:
    """The greedy channel gets `share` of its rate, the others all of theirs."""
    streams = []
    for channel in network.channels.values():
        part = share if channel.name == GREEDY else 1
        interval_ms = channel.packet_bytes * 8 / channel.rate_bps * 1000 / part
        streams.append(stream(channel, packets(COUNT, interval_ms=interval_ms)))
    return Outcome(network.channels[GREEDY].excess, is_flooded, Exchange(streams, stalls=()))


def failures(*outcomes: Outcome) -> list[str]:
    return [verdict.text for verdict in report(outcomes).verdicts if not verdict.holds]


def with_stream(found: Outcome, name: str, changed: Stream) -> Outcome:
    streams = [changed if each.channel.name == name else each for each in found.exchange.streams]
    return replace(found, exchange=replace(found.exchange, streams=streams))


def test_only_the_greedy_channel_sends_more_than_its_rate(network: Network) -> None:
    excess = {offer.channel.name: offer.rate_bps / offer.channel.rate_bps for offer in offers(network)}
    assert excess.pop(GREEDY) == 6
    assert set(excess.values()) == {1}


@pytest.mark.parametrize(
    ("excess", "is_flooded", "share", "holds"),
    [
        (Excess.DROP, True, 1.0, True),
        (Excess.DROP, True, 1.05, True),
        (Excess.DROP, True, 0.98, False),
        (Excess.DROP, False, 1.07, False),
        (Excess.POSTPONE, True, 0.98, True),
        (Excess.POSTPONE, True, 0.96, False),
        (Excess.POSTPONE, False, 2.1, True),
        (Excess.POSTPONE, False, 1.9, False),
    ],
)
def test_the_greedy_channels_share(excess: Excess, is_flooded: bool, share: float, holds: bool) -> None:
    with network_of(text(excess)) as network:
        assert (not failures(outcome(network, is_flooded, share))) is holds


def test_a_neighbour_that_suffers_is_a_failure(network: Network) -> None:
    found = outcome(network, is_flooded=True, share=1)
    near = found.neighbours[0]
    late = Packet(near.arrived[-1].sent_ns, 6 * NS_PER_MS, COUNT - 1)
    hurt = replace(near, arrived=[*near.arrived[1:-1], late])
    (failure,) = failures(with_stream(found, near.channel.name, hurt))
    assert failure.endswith(
        "the neighbours lost 1 and missed 1 of 9,000 packets, wanted none (0 of them while the machine stood still)"
    )


def test_what_the_greedy_channel_loses_or_misses_is_its_own_affair(network: Network) -> None:
    found = outcome(network, is_flooded=True, share=1)
    late = [replace(packet, delay_ns=100 * NS_PER_MS) for packet in found.greedy.arrived]
    assert not failures(with_stream(found, GREEDY, replace(found.greedy, arrived=late, sent=6 * COUNT)))


def test_a_greedy_channel_out_of_order_is_a_failure(network: Network) -> None:
    found = outcome(network, is_flooded=True, share=1)
    first, second, *others = found.greedy.arrived
    (failure,) = failures(with_stream(found, GREEDY, replace(found.greedy, arrived=[second, first, *others])))
    assert failure.endswith("1 of the greedy channel's packets out of order")


def test_the_report_can_be_drawn_and_written(network: Network) -> None:
    from matplotlib.figure import Figure

    result = report([outcome(network, is_flooded, share=1) for is_flooded in (True, False)])
    result.draw(Figure())
    assert '"reordered": 0' in result.as_json()
