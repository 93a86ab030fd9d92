"""Two controllers over a real network, with certificates: late packets are known at the talker's end. Needs root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.examples import TOPOLOGIES
from support.late_packets import LATE_NS, send_late
from support.waiting import wait_until

from controller.model import Channel
from controller.topology_file.load import load
from rtvnic.__main__ import main
from rtvnic.follow import parsed
from topologies.testbed import Testbed

METRIC = "rtvnic_channel_missed_packets_total"


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    file = tmp_path_factory.mktemp("network") / "net.yaml"
    file.write_text((TOPOLOGIES / "two_hypervisors.yaml").read_text() + "tls: pki\n")
    assert main(["pki", str(file)]) == 0
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        yield testbed


def ask(testbed: Testbed, domain: str, what: str) -> Any:
    url = testbed.network.hypervisors[domain].controller.rest_url
    return httpx.get(f"{url}/v1/{what}", timeout=10, trust_env=False).json()


def metric(testbed: Testbed, domain: str, name: str, channel: str) -> float:
    """The sum of the samples of that metric and channel."""
    url = testbed.network.hypervisors[domain].controller.rest_url
    lines = httpx.get(f"{url}/metrics", timeout=10, trust_env=False).text.splitlines()
    mine = [line for line in lines if line.startswith(f"{name}{{") and f'channel="{channel}"' in line]
    return sum(float(line.split()[-1]) for line in mine)


def missed(testbed: Testbed, domain: str) -> Any:
    return ask(testbed, domain, "channels/video")["missed"]


def channel(testbed: Testbed) -> Channel:
    return testbed.network.channels["video"]


def ends(testbed: Testbed) -> tuple[str, str]:
    return testbed.network.talker_domain(channel(testbed)), testbed.network.listener_domain(channel(testbed))


def test_the_talkers_controller_hears_of_a_miss(testbed: Testbed) -> None:
    talker, listener = ends(testbed)
    send_late(testbed, channel(testbed))
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
    send_late(testbed, channel(testbed), 100)
    testbed.await_channels()
    wait_until(lambda: missed(testbed, talker) == missed(testbed, listener) == before + 100)
    (peer,) = ask(testbed, listener, "peers")
    assert (peer["session"], peer["refused"], peer["reconnects"]) == ("open", 0, 1)


def test_totals_agree_after_a_controller_did_not_answer(testbed: Testbed) -> None:
    talker, listener = ends(testbed)
    before = missed(testbed, listener)
    hung = testbed.child(f"controller of {talker}").pid
    os.kill(hung, signal.SIGSTOP)
    send_late(testbed, channel(testbed), 50)
    try:
        wait_until(lambda: not ask(testbed, listener, "peers")[0]["is_reachable"])
        send_late(testbed, channel(testbed), 50)
    finally:
        os.kill(hung, signal.SIGCONT)
    wait_until(lambda: missed(testbed, talker) == missed(testbed, listener) == before + 100)


def test_a_miss_is_an_event_and_a_metric(testbed: Testbed) -> None:
    _, listener = ends(testbed)
    url = testbed.network.hypervisors[listener].controller.rest_url
    before = metric(testbed, listener, METRIC, "video")
    with httpx.stream("GET", f"{url}/v1/events", timeout=10, trust_env=False) as events:
        send_late(testbed, channel(testbed))
        event = next(each for each in parsed(events.iter_lines()) if each.name == "misses")
    assert (event.data["channel"], event.data["domain"], event.data["count"]) == ("video", listener, 1)
    assert event.data["worst_lateness_ns"] >= LATE_NS
    wait_until(lambda: metric(testbed, listener, METRIC, "video") == before + 1)
