"""A guest sends more at once than its link carries in time, and hears of it; and one asks over IPv6. Needs root."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.waiting import PATIENCE_S

from bench.askers import AskingVm
from bench.network import inside
from bench.streams import network_of
from controller.units import NS_PER_MS
from guest.messages import (
    DATAGRAM_MAX,
    SERVICE_IPV6,
    SERVICE_PORT,
    List,
    Listed,
    Missed,
    Status,
    Subscribe,
    decoded_reply,
    encoded,
)
from topologies.cables import nic_of
from topologies.testbed import Testbed

TOPOLOGY = """
version: 1
hypervisors:
  left: {uplink: 20Mbps}
  right: {uplink: 100Mbps}
vms:
  talker: {hypervisor: left, ip: [10.0.0.1, "fd00::1"], quota: {channels: 2, rate: 18Mbps, burst: 1MB}}
  listener: {hypervisor: right, ip: 10.0.0.2}
"""
PORT = 7000
DEADLINE_NS = 6 * NS_PER_MS
BURST, PAYLOAD_BYTES = 25, 1400
"""The link takes 15 ms for so many packets."""


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    """Where admission takes what the link cannot keep."""
    with (
        network_of(TOPOLOGY, is_admission_asked=False) as network,
        Testbed(network, overrides_admission=True) as testbed,
    ):
        testbed.await_channels()
        yield testbed


def test_who_is_late_is_called_up_with_the_channel_and_how_late_it_was(testbed: Testbed) -> None:
    with AskingVm(testbed, "talker") as talker:
        listener = testbed.network.vms["listener"]
        asked = talker.opening(listener, DEADLINE_NS, 10_000_000, PORT)
        opened = talker.await_installed(replace(asked, burst_bytes=60_000))
        assert opened.status == Status.DONE
        assert talker.answer(Subscribe(opened.channel_id, 60)).status == Status.DONE
        for _ in range(5):  # the first packets wait until the talker knows the listener's MAC address
            for _ in range(BURST):
                talker.socket.sendto(bytes(PAYLOAD_BYTES), (str(listener.addresses[0].ip), PORT))
            if (found := talker.heard(PATIENCE_S / 5)) is not None:
                break
        assert found is not None
        missed, _ = found
        assert isinstance(missed, Missed)
        assert missed.channel_id == opened.channel_id
        assert 0 < missed.misses <= missed.packets
        assert 0 < missed.mean_ns <= missed.worst_ns


def test_the_service_answers_over_ipv6_too(testbed: Testbed) -> None:
    """From an address of the file; the VM asks for the service's MAC address by neighbour discovery."""
    nic = nic_of(testbed.network.vms["talker"])
    with inside(testbed.pid("talker")):
        asking = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex(nic)
    with asking:
        asking.bind(("fd00::1", 0))
        asking.settimeout(PATIENCE_S / 5)
        asking.sendto(encoded(List(0), 5), (str(SERVICE_IPV6), SERVICE_PORT, 0, index))
        reply, nonce = decoded_reply(asking.recv(DATAGRAM_MAX))
    assert (type(reply), nonce) == (Listed, 5)
