"""The C core and the Python reference obey the same traces, and each other in random workloads."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_scheduler import CoreScheduler
from support.traces import read, run

from dataplane.reference import Packet, ReferenceScheduler

TRACES = sorted((Path(__file__).parents[2] / "traces").glob("*.trace"))
EITHER = pytest.mark.parametrize("scheduler", [CoreScheduler, ReferenceScheduler])


@EITHER
@pytest.mark.parametrize("file", TRACES, ids=lambda file: file.stem)
def test_departures_are_as_worked_out_by_hand(
    file: Path, scheduler: type[CoreScheduler] | type[ReferenceScheduler]
) -> None:
    trace = read(file)
    assert len(trace.departures) == len(trace.arrivals) > 0
    departures = run(scheduler(trace.rate_bps, trace.be_slack_ns, trace.ahead_ns), trace.arrivals)
    assert departures == trace.departures


def test_a_line_that_is_not_understood_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "wrong.trace"
    file.write_text("arrive 0 real-time a bytes 60\n")
    with pytest.raises(ValueError, match="real-time a"):
        read(file)


times = st.integers(0, 3_000_000)
packets = st.builds(
    Packet,
    name=st.uuids().map(str),
    frame_bytes=st.integers(14, 1518),
    deadline_ns=st.none() | st.integers(0, 100).map(lambda tick: tick * 50_000),
    release_ns=st.just(0) | st.integers(0, 80).map(lambda tick: tick * 50_000),
)
workloads = st.lists(st.tuples(times, packets), max_size=60).map(lambda arrivals: sorted(arrivals, key=lambda a: a[0]))


@given(
    workload=workloads,
    rate_bps=st.sampled_from([0, 999_983, 100_000_000, 1_000_000_000]),
    be_slack_ns=st.integers(0, 3_000_000),
    ahead_ns=st.sampled_from([0, 50_000]),
)
def test_the_core_does_as_the_reference(
    workload: list[tuple[int, Packet]], rate_bps: int, be_slack_ns: int, ahead_ns: int
) -> None:
    numbers = (rate_bps, be_slack_ns, ahead_ns)
    departures = run(CoreScheduler(*numbers), workload)
    assert departures == run(ReferenceScheduler(*numbers), workload)
    assert sorted(name for _, name in departures) == sorted(packet.name for _, packet in workload)
