"""A talker that sends six times its contract: what becomes of the excess is counted, and its neighbour loses nothing.
Needs root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.exchange import listen, received, start_sender
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


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    file = tmp_path_factory.mktemp("contracts") / "contracts.yaml"
    file.write_text(TEXT)
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        yield testbed


def exchange(testbed: Testbed, name: str) -> tuple[int, int]:
    """How much arrives of the channel `name` at six times its rate, and of the neighbour, against a flood."""
    channels = {testbed.network.channels[name]: ("6Mbps", COUNT)}
    channels |= {testbed.network.channels["neighbour"]: ("1Mbps", NEIGHBOUR_COUNT)}
    receivers = [listen(testbed, each.listener, port_of(each), "--idle", 1) for each in channels]
    to_nobody = start_sender(testbed, testbed.network.channels["neighbour"], 9, "--rate", "30Mbps", "--seconds", 60)
    for sender in [
        start_sender(testbed, each, port_of(each), "--rate", rate, "--count", count, "--payload", 1400)
        for each, (rate, count) in channels.items()
    ]:
        sender.wait()
    to_nobody.terminate()
    first, second = (int(received(receiver)["received"]) for receiver in receivers)
    return first, second


def port_of(channel: Channel) -> int:
    assert channel.dst_port is not None
    return channel.dst_port


@pytest.mark.parametrize("name", ["dropped", "postponed"])
def test_excess_is_dropped_and_counted_and_the_neighbour_loses_nothing(testbed: Testbed, name: str) -> None:
    arrived, neighbours = exchange(testbed, name)
    assert neighbours == NEIGHBOUR_COUNT
    assert 0 < arrived < COUNT

    def unaccounted() -> int:
        told = testbed.channels()[name]
        return COUNT - arrived - int(told["excess_dropped"]) - int(told["late_dropped"])

    wait_until(lambda: unaccounted() == 0, f"{unaccounted()} packets unaccounted for")
    told = testbed.channels()[name]
    assert told["excess_dropped"] > COUNT / 2
    assert (told["postponed"] > 0) == (name == "postponed")
