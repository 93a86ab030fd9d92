"""What the clocks leave in doubt is no miss: a real shim's word, and a real network's on its only clock. Needs root."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.frames import labelled
from support.shim_lab import ShimClient, ShimLab
from support.waiting import wait_until

import topologies
from controller.network.labels import TTL_STAMPED, TTL_UNSURE, absolute_deadline_label
from controller.topology_file.load import load
from controller.units import NS_PER_MS, NS_PER_S
from topologies.testbed import Testbed

FILE = Path(topologies.__file__).parent / "two_hypervisors.yaml"
LABEL = 4711
TERMS: dict[str, Any] = {"label": LABEL, "rate_bps": 0, "burst_bytes": 0, "downstream_ns": 0}
LATE_NS = 20 * NS_PER_MS
COUNTS = ("received_packets", "missed", "within_clock_error", "unjudged")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ShimLab]:
    with ShimLab(f"clock-{os.getpid()}", tmp_path) as shim_lab:
        yield shim_lab


def late(ttl: int) -> bytes:
    """A frame of the channel that is late already."""
    return labelled(absolute_deadline_label(time.time_ns() - LATE_NS), LABEL, ttl=ttl, length=100)


def counts(client: ShimClient) -> tuple[int, ...]:
    books = client.ask("statistics")["channels"][str(LABEL)]
    return tuple(books[name] for name in COUNTS)


def test_what_is_late_within_the_clocks_error_is_counted_apart_until_that_is_smaller(lab: ShimLab) -> None:
    lab.start()
    with lab.tap("far") as far, ShimClient(lab.socket_path) as client:
        assert client.ask("channels", set=[TERMS | {"clock_error_ns": 10 * NS_PER_S}])["ok"]
        far.send(late(TTL_STAMPED))
        wait_until(lambda: counts(client) == (1, 0, 1, 0))
        assert client.ask("channels", set=[TERMS | {"clock_error_ns": LATE_NS // 2}])["ok"]
        far.send(late(TTL_STAMPED))
        wait_until(lambda: counts(client) == (2, 1, 1, 0))
        ingress = client.ask("statistics")["ingress"]
        assert [ingress[name] for name in ("missed", "within_clock_error", "unjudged", "clock_steps")] == [1, 1, 0, 0]


def test_what_was_stamped_by_a_clock_that_had_just_been_set_is_not_judged(lab: ShimLab) -> None:
    lab.start()
    with lab.tap("far") as far, ShimClient(lab.socket_path) as client:
        client.ask("channels", set=[TERMS])
        far.send(late(TTL_UNSURE))
        wait_until(lambda: counts(client) == (1, 0, 0, 1))
        assert client.ask("statistics")["channels"][str(LABEL)]["lateness"]["count"] == 0


def test_on_one_machine_nothing_is_in_doubt() -> None:
    with Testbed(load(FILE)) as testbed:
        testbed.await_channels()
        for hypervisor in testbed.network.hypervisors.values():
            url = f"{hypervisor.controller.rest_url}/v1"
            clock = httpx.get(f"{url}/clock", timeout=10, trust_env=False).json()
            assert (clock["source"], clock["error_ns"], clock["why"], clock["peers"]) == ("same-host", 0, "", [])
            video = httpx.get(f"{url}/channels/video", timeout=10, trust_env=False).json()
            assert (video["clock_error_ns"], video["within_clock_error"], video["unjudged"]) == (0, 0, 0)
            (peer,) = httpx.get(f"{url}/peers", timeout=10, trust_env=False).json()
            assert peer["clock_difference_ns"] == 0
