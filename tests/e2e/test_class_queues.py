"""An uplink without a shim: Open vSwitch's class queues do the work, and the channels live as before. Needs root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.exchange import listen, received, start_sender
from support.waiting import wait_until

from controller.model import Channel
from controller.topology_file.load import load
from ovs_config.probe import FRAMES
from topologies.testbed import Testbed

TEXT = """\
version: 1
hypervisors:
  left: {uplink: {rate: 100Mbps, scheduler: queues}}
  right: {uplink: {rate: 100Mbps, scheduler: queues}}
vms:
  camera: {hypervisor: left, ip: 10.0.0.1}
  screen: {hypervisor: right, ip: 10.0.0.2}
channels:
  video: {from: camera, to: screen, deadline: 8ms, min_rate: 4Mbps, burst: 15kB, protocol: udp, dst_port: 5004}
  control: {from: camera, to: screen, deadline: 4ms, min_rate: 4Mbps, burst: 15kB, protocol: udp, dst_port: 5005}
  modest: {from: camera, to: screen, deadline: 50ms, min_rate: 200kbps, protocol: udp, dst_port: 5006}
"""


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    file = tmp_path_factory.mktemp("queues") / "queues.yaml"
    file.write_text(TEXT)
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        yield testbed


def transfer(testbed: Testbed, channel: Channel, count: int, rate: str) -> int:
    """How many of `count` packets the listener gets."""
    assert channel.dst_port is not None
    receiver = listen(testbed, channel.listener, channel.dst_port, "--count", count, "--idle", 2)
    start_sender(testbed, channel, channel.dst_port, "--count", count, "--rate", rate).wait()
    return int(received(receiver)["received"])


def queues(testbed: Testbed) -> list[dict[str, Any]]:
    """Those of the uplink of `left`."""
    url = testbed.network.hypervisors["left"].controller.rest_url
    found: list[dict[str, Any]] = httpx.get(f"{url}/v1/queues", trust_env=False).json()
    return [queue for queue in found if queue["interface"] == "left-up"]


def test_every_class_is_proved_before_anybody_counts_on_it(testbed: Testbed) -> None:
    wait_until(lambda: {queue["proof"] for queue in queues(testbed)} == {"proved"})
    assert {queue["queue_id"] for queue in queues(testbed)} == {0, *(each.queue_id for each in testbed.network.classes)}


def test_each_channel_has_its_queue_and_loses_nothing(testbed: Testbed) -> None:
    """Its contract covers what a talker that stood still for a tenth of a second sends at once then."""
    wait_until(lambda: all(queue["packets"] >= FRAMES for queue in queues(testbed) if queue["queue_id"]), "probed")
    before = Counter({queue["queue_id"]: queue["packets"] for queue in queues(testbed)})
    expected = {}
    for name, count in (("video", 300), ("control", 200)):
        channel = testbed.network.channels[name]
        assert transfer(testbed, channel, count, "1Mbps") == count
        expected[channel.deadline_class.queue_id] = count

    def counted() -> dict[int, int]:
        now = Counter({queue["queue_id"]: queue["packets"] for queue in queues(testbed)})
        return {queue_id: count for queue_id, count in (now - before).items() if queue_id}

    wait_until(lambda: counted() == expected, f"wanted {expected}, found {counted()}")


def test_excess_is_dropped(testbed: Testbed) -> None:
    """At ten times the rate, in 1.2 seconds: about a tenth conforms, beside what leniency allows."""
    assert 0 < transfer(testbed, testbed.network.channels["modest"], 200, "2Mbps") < 100


def test_the_bound_is_that_of_the_queues(testbed: Testbed) -> None:
    for channel in testbed.channels().values():
        assert [hop["server"] for hop in channel["hops"]] == ["queues", "plain"]
        assert 0 < channel["bound_ns"] <= channel["deadline_ns"]
        assert channel["state"] == "installed"
