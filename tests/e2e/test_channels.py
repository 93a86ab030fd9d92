"""Channels from end to end over real Open vSwitch, shims and controllers: what is on the wire, what arrives in the VM,
and what REST says of it. Needs root."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from support.frames import channel_of, label_entry, ttl_of
from support.shim_lab import ShimClient
from support.wire import capture, has_right_checksums

import topologies
from controller.model import Channel
from controller.network.labels import TTL_CHANNEL, TTL_STAMPED
from controller.runtime import shim_socket
from controller.topology_file.load import load
from topologies.testbed import Testbed

FILE = Path(topologies.__file__).parent / "two_hypervisors.yaml"
STATISTICS_S = 5.0
"""Open vSwitch's userspace datapath brings its counters up to date twice a second, the controller asks once."""

STREAM_COUNT = 400

LARGEST_PAYLOAD = {4: 1500 - 20 - 8, 6: 1500 - 40 - 8}


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    with Testbed(load(FILE)) as testbed:
        testbed.await_channels()
        yield testbed


def run_in(testbed: Testbed, vm: str, *words: object) -> str:
    """The output of a command in a VM."""
    process = testbed.popen(vm, list(map(str, words)))
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return str(output)


def under(testbed: Testbed, vm: str) -> tuple[str, ...]:
    return ("nsenter", "--net", f"--target={testbed.pid(vm)}")


def send(testbed: Testbed, channel: Channel, count: int, payload: int, dst_port: int = 5004) -> None:
    host = f"[{channel.destination}]" if channel.destination.version == 6 else str(channel.destination)
    options = ("--to", f"{host}:{channel.dst_port or dst_port}", "--payload", payload, "--count", count)
    ports = ("--bind-port", channel.src_port) if channel.src_port else ()
    run_in(testbed, channel.talker, sys.executable, "-m", "bench.traffic", "send", *options, *ports, "--rate", "2Mbps")


def receiver_of(testbed: Testbed, channel: Channel, count: int, port: int = 5004) -> subprocess.Popen[str]:
    """A program in the listener that is ready for `count` packets, and ends 2 s after the last in any case."""
    port = channel.dst_port or port
    words = [sys.executable, "-m", "bench.traffic", "receive", "--port", port, "--count", count, "--idle", 2]
    program = testbed.popen(channel.listener, list(map(str, words)))
    eventually(lambda: f":{port}" in run_in(testbed, channel.listener, "ss", "-Hlun"), True)
    return program


def received_by(receiver: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = receiver.communicate(timeout=30)
    assert receiver.returncode == 0, errors
    result: dict[str, Any] = json.loads(output)
    return result


def eventually(probe: Callable[[], Any], wanted: Any) -> None:
    """Fails unless `probe` returns `wanted` within STATISTICS_S."""
    end_s = time.monotonic() + STATISTICS_S
    while (found := probe()) != wanted:
        assert time.monotonic() < end_s, f"found {found}, wanted {wanted}"
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["video", "control", "telemetry-v6", "feedback"])
@pytest.mark.parametrize("payload", [100, None], ids=["short", "full size"])
def test_wire_and_listener_see_what_they_should(
    testbed: Testbed, name: str, payload: int | None, tmp_path: Path
) -> None:
    channel = testbed.network.channels[name]
    payload = payload or LARGEST_PAYLOAD[channel.source.version]
    uplink = testbed.network.hypervisors[testbed.network.listener_domain(channel)].uplink.interface
    count = 20
    what = f"udp and src host {channel.source}"
    with (
        capture(uplink, f"mpls {channel_label_filter(channel)}", count, tmp_path) as wire,
        capture(f"{channel.listener}-eth0", what, count, tmp_path, under(testbed, channel.listener)) as delivered,
    ):
        send(testbed, channel, count, payload)
    for frame in wire.frames:
        assert ttl_of(frame) == TTL_STAMPED, "the deadline label is stamped"
        assert frame[16] & 1 == 0 and frame[20] & 1 == 1, "the channel label is the bottom of the stack"
        assert frame[21] == TTL_CHANNEL
        assert channel_of(frame) == channel.label
        assert {frame[16] >> 1 & 7, frame[20] >> 1 & 7} == {channel.deadline_class.queue_id}
        assert dscp(frame[:12] + ethertype(channel) + frame[22:]) == channel.deadline_class.dscp
    for frame in delivered.frames:
        assert dscp(frame) == channel.deadline_class.dscp
        assert len(bytes(Ether(frame)[IP if channel.source.version == 4 else IPv6])) == payload + (
            28 if channel.source.version == 4 else 48
        )
        assert has_right_checksums(frame)


def channel_label_filter(channel: Channel) -> str:
    return f"and ether[18:4] & 0xfffff000 = {channel.label << 12:#x}"


def ethertype(channel: Channel) -> bytes:
    return bytes.fromhex("0800" if channel.source.version == 4 else "86dd")


def dscp(frame: bytes) -> int:
    packet = Ether(frame)
    return int(packet[IP].tos >> 2) if IP in packet else int(packet[IPv6].tc >> 2)


def test_all_vms_reach_each_other(testbed: Testbed) -> None:
    for talker in testbed.network.vms.values():
        for listener in testbed.network.vms.values():
            if talker is not listener:
                run_in(testbed, talker.name, "ping", "-c", 1, "-W", 2, listener.addresses[0].ip)


def test_ipv6_between_vms_without_a_channel(testbed: Testbed) -> None:
    run_in(testbed, "plant", "ping", "-c", 2, "-W", 2, "fd00::2")


def test_counts_agree_exactly_with_scapy(testbed: Testbed) -> None:
    """10,000 packets of `control`, which no ping uses: what scapy sent, the listener got, both switches counted."""
    count = 10_000
    channel, vms = testbed.network.channels["control"], testbed.network.vms
    before = testbed.channels()["control"]
    receiver = receiver_of(testbed, channel, count)
    script = f"""
import time
from scapy.all import IP, UDP, Ether, conf
addresses = IP(src="{channel.source}", dst="{channel.destination}")
frame = Ether(src="{vms[channel.talker].mac}", dst="{vms[channel.listener].mac}") / addresses
frame = frame / UDP(sport=4000, dport={channel.dst_port}) / bytes(64)
socket = conf.L2socket(iface="{channel.talker}-eth0")
for _ in range({count} // 10):
    for _ in range(10):
        socket.send(frame)
    time.sleep(0.002)
"""
    run_in(testbed, channel.talker, sys.executable, "-W", "ignore", "-c", script)
    assert received_by(receiver)["received"] == count

    def counted() -> tuple[int, int, int, int]:
        now = testbed.channels()["control"]
        return (
            now["sent"] - before["sent"],
            now["received"] - before["received"],
            now["lost"] - before["lost"],
            now["lateness"]["count"] - before["lateness"]["count"],
        )

    eventually(counted, (count, count, 0, count))


def test_a_channel_stays_in_order_and_on_the_fast_path(testbed: Testbed) -> None:
    """Each packet bears another deadline label: Open vSwitch must not take each for a flow that it has never seen.

    The channel sends far beyond its contract. What is lost of that, the shim has dropped and counted.
    """
    count = 2000
    receiver = receiver_of(testbed, testbed.network.channels["video"], count)
    before = slow_path_packets(testbed)
    options = ("--to", "10.0.0.11:5004", "--count", count, "--rate", "50Mbps", "--burst", 20)
    run_in(testbed, "camera", sys.executable, "-m", "bench.traffic", "send", *options)
    received = received_by(receiver)
    assert received["reordered"] == 0
    assert received["received"] > count / 2
    eventually(lambda: received["received"] + testbed.channels()["video"]["excess_dropped"], count)
    assert slow_path_packets(testbed) - before < count / 10


def slow_path_packets(testbed: Testbed) -> int:
    """Packets so far for which the userspace datapath had no flow ready."""
    control = testbed.openvswitch.directory / "ovs-vswitchd.ctl"
    words = ["ovs-appctl", f"--target={control}", "dpif-netdev/pmd-stats-show"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return sum(map(int, re.findall(r"miss with success upcall: (\d+)", shown)))


def test_foreign_and_broken_labels_are_counted_under_their_cause(testbed: Testbed) -> None:
    """Sent from the core switch into the uplink of `right`: nothing of it reaches a VM or disturbs a channel.

    Open vSwitch takes a label that is cut short for one that is not the last; the shim tells the two apart.
    """
    rest_url = testbed.network.hypervisors["right"].controller.rest_url
    bottom, padding = label_entry(99, is_bottom=True), bytes(50)
    contents = {
        "one_label": bottom + padding,
        "unknown_channel": label_entry(5000) + bottom + padding,
        "many_labels": label_entry(5000) + label_entry(99) + bottom + padding,
        "short": label_entry(5000)[:2],
    }
    dropped_before, seen_before = dropped(rest_url), seen(rest_url)
    inject(testbed, contents.values())
    eventually(lambda: increase(dropped_before, dropped(rest_url)), {"one_label": 1, "unknown_channel": 3})
    found = increase(seen_before, seen(rest_url))
    assert {cause: found[cause] for cause in contents} == dict.fromkeys(contents, 1)
    run_in(testbed, "camera", "ping", "-c", 1, "-W", 2, testbed.network.vms["screen"].addresses[0].ip)


def inject(testbed: Testbed, contents: Any) -> None:
    """Frames with an MPLS ethertype and these contents, from the switch into the uplink of `right`."""
    import socket

    mac = bytes.fromhex(testbed.network.vms["screen"].mac.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("core-2", 0))
        for content in contents:
            raw.send(mac + bytes.fromhex("0200000000fe8847") + content)


def dropped(rest_url: str) -> dict[str, int]:
    switches = httpx.get(f"{rest_url}/v1/switches", trust_env=False).json()
    counts: dict[str, int] = switches[0]["dropped"]
    return counts


def seen(rest_url: str) -> dict[str, int]:
    """By the shim's deadline check."""
    ingress: dict[str, int] = httpx.get(f"{rest_url}/v1/shim", trust_env=False).json()["ingress"]
    return ingress


def increase(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {cause: after[cause] - before[cause] for cause in after if after[cause] != before[cause]}


def test_an_undeclared_switch_is_left_alone(testbed: Testbed) -> None:
    left = testbed.network.hypervisors["left"].controller
    vsctl = ("ovs-vsctl", f"--db={testbed.openvswitch.db_socket}")
    options = ("--", "set", "bridge", "stranger", "datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow13")
    subprocess.run([*vsctl, "add-br", "stranger", *options], check=True)
    try:
        target = f"tcp:{left.address}:{left.openflow_port}"
        subprocess.run([*vsctl, "set-controller", "stranger", target], check=True)
        connected = [*vsctl, "get", "controller", "stranger", "is_connected"]
        eventually(lambda: subprocess.run(connected, capture_output=True, text=True).stdout.strip(), "true")
        run_in(testbed, "camera", "ping", "-c", 1, "-W", 2, testbed.network.vms["screen"].addresses[0].ip)
        flows = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "stranger", "--no-stats"]
        environment = dict(testbed.openvswitch.environment)
        found = subprocess.run(flows, env=environment, capture_output=True, text=True, check=True).stdout
        assert "cookie" not in found
        names = [switch["name"] for switch in httpx.get(f"{left.rest_url}/v1/switches", trust_env=False).json()]
        assert names == ["left"]
    finally:
        subprocess.run([*vsctl, "del-br", "stranger"], check=True)


def test_removed_flows_come_back(testbed: Testbed) -> None:
    environment = dict(testbed.openvswitch.environment)
    subprocess.run(["ovs-ofctl", "-O", "OpenFlow13", "del-flows", "left"], env=environment, check=True)

    def is_back() -> bool:
        found = subprocess.run(
            ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "left"], env=environment, capture_output=True, text=True
        )
        return "push_mpls" in found.stdout and testbed.channels()["video"]["state"] == "installed"

    eventually(is_back, True)


def test_packets_arrive_while_the_controller_is_killed_and_comes_back(testbed: Testbed) -> None:
    """The switch keeps its flows, and the controller that follows finds them there."""
    before = testbed.channels()["video"]
    assert send_while_killing(testbed, "controller of left") == STREAM_COUNT
    testbed.await_channels()
    eventually(lambda: testbed.channels()["video"]["sent"] - before["sent"], STREAM_COUNT)


def test_packets_go_past_a_shim_that_is_killed_until_it_comes_back(testbed: Testbed) -> None:
    before = testbed.channels()["video"]["bypassed"]
    assert send_while_killing(testbed, "shim of left") > STREAM_COUNT / 2
    testbed.await_channels()
    eventually(lambda: testbed.channels()["video"]["bypassed"] > before, True)
    send(testbed, testbed.network.channels["video"], 1, 100)


def test_a_shim_that_is_killed_goes_on_counting(testbed: Testbed) -> None:
    send(testbed, testbed.network.channels["video"], 1, 100)
    before = sent_by_shim()
    pid = testbed.child("shim of left").pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: testbed.child("shim of left").pid != pid, True)
    eventually(lambda: (sent_by_shim() or 0) >= (before or 1), True)
    testbed.await_channels()


def sent_by_shim() -> int | None:
    """Real-time packets of the left shim, by all its processes; None while it does not answer."""
    try:
        with ShimClient(shim_socket("left")) as client:
            return int(client.ask("statistics", labels=[])["egress"]["real_time_packets"])
    except OSError:
        return None


def send_while_killing(testbed: Testbed, child: str) -> int:
    """How many of STREAM_COUNT packets of `video`, sent over some seconds, arrive when `child` is killed meanwhile."""
    channel = testbed.network.channels["video"]
    receiver = receiver_of(testbed, channel, STREAM_COUNT)
    words = [sys.executable, "-m", "bench.traffic", "send", "--to", f"{channel.destination}:5004"]
    sender = testbed.popen("camera", [*words, "--count", str(STREAM_COUNT), "--rate", "2Mbps"])
    time.sleep(0.7)
    os.kill(testbed.child(child).pid, signal.SIGKILL)
    sender.communicate(timeout=30)
    return int(received_by(receiver)["received"])
