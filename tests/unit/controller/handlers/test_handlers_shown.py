"""What REST and Prometheus are told of the handlers of misses."""

from __future__ import annotations

import httpx
from support.domains import Driver
from support.examples import distinct
from support.fake_store import FakeStore, asking
from support.networks import two_hypervisors

from controller.model import SwitchKind
from controller.rest.resources import HandlerView

NETWORK = distinct(two_hypervisors(kind=SwitchKind.PLAIN))
PAGER = HandlerView(
    domain="left",
    name="pager",
    kind="exec",
    every_ns=1,
    timeout_ns=2,
    waiting=3,
    running=4,
    started=9,
    failed=5,
    timed_out=6,
    retried=7,
    summed=8,
    dropped=10,
    why="ended with exit code 3",
)


def answer(path: str) -> httpx.Response:
    (found,) = asking(
        Driver(NETWORK, "left"), FakeStore(NETWORK), NETWORK, [("GET", path, {})], handlers=lambda: [PAGER]
    )
    return found


def test_rest_shows_each_with_its_counts() -> None:
    assert answer("/v1/handlers").json() == [PAGER.model_dump()]


def test_prometheus_reads_the_counts() -> None:
    lines = [line for line in answer("/metrics").text.splitlines() if line.startswith("rtvnic_handler_")]
    counts = {"started": 9, "failed": 5, "timed_out": 6, "retried": 7, "summed": 8, "dropped": 10}
    labels = '{domain="left",handler="pager"}'
    assert lines == [
        *(f"rtvnic_handler_{name}_total{labels} {float(count)}" for name, count in counts.items()),
        f"rtvnic_handler_waiting{labels} 3.0",
    ]
