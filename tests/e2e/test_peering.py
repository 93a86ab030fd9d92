"""Two controllers over a real network: late packets are known at the talker's end, also after a crash. Needs root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.late_packets import LATE_NS, send_late
from support.waiting import wait_until

import topologies
from controller.topology_file.load import load
from topologies.testbed import Testbed

FILE = Path(topologies.__file__).parent / "two_hypervisors.yaml"

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with Testbed(load(FILE)) as testbed:
        testbed.await_channels()
        yield testbed


def ask(testbed: Testbed, domain: str, what: str) -> Any:
    url = testbed.network.hypervisors[domain].controller.rest_url
    return httpx.get(f"{url}/v1/{what}", timeout=10, trust_env=False).json()


def missed(testbed: Testbed, domain: str) -> int:
    return int(ask(testbed, domain, "channels/video")["missed"])


def ends(testbed: Testbed) -> tuple[str, str]:
    channel = testbed.network.channels["video"]
    return testbed.network.talker_domain(channel), testbed.network.listener_domain(channel)


def test_the_talkers_controller_hears_of_a_miss(testbed: Testbed) -> None:
    talker, listener = ends(testbed)
    send_late(testbed, "video", 1)
    wait_until(lambda: ask(testbed, talker, "miss_reports"))
    (report,) = ask(testbed, talker, "miss_reports")
    assert (report["channel"], report["domain"], report["misses"], report["total_misses"]) == ("video", listener, 1, 1)
    assert LATE_NS <= report["worst_ns"] == report["mean_ns"]
    assert report["first_at_ns"] <= report["heard_at_ns"]
    wait_until(lambda: missed(testbed, talker) == missed(testbed, listener) == 1)


def test_totals_agree_after_a_controller_was_killed(testbed: Testbed) -> None:
    talker, listener = ends(testbed)
    before = missed(testbed, listener)
    os.kill(testbed.child(f"controller of {talker}").pid, signal.SIGKILL)
    send_late(testbed, "video", 100)
    testbed.await_channels()
    wait_until(lambda: missed(testbed, talker) == missed(testbed, listener) == before + 100)
    (peer,) = ask(testbed, listener, "peers")
    assert (peer["session"], peer["refused"], peer["reconnects"]) == ("open", 0, 1)
