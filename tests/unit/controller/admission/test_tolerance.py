"""How much larger than its contract is what a shim holds a channel to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.examples import FILES, example
from support.networks import two_hypervisors

from controller.admission.guarantee import Guarantees
from controller.admission.tolerance import JITTERS_NS, enlarged, leniency_ns, lenient
from controller.model import Network, SwitchKind
from controller.units import NS_PER_MS

NETWORK = two_hypervisors(kind=SwitchKind.PLAIN)


def with_slack(network: Network, slack_ns: int) -> Network:
    hypervisors = {
        name: replace(each, uplink=replace(each.uplink, be_slack_ns=slack_ns))
        for name, each in network.hypervisors.items()
    }
    return replace(network, hypervisors=hypervisors)


def tolerant(network: Network) -> Network:
    return lenient(network, leniency_ns(network))


def test_a_contract_is_larger_by_a_twentieth_and_by_what_comes_in_the_jitter() -> None:
    """2 Mb/s of payload are 2,100,544 bit/s on the wire: 2,625.68 bytes in 10 ms."""
    video = enlarged(NETWORK, 10 * NS_PER_MS).channels["video"]
    assert (video.rate_bps, video.burst_bytes) == (2_100_000, 3000 + 2626)
    assert enlarged(NETWORK, 0).channels["video"].burst_bytes == 3000


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_the_shims_allow_is_admitted_and_no_more_would_be(file: Path) -> None:
    network = example(file.stem)
    chosen = tolerant(network)
    assert Guarantees(chosen).refusals == []
    given = [jitter_ns for jitter_ns in JITTERS_NS if enlarged(network, jitter_ns) == chosen]
    assert len(given) == 1
    for more_ns in JITTERS_NS[: JITTERS_NS.index(given[0])]:
        assert Guarantees(enlarged(network, more_ns)).refusals


def test_where_there_is_no_room_the_contract_is_kept_to_the_letter() -> None:
    """A frame of best effort and both bursts take 0.6 ms of the link."""
    tight = with_slack(NETWORK, 620_000)
    assert not Guarantees(tight).refusals
    assert tolerant(tight).channels["video"].burst_bytes < 3000 + 2626
    overloaded = with_slack(NETWORK, 100_000)
    assert Guarantees(overloaded).refusals
    assert tolerant(overloaded) is overloaded


def test_deadlines_and_marks_stay_as_they_are() -> None:
    for name, channel in tolerant(NETWORK).channels.items():
        declared = NETWORK.channels[name]
        assert replace(channel, rate_bps=declared.rate_bps, burst_bytes=declared.burst_bytes) == declared
