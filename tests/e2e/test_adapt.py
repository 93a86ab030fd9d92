"""A channel that adapts, over a real network: after a miss its shim has less time for it, for a while. Needs root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.late_packets import send_late
from support.waiting import wait_until

from controller.topology_file.load import load
from controller.units import NS_PER_MS
from topologies.testbed import Testbed

TOPOLOGY = """
version: 1
hypervisors:
  left: {uplink: {rate: 100Mbps, be_slack: 2ms}}
  right: {uplink: 100Mbps}
vms:
  camera: {hypervisor: left, ip: 10.0.0.1}
  screen: {hypervisor: right, ip: 10.0.0.2}
channels:
  video: {from: camera, to: screen, protocol: udp, dst_port: 5004, deadline: 20ms, min_rate: 2Mbps, on_miss: adapt}
  other: {from: camera, to: screen, protocol: udp, dst_port: 5005, deadline: 20ms, min_rate: 2Mbps}
"""
DEADLINE_NS = 20 * NS_PER_MS
COUNT = 20
SENDER = f"""
import socket
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range({COUNT}):
    line.sendto(bytes(100), ("10.0.0.2", 5004))
"""


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    file = tmp_path_factory.mktemp("adapt") / "topology.yaml"
    file.write_text(TOPOLOGY)
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        yield testbed


def ask(testbed: Testbed, what: str) -> Any:
    """The talker's controller."""
    url = testbed.network.hypervisors["left"].controller.rest_url
    return httpx.get(f"{url}/v1/{what}", timeout=10, trust_env=False).json()


def adapted_ns(testbed: Testbed) -> int:
    return int(ask(testbed, "channels/video")["adaptation"]["adapted_ns"])


def test_after_a_miss_it_is_due_earlier_and_then_as_planned_again(testbed: Testbed) -> None:
    assert adapted_ns(testbed) == 0
    settings = ask(testbed, "shim")["settings"]
    send_late(testbed, testbed.network.channels["video"], late_ns=NS_PER_MS)
    wait_until(lambda: adapted_ns(testbed) > NS_PER_MS)
    found = ask(testbed, "channels/video")["adaptation"]
    assert found["adapted_ns"] <= found["most_ns"] < DEADLINE_NS
    assert ask(testbed, "shim")["settings"] > settings
    while before_ns := adapted_ns(testbed):
        wait_until(lambda: adapted_ns(testbed) < before_ns)
    assert ask(testbed, "channels/other")["adaptation"] is None
    assert ask(testbed, "health")["problems"] == []


def test_its_packets_keep_their_deadline_meanwhile(testbed: Testbed) -> None:
    """They arrive early by what is left of the whole deadline: their stamp does not know of it."""
    send_late(testbed, testbed.network.channels["video"], late_ns=DEADLINE_NS // 2)
    wait_until(lambda: adapted_ns(testbed) > DEADLINE_NS // 2)
    before = ask(testbed, "channels/video")["lateness"]["count"]
    _, errors = testbed.popen("camera", ["python3", "-c", SENDER]).communicate()
    assert errors == ""
    wait_until(lambda: ask(testbed, "channels/video")["lateness"]["count"] >= before + COUNT)
    assert ask(testbed, "channels/video")["lateness"]["min"] < -DEADLINE_NS // 2
