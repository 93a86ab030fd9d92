"""What the demo concludes from its measurements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import topologies
from bench.experiment2 import Outcome, report
from bench.stalls import Stall
from bench.streams import Packet, Stream
from controller.model import Network, Scheduler
from controller.topology_file.load import load
from controller.units import NS_PER_MS

NETWORK: Network = load(Path(topologies.__file__).parent / "paper_experiment2.yaml")
SENT = 100


def outcome(scheduler: Scheduler, delay_ms: float = 2.0, arrived: int = SENT, best_effort_bps: float = 93e6) -> Outcome:
    packets = [Packet(number * 6 * NS_PER_MS, round(delay_ms * NS_PER_MS)) for number in range(arrived)]
    told = {"sent": SENT, "received": arrived, "missed": 0}
    streams = [Stream(channel, SENT, packets, told) for channel in NETWORK.channels.values()]
    return Outcome(scheduler, streams, best_effort_bps, stalls=())


FIFO = outcome(Scheduler.FIFO, delay_ms=11, arrived=40)
EDF = outcome(Scheduler.EDF)


def failures(edf: Outcome, fifo: Outcome = FIFO) -> list[str]:
    return [verdict.text for verdict in report(NETWORK, [fifo, edf]).verdicts if not verdict.holds]


def test_all_is_well() -> None:
    assert failures(EDF) == []


def test_a_lost_packet_is_a_failure() -> None:
    edf = outcome(Scheduler.EDF, arrived=SENT - 1)
    assert failures(edf) == ["EDF lost 3 and missed 0 of 300 packets, wanted none"]


def test_a_late_packet_is_a_failure_and_its_excuse_is_told() -> None:
    first, *others = EDF.streams
    late = replace(first, arrived=[*first.arrived[:-1], Packet(SENT * 6 * NS_PER_MS, 4 * NS_PER_MS)])
    still = Stall((SENT * 6 + 3) * NS_PER_MS, (SENT * 6 + 5) * NS_PER_MS)
    edf = replace(EDF, streams=[late, *others], stalls=[still])
    assert failures(edf) == [
        "EDF lost 0 and missed 1 of 300 packets, wanted none (1 of them while the machine stood still)",
        "channel1: worst delay with EDF 4.0 ms; the paper's 3.0 ms",
    ]


def test_counts_that_differ_are_a_failure() -> None:
    first, *others = EDF.streams
    edf = replace(EDF, streams=[replace(first, told={**first.told, "received": 99}), *others])
    assert failures(edf) == ["/v1/channels counts the same packets as sources and receivers, and no miss"]


def test_starved_best_effort_is_a_failure() -> None:
    (text,) = failures(replace(EDF, best_effort_bps=80e6))
    assert "80.0 of the 93.7 Mb/s" in text


def test_first_in_first_out_that_is_good_enough_is_a_failure_of_the_experiment() -> None:
    assert failures(EDF, fifo=outcome(Scheduler.FIFO)) == ["FIFO lost 0 and missed 0 of 300 packets"]


@pytest.mark.parametrize("what", ["plot", "json"])
def test_the_report_can_be_drawn_and_written(what: str) -> None:
    from matplotlib.figure import Figure

    result = report(NETWORK, [FIFO, EDF])
    if what == "plot":
        result.draw(Figure())
    else:
        assert '"lost": 60' in result.as_json()
