"""A talker that sends six times its contract: what becomes of the excess is counted, and its neighbour loses nothing.
Needs root."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.waiting import wait_until

from controller.model import Channel
from controller.topology_file.load import load
from topologies.testbed import Testbed

TEXT = """\
version: 1
hypervisors:
  left: {uplink: {rate: 20Mbps, be_slack: 8ms}}
  right: {uplink: 20Mbps}
vms:
  greedy: {hypervisor: left, ip: 10.0.0.1}
  modest: {hypervisor: left, ip: 10.0.0.2}
  sink: {hypervisor: right, ip: 10.0.0.3}
channels:
  dropped: {from: greedy, to: sink, deadline: 20ms, min_rate: 1Mbps, excess: drop, protocol: udp, dst_port: 5001}
  postponed: {from: greedy, to: sink, deadline: 20ms, min_rate: 1Mbps, protocol: udp, dst_port: 5002}
  neighbour: {from: modest, to: sink, deadline: 200ms, min_rate: 1Mbps, protocol: udp, dst_port: 5003}
"""
COUNT = 1000
NEIGHBOUR_COUNT = 150

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    file = tmp_path_factory.mktemp("contracts") / "contracts.yaml"
    file.write_text(TEXT)
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        yield testbed


def program(testbed: Testbed, vm: str, *words: object) -> subprocess.Popen[str]:
    return testbed.popen(vm, [sys.executable, "-m", "bench.traffic", *map(str, words)])


def start_receiver(testbed: Testbed, channel: Channel) -> subprocess.Popen[str]:
    receiver = program(testbed, channel.listener, "receive", "--port", channel.dst_port, "--idle", 1)
    wait_until(lambda: f":{channel.dst_port}" in testbed.popen(channel.listener, ["ss", "-Hlun"]).communicate()[0])
    return receiver


def start_sender(testbed: Testbed, channel: Channel, rate: str, count: int) -> subprocess.Popen[str]:
    to = f"{channel.destination}:{channel.dst_port}"
    return program(testbed, channel.talker, "send", "--to", to, "--rate", rate, "--count", count, "--payload", 1400)


def exchange(testbed: Testbed, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What arrives of the channel `name` at six times its rate, and of the neighbour, against a flood."""
    channel, neighbour = testbed.network.channels[name], testbed.network.channels["neighbour"]
    receivers = [start_receiver(testbed, each) for each in (channel, neighbour)]
    flood = program(testbed, "modest", "send", "--to", "10.0.0.3:9", "--rate", "30Mbps", "--seconds", 60)
    senders = [
        start_sender(testbed, channel, "6Mbps", COUNT),
        start_sender(testbed, neighbour, "1Mbps", NEIGHBOUR_COUNT),
    ]
    for sender in senders:
        sender.wait()
    flood.terminate()
    first, second = (json.loads(receiver.communicate(timeout=30)[0]) for receiver in receivers)
    return first, second


@pytest.mark.parametrize("name", ["dropped", "postponed"])
def test_excess_is_dropped_and_counted_and_the_neighbour_loses_nothing(testbed: Testbed, name: str) -> None:
    received, neighbours = exchange(testbed, name)
    assert neighbours["received"] == NEIGHBOUR_COUNT
    assert 0 < received["received"] < COUNT

    def unaccounted() -> int:
        told = testbed.channels()[name]
        return COUNT - received["received"] - int(told["excess_dropped"]) - int(told["late_dropped"])

    wait_until(lambda: unaccounted() == 0, f"{unaccounted()} packets unaccounted for")
    told = testbed.channels()[name]
    assert told["excess_dropped"] > COUNT / 2
    assert (told["postponed"] > 0) == (name == "postponed")
