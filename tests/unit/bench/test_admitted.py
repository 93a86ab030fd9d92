"""The sets of channels of the admitted experiment, and what it concludes."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from made import packets, stream

from bench.admitted import CHANNELS, DEADLINES_MS, LEAST_LOAD, Outcome, accepted, load, offers, report
from bench.stalls import Stall
from bench.streams import Exchange, network_of
from controller.admission.guarantee import Guarantees
from controller.model import FULL_LABELLED_FRAME_BYTES, Network
from controller.units import NS_PER_MS

SENT = 100


@pytest.fixture(scope="module")
def networks() -> list[Network]:
    found = []
    for text in islice(accepted(Random(3)), 30):
        with network_of(text) as network:
            found.append(network)
    return found


def test_sets_are_accepted_and_fill_the_link(networks: list[Network]) -> None:
    for network in networks:
        assert not Guarantees(network).refusals
        assert LEAST_LOAD <= load(network) < 1
        assert CHANNELS[0] <= len(network.channels) <= CHANNELS[1]
        deadlines_ms = [channel.deadline_ns / NS_PER_MS for channel in network.channels.values()]
        assert min(deadlines_ms) >= DEADLINES_MS[0] and max(deadlines_ms) <= DEADLINES_MS[1]


def test_the_seed_decides() -> None:
    first, again, other = (list(islice(accepted(Random(seed)), 3)) for seed in (1, 1, 2))
    assert first == again != other


def test_each_channel_sends_all_that_its_contract_allows(networks: list[Network]) -> None:
    for offer in offers(networks[0]):
        assert offer.rate_bps == offer.channel.rate_bps
        assert offer.burst * FULL_LABELLED_FRAME_BYTES == offer.channel.burst_bytes


def outcome(network: Network, late_ms: float = -1) -> Outcome:
    """The last packet of the first channel comes so long after its deadline."""
    first, *others = (stream(channel, packets(SENT)) for channel in network.channels.values())
    delay_ns = first.channel.deadline_ns + round(late_ms * NS_PER_MS)
    last = replace(first.arrived[-1], delay_ns=delay_ns)
    return Outcome(network, Exchange([replace(first, arrived=[*first.arrived[:-1], last]), *others], stalls=()))


def failures(found: Outcome) -> list[str]:
    return [verdict.text for verdict in report([found]).verdicts if not verdict.holds]


@pytest.mark.parametrize(("late_ms", "holds"), [(-0.1, True), (1.9, True), (2.1, False)])
def test_only_what_exceeds_the_allowance_is_a_failure(networks: list[Network], late_ms: float, holds: bool) -> None:
    assert (not failures(outcome(networks[0], late_ms))) is holds


def test_what_the_machine_did_is_told(networks: list[Network]) -> None:
    found = outcome(networks[0], late_ms=3)
    still = [Stall(SENT * NS_PER_MS, (SENT + 1) * NS_PER_MS)]
    (failure,) = failures(replace(found, exchange=replace(found.exchange, stalls=still)))
    assert failure.endswith("wanted none of these (1 of them while the machine stood still)")


def test_a_miss_that_rest_counts_is_a_failure(networks: list[Network]) -> None:
    found = outcome(networks[0])
    first, *others = found.exchange.streams
    missed = replace(first, told={**first.told, "missed": 1})
    found = replace(found, exchange=replace(found.exchange, streams=[missed, *others]))
    assert failures(found) == ["/v1/channels counts 1 misses, wanted none"]


def test_a_lost_packet_is_a_failure(networks: list[Network]) -> None:
    found = outcome(networks[0])
    first, *others = found.exchange.streams
    found = replace(found, exchange=replace(found.exchange, streams=[replace(first, sent=SENT + 1), *others]))
    (failure,) = failures(found)
    assert failure.startswith("1 sets lost 1 of")


def test_the_report_can_be_drawn_and_written(networks: list[Network]) -> None:
    from matplotlib.figure import Figure

    result = report([outcome(network) for network in networks[:2]])
    assert len(result.rows[0]) == len(result.headers)
    result.draw(Figure())
    assert '"beyond": 0' in result.as_json()
