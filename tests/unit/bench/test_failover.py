"""What the failover experiment makes of arrivals and states, and what it concludes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from signal import SIGKILL, SIGSTOP

import pytest
from made import packets

from bench.failover import (
    CHANNEL,
    TERMS,
    Damage,
    Incident,
    Outcome,
    Queues,
    damages,
    longest_gap_ns,
    lost_at_ns,
    report,
    seen,
)
from bench.streams import Packet, network_of, topology
from controller.units import NS_PER_MS, NS_PER_S

MS = NS_PER_MS


def incident(how: signal.Signals, at_ms: int, back_ms: int | None = 2000) -> Incident:
    return Incident(how, at_ms * MS, (at_ms + 100) * MS, None if back_ms is None else (at_ms + back_ms) * MS)


def without(arrived: Sequence[Packet], *ranges: range) -> list[Packet]:
    return [packet for packet in arrived if not any(packet.sequence in each for each in ranges)]


@pytest.mark.parametrize(
    ("start", "end", "gap"),
    [(0, 100, 30), (0, 9, 9), (10, 20, 10), (20, 21, 30), (49, 51, 30), (50, 100, 8)],
)
def test_the_longest_gap_is_of_those_that_overlap(start: int, end: int, gap: int) -> None:
    assert longest_gap_ns([0, 1, 10, 20, 50, 52, 60], start, end) == gap


def test_where_nothing_arrives_all_of_the_time_is_a_gap() -> None:
    assert longest_gap_ns([], 10, 25) == longest_gap_ns([12], 10, 25) == 15


def test_lost_packets_were_sent_after_the_one_before() -> None:
    arrived = without(packets(12), range(3, 5), range(10, 12))
    assert lost_at_ns(12, arrived) == [3 * MS, 4 * MS, 10 * MS, 11 * MS]
    assert lost_at_ns(12, packets(12)) == []


def test_states_tell_when_it_was_noticed_and_when_it_was_over() -> None:
    states = [(1, "installed"), (2, "degraded"), (3, "degraded"), (4, "installed"), (5, "degraded")]
    assert seen(states[:1]) == (None, None)
    assert seen(states[:3]) == (2, None)
    assert seen(states) == (2, 4)


def test_damages_are_told_apart_by_incident_and_by_way() -> None:
    incidents = [incident(SIGKILL, at_ms=1000), incident(SIGSTOP, at_ms=5000)]
    arrived = without(packets(9000), range(1000, 1025), range(3000, 3004), range(5001, 5031))
    first, second = damages(incidents, 9000, arrived)
    assert first == Damage(incidents[0], gap_ns=26 * MS, lost=29, lost_back=4)
    assert second == Damage(incidents[1], gap_ns=31 * MS, lost=30, lost_back=0)


GOOD = Outcome(
    damages=[Damage(incident(how, at_ms=1000), 30 * MS, 25, 0) for how in (SIGKILL, SIGSTOP)],
    queues=Queues(own=8950, others=0, bypassed=2000),
    sent=9000,
    lost=50,
    stalls=(),
)


def failures(outcome: Outcome) -> list[str]:
    return [verdict.text for verdict in report(outcome).verdicts if not verdict.holds]


def harmed(how: signal.Signals, **changes: object) -> Outcome:
    return replace(
        GOOD, damages=[replace(each, **changes) if each.incident.how is how else each for each in GOOD.damages]
    )


def test_all_is_well() -> None:
    assert failures(GOOD) == []


@pytest.mark.parametrize(("how", "most_ms"), [(SIGKILL, 60), (SIGSTOP, 100)])
def test_a_long_gap_is_a_failure(how: signal.Signals, most_ms: int) -> None:
    assert failures(harmed(how, gap_ns=most_ms * MS)) == []
    (failure,) = failures(harmed(how, gap_ns=(most_ms + 1) * MS))
    assert failure.startswith(f"{how.name}: nothing arrived for {most_ms + 1}.0 ms")


def test_a_packet_lost_on_the_way_back_is_a_failure() -> None:
    assert failures(harmed(SIGKILL, lost_back=1)) == ["SIGKILL: 1 packets lost on the way back, wanted none"]


def test_a_shim_that_never_comes_back_is_a_failure() -> None:
    outcome = harmed(SIGSTOP, incident=incident(SIGSTOP, 1000, back_ms=None))
    assert failures(outcome) == ["SIGSTOP: back in EDF after inf s at worst, wanted 3 or less"]
    assert '"back_s": null' in report(outcome).as_json()


def test_degradation_that_is_told_late_is_a_failure() -> None:
    late = Incident(SIGKILL, 0, 1100 * MS, 2 * NS_PER_S)
    (failure,) = failures(harmed(SIGKILL, incident=late))
    assert failure.startswith("SIGKILL: REST said degraded after 1.10 s")


@pytest.mark.parametrize(
    "queues", [Queues(8949, 0, 2000), Queues(8950, 1, 2000), Queues(8950, 0, 0), Queues(8950, 0, 8950)]
)
def test_a_packet_in_another_queue_is_a_failure(queues: Queues) -> None:
    assert len(failures(replace(GOOD, queues=queues))) == 1


def test_medians_and_worst_are_told() -> None:
    from matplotlib.figure import Figure

    others = [replace(GOOD.damages[0], gap_ns=gap_ms * MS) for gap_ms in (10, 50)]
    result = report(replace(GOOD, damages=[*GOOD.damages, *others]))
    assert result.rows[0][:4] == ("SIGKILL", 3, "median", "30.0")
    assert result.rows[1][:4] == ("SIGKILL", 3, "worst", "50.0")
    result.draw(Figure())


def test_the_channel_is_accepted() -> None:
    with network_of(topology("100Mbps", {CHANNEL: TERMS}, "1ms")) as network:
        assert network.channels[CHANNEL].packet_bytes == 200
