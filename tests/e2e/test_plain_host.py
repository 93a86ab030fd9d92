"""A host that knows nothing of labels: it reaches all VMs, and gets a channel's packets plain, with or without a shim.
Needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.exchange import listen, received, run_in, start_sender
from support.waiting import wait_until
from support.wire import capture, has_right_checksums

import topologies
from controller.model import Channel
from controller.topology_file.load import load
from topologies.testbed import Testbed

FILE = Path(topologies.__file__).parent / "plain_host.yaml"
LIVENESS = "left-live"
COUNT = 20
PORT = 5004


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with Testbed(load(FILE)) as testbed:
        testbed.await_channels()
        yield testbed


def transfer(testbed: Testbed, channel: Channel) -> int:
    """How many of COUNT packets the listener gets, until half a second after the last."""
    address = "::" if channel.destination.version == 6 else "0.0.0.0"
    options = ("--address", address, "--count", COUNT, "--idle", 0.5, "--seconds", 5)
    receiver = listen(testbed, channel.listener, PORT, *options)
    start_sender(testbed, channel, PORT, "--payload", 1000, "--count", COUNT, "--rate", "500kbps").wait()
    return int(received(receiver)["received"])


@contextmanager
def bypassed(testbed: Testbed) -> Iterator[None]:
    """For the switch, the shim of `left` is dead."""
    subprocess.run(["ip", "link", "set", LIVENESS, "down"], check=True)
    try:
        wait_until(lambda: testbed.channels()["live"]["state"] == "degraded")
        yield
    finally:
        subprocess.run(["ip", "link", "set", LIVENESS, "up"], check=True)
        wait_until(lambda: testbed.channels()["live"]["state"] == "installed")


def test_the_host_and_all_vms_reach_each_other(testbed: Testbed) -> None:
    for vm in testbed.network.vms:
        for address in ("10.0.0.9", "fd00::9"):
            run_in(testbed, vm, "ping", "-c", 1, "-W", 2, address)
    for address in ("10.0.0.1", "fd00::2"):
        run_in(testbed, "recorder", "ping", "-c", 1, "-W", 2, address)


@pytest.mark.parametrize("name", ["record", "record-v6"])
def test_the_host_gets_plain_packets_of_the_channels_class(testbed: Testbed, name: str, tmp_path: Path) -> None:
    channel = testbed.network.channels[name]
    before = testbed.channels()[name]["sent"]
    pid = testbed.pid("recorder")
    what = f"udp and src host {channel.source}"
    with capture("recorder-eth0", what, COUNT, tmp_path, ("nsenter", "--net", f"--target={pid}")) as delivered:
        assert transfer(testbed, channel) == COUNT
    for frame in delivered.frames:
        assert has_right_checksums(frame)
        traffic_class = frame[15] if channel.source.version == 4 else int.from_bytes(frame[14:16], "big") >> 4 & 0xFF
        assert traffic_class >> 2 == channel.deadline_class.dscp
    wait_until(lambda: testbed.channels()[name]["sent"] - before == COUNT)
    told = testbed.channels()[name]
    assert (told["state"], told["received"], told["lost"], told["missed"]) == ("installed", None, None, None)
    assert told["queueing_delay"]["count"] >= COUNT


def test_past_the_shim_they_are_plain_too_and_who_wants_none_gets_none(testbed: Testbed) -> None:
    channels = testbed.network.channels
    with bypassed(testbed):
        assert transfer(testbed, channels["record"]) == COUNT
        assert transfer(testbed, channels["record-v6"]) == 0
        assert transfer(testbed, channels["live"]) == COUNT
        why = {name: told["why"] for name, told in testbed.channels().items()}
        assert why["live"] == "the shim of left does not forward; packets go past it"
        assert why["record-v6"] == "the shim of left does not forward; packets are dropped"
    assert transfer(testbed, channels["record-v6"]) == COUNT
