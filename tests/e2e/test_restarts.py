"""Whatever is killed comes back as it was, alone and two at once; what is removed by hand is put back. Needs root."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pyroute2 import IPRoute
from support.exchange import listen, received, start_sender
from support.waiting import wait_until

from controller.model import Channel
from controller.store.client import Store
from controller.store.decisions import Clerk
from controller.topology_file.load import load
from ovs_config.filters import missing_filters, remove_qdisc
from ovs_config.plan import DatapathType, plan_bridge
from topologies.testbed import STORE, Testbed

TEXT = """\
version: 1
hypervisors:
  left: {uplink: 100Mbps}
  right: {uplink: 100Mbps}
vms:
  camera: {hypervisor: left, ip: 10.0.0.1}
  screen: {hypervisor: right, ip: 10.0.0.2}
channels:
  video: {from: camera, to: screen, deadline: 5ms, min_rate: 2Mbps, protocol: udp, dst_port: 5004}
  policed: {from: camera, to: screen, deadline: 20ms, min_rate: 1Mbps, excess: drop, protocol: udp, dst_port: 5005}
  feedback: {from: screen, to: camera, deadline: 10ms, min_rate: 1Mbps}
"""
HYPERVISOR, UPLINK = "left", "left-up"
PORT = 5004
COUNT = 400
PACKET_BYTES = 200
SETTLE_S = 2.5
"""Counters are with the controllers so long after the last packet."""

CONTROLLER, PEER, SHIM = "controller of left", "controller of right", "shim of left"
VSWITCHD, OVSDB_SERVER, STORE_SERVER = "ovs-vswitchd", "ovsdb-server", "store server"


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    file = tmp_path_factory.mktemp("restarts") / "restarts.yaml"
    file.write_text(TEXT)
    with Testbed(load(file)) as testbed:
        if not testbed.openvswitch.private:
            pytest.skip("the system's own Open vSwitch is not killed")
        testbed.await_channels()
        yield testbed


@pytest.fixture
def channel(testbed: Testbed) -> Channel:
    """One that stands, and sends to PORT."""
    wait_until(lambda: not testbed.missing(), "the network does not come up again")
    return testbed.network.channels["video"]


def kill(testbed: Testbed, *processes: str) -> None:
    for pid in [testbed.pid_of(process) for process in processes]:
        os.kill(pid, signal.SIGKILL)


def arrivals(testbed: Testbed, channel: Channel, *killed: str) -> dict[str, Any]:
    """Of COUNT packets over a second and a half, while processes are killed."""
    receiver = listen(testbed, channel.listener, PORT, "--count", COUNT, "--idle", 2.5)
    sender = start_sender(testbed, channel, PORT, "--count", COUNT, "--payload", PACKET_BYTES, "--rate", "400kbps")
    time.sleep(0.5)
    kill(testbed, *killed)
    sender.communicate(timeout=30)
    return received(receiver)


def told(testbed: Testbed, domain: str, what: str) -> Any:
    rest_url = testbed.network.hypervisors[domain].controller.rest_url
    return httpx.get(f"{rest_url}/v1/{what}", timeout=5, trust_env=False).json()


def messages(testbed: Testbed) -> dict[str, tuple[int, int]]:
    """By domain: changes sent to its switches, settings given to its shim."""
    return {
        domain: (
            sum(switch["changes_sent"] for switch in told(testbed, domain, "switches")),
            told(testbed, domain, "shim")["settings"],
        )
        for domain in testbed.network.hypervisors
    }


def counts(testbed: Testbed, name: str) -> tuple[int, int]:
    """What was sent and received, once it has come to rest."""
    time.sleep(SETTLE_S)
    view = testbed.channels()[name]
    return view["sent"], view["received"]


@pytest.mark.parametrize("killed", [CONTROLLER, PEER, STORE_SERVER])
def test_no_packet_is_lost_or_out_of_order(testbed: Testbed, channel: Channel, killed: str) -> None:
    before = counts(testbed, channel.name)
    result = arrivals(testbed, channel, killed)
    assert (result["received"], result["reordered"], result["duplicates"]) == (COUNT, 0, 0)
    wait_until(lambda: not testbed.missing(), "the network does not come up again")
    assert counts(testbed, channel.name) == (before[0] + COUNT, before[1] + COUNT)


@pytest.mark.parametrize("killed", [CONTROLLER, PEER])
def test_a_controller_that_comes_back_has_nothing_to_send(testbed: Testbed, channel: Channel, killed: str) -> None:
    domain = killed.removeprefix("controller of ")
    kill(testbed, killed)
    wait_until(lambda: testbed.missing(), "it was not killed")
    wait_until(lambda: not testbed.missing(), "the network does not come up again")
    changes, settings = messages(testbed)[domain]
    assert (changes, settings) == (0, 1), f"{channel.name} and the others stand"


@pytest.mark.parametrize(
    "killed",
    [
        (VSWITCHD,),
        (OVSDB_SERVER,),
        (SHIM,),
        (VSWITCHD, OVSDB_SERVER),
        (CONTROLLER, VSWITCHD),
        (CONTROLLER, STORE_SERVER),
        (PEER, SHIM),
        (OVSDB_SERVER, STORE_SERVER),
    ],
    ids=[
        "vswitchd",
        "ovsdb",
        "shim",
        "vswitchd+ovsdb",
        "controller+vswitchd",
        "controller+store",
        "peer+shim",
        "ovsdb+store",
    ],
)
def test_all_is_installed_again_by_itself(testbed: Testbed, channel: Channel, killed: tuple[str, ...]) -> None:
    """Packets flow again, filters and queues are there, and no count is smaller than it was."""
    before = counts(testbed, channel.name)
    flows = packet_handling(testbed)
    assert 0 < arrivals(testbed, channel, *killed)["received"] <= COUNT
    wait_until(lambda: not testbed.missing(), "the network does not come up again")
    wait_until(lambda: packet_handling(testbed) == flows, "flows, groups or meters differ")
    wait_until(lambda: not lost_filters(testbed), "filters do not come back")
    result = arrivals(testbed, channel)
    assert (result["received"], result["reordered"]) == (COUNT, 0)
    after = counts(testbed, channel.name)
    assert after[0] >= before[0] + COUNT and after[1] >= before[1] + COUNT


def test_a_second_apply_sends_nothing(testbed: Testbed, channel: Channel) -> None:
    before = messages(testbed)
    with Store(STORE, testbed.network.classes) as store:
        store.change(Clerk(testbed.network).apply(testbed.network.channels))
    time.sleep(SETTLE_S)
    assert messages(testbed) == before, f"{channel.name} and the others are as they were"


@pytest.mark.parametrize("what", ["flows", "groups", "meters"])
def test_what_is_removed_from_a_switch_by_hand_comes_back(testbed: Testbed, channel: Channel, what: str) -> None:
    before = packet_handling(testbed)
    assert before[what], f"there are {what}"
    ofctl(testbed, f"del-{what}")
    wait_until(lambda: packet_handling(testbed) == before, f"{what} do not come back")
    wait_until(lambda: not testbed.missing(), "the network does not come up again")
    assert arrivals(testbed, channel)["received"] == COUNT


def test_filters_removed_by_hand_come_back(testbed: Testbed, channel: Channel) -> None:
    subprocess.run(["tc", "filter", "del", "dev", UPLINK, "parent", "1:"], check=True)
    assert lost_filters(testbed)
    wait_until(lambda: not lost_filters(testbed), f"the filters of {channel.name} and the others do not come back")


def test_a_qdisc_removed_by_hand_comes_back(testbed: Testbed, channel: Channel) -> None:
    with IPRoute() as ip:
        remove_qdisc(ip, UPLINK)
    assert lost_filters(testbed)
    wait_until(lambda: not lost_filters(testbed), f"the queues of {channel.name} and the others do not come back")


def lost_filters(testbed: Testbed) -> int:
    with IPRoute() as ip:
        return len(missing_filters(ip, plan_bridge(testbed.network, HYPERVISOR, DatapathType.NETDEV)))


def packet_handling(testbed: Testbed) -> dict[str, list[str]]:
    """What the switch does with packets, without its counters."""
    dumps = {"flows": ("dump-flows", "--no-stats"), "groups": ("dump-groups",), "meters": ("dump-meters",)}
    return {what: sorted(ofctl(testbed, *words).splitlines()[1:]) for what, words in dumps.items()}


def ofctl(testbed: Testbed, command: str, *options: str) -> str:
    """What it prints; nothing while the switch is away."""
    words = ["ovs-ofctl", "-O", "OpenFlow13", command, HYPERVISOR, *options]
    done = subprocess.run(words, env=testbed.openvswitch.environment, capture_output=True, text=True, timeout=10)
    return done.stdout
