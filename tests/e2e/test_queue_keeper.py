"""Queue filters are kept, queues are proved, and nobody takes a probe frame for anything else. Needs root."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyroute2 import IPRoute
from support.examples import example
from support.wire import capture

from ovs_config.filters import missing_filters
from ovs_config.plan import DatapathType, plan_bridge
from topologies.testbed import Testbed

STATISTICS_S = 5.0
REPAIR_S = 5.0
UPLINK = "left-up"


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    """Two Open vSwitch switches between the hypervisors: their trunks are probed too."""
    with Testbed(example("ovs_core")) as testbed:
        testbed.await_channels()
        yield testbed


def told(testbed: Testbed, hypervisor: str, what: str) -> Any:
    rest_url = testbed.network.hypervisors[hypervisor].controller.rest_url
    return httpx.get(f"{rest_url}/v1/{what}", timeout=5, trust_env=False).json()


def proofs(testbed: Testbed) -> set[str | None]:
    return {queue["proof"] for name in testbed.network.hypervisors for queue in told(testbed, name, "queues")}


def eventually(probe: Callable[[], Any], wanted: Any, patience_s: float = STATISTICS_S) -> None:
    end_s = time.monotonic() + patience_s
    while (found := probe()) != wanted:
        assert time.monotonic() < end_s, f"found {found}, wanted {wanted}"
        time.sleep(0.1)


def lost_filters(testbed: Testbed, bridge: str = "left") -> int:
    with IPRoute() as ip:
        return len(missing_filters(ip, plan_bridge(testbed.network, bridge, DatapathType.NETDEV)))


def packets(testbed: Testbed, bridge: str, port: int) -> dict[int, int]:
    """What Open vSwitch says that the queues of a port have sent."""
    words = ["ovs-ofctl", "-O", "OpenFlow13", "queue-stats", bridge, str(port)]
    environment = testbed.openvswitch.environment
    output = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=10).stdout
    return {int(queue): int(count) for queue, count in re.findall(r"queue (\d+): bytes=\d+, pkts=(\d+)", output)}


def test_every_queue_is_proved(testbed: Testbed) -> None:
    eventually(lambda: proofs(testbed), {"proved"})
    queues = told(testbed, "left", "queues")
    assert {queue["switch"] for queue in queues} == {"left", "east"}, "its own uplink and the trunks of its switch"


def test_nobody_counts_a_probe_frame(testbed: Testbed) -> None:
    """Probes have left by both uplinks, by the trunks towards them and by those between the switches."""
    eventually(lambda: proofs(testbed), {"proved"})
    time.sleep(STATISTICS_S / 2)
    for name in testbed.network.hypervisors:
        assert {key for key, count in told(testbed, name, "shim")["ingress"].items() if count} == set(), name
        for switch in told(testbed, name, "switches"):
            dropped = {cause for cause, count in switch["dropped"].items() if count}
            assert dropped <= {"neighbours_only", "blocked_port"}, switch["name"]


def test_a_channels_packets_are_counted_in_its_own_queue_and_nowhere_else(testbed: Testbed) -> None:
    video = testbed.network.channels["video"]
    eventually(lambda: proofs(testbed), {"proved"})
    before = packets(testbed, "left", 1)
    words = ["-m", "bench.traffic", "send", "--to", f"{video.destination}:5004", "--rate", "2Mbps", "--count", "400"]
    sender = testbed.popen("camera", [sys.executable, *words])
    output, errors = sender.communicate(timeout=30)
    assert sender.returncode == 0, errors + output

    def grown() -> dict[int, int]:
        return {queue: count - before[queue] for queue, count in packets(testbed, "left", 1).items()}

    own = video.deadline_class.queue_id
    eventually(lambda: grown()[own], 400)
    assert {queue: count for queue, count in grown().items() if queue not in (0, own)} == dict.fromkeys(
        set(before) - {0, own}, 0
    )
    assert grown()[0] < 20, "ARP and the like"


@pytest.mark.parametrize(("ethertype", "head"), [(0x0800, "45b80028"), (0x86DD, "6b800000")])
def test_a_packet_without_labels_goes_by_its_dscp(testbed: Testbed, ethertype: int, head: str) -> None:
    """DSCP 46 is that of the class of queue 7."""
    before = packets(testbed, "left", 1)
    frame = bytes.fromhex("020000000099") + bytes(6) + ethertype.to_bytes(2) + bytes.fromhex(head)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((UPLINK, 0))
        for _ in range(10):
            raw.send(frame.ljust(60, b"\0"))
    assert packets(testbed, "left", 1)[7] - before[7] == 10


# From here on filters are lost, and probes follow repairs


def test_filters_that_were_removed_come_back_and_are_tried_again(testbed: Testbed, tmp_path: Path) -> None:
    eventually(lambda: proofs(testbed), {"proved"})
    with capture(UPLINK, "ether dst 01:80:c2:00:00:0e", 8 * 32, tmp_path):
        subprocess.run(["tc", "filter", "del", "dev", UPLINK, "parent", "1:"], check=True)
        eventually(lambda: lost_filters(testbed), 0, REPAIR_S)
    assert proofs(testbed) == {"proved"}


def test_queues_that_open_vswitch_builds_anew_get_their_filters(testbed: Testbed) -> None:
    change = f"ovs-vsctl set qos $(ovs-vsctl get port {UPLINK} qos) other_config:max-rate=90000000"
    subprocess.run(change, shell=True, env=testbed.openvswitch.environment, check=True, timeout=10)
    time.sleep(0.5)
    eventually(lambda: lost_filters(testbed), 0, REPAIR_S)


def test_a_filter_of_somebody_else_stays(testbed: Testbed) -> None:
    others = f"tc filter add dev {UPLINK} parent 1: pref 9 protocol 0x88f7 u32 match u32 0 0 flowid 1:1"
    subprocess.run(others.split(), check=True)
    subprocess.run(f"tc filter del dev {UPLINK} parent 1: pref 1".split(), check=True)
    eventually(lambda: lost_filters(testbed), 0, REPAIR_S)
    shown = subprocess.run(f"tc filter show dev {UPLINK} parent 1:".split(), capture_output=True, text=True, check=True)
    assert "pref 9" in shown.stdout
    subprocess.run(f"tc filter del dev {UPLINK} parent 1: pref 9".split(), check=True)
