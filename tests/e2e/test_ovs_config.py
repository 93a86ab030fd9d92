"""A plan applied to a real Open vSwitch and a real kernel. Needs root."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from support.networks import two_hypervisors

from controller.errors import CannotRun
from controller.model import Network, Scheduler
from ovs_config import links
from ovs_config.apply import apply, remove_all
from ovs_config.filters import add_missing_filters, missing_filters, planned_filters
from ovs_config.openvswitch import OpenVSwitch, ensure_running
from ovs_config.ovsdb import Ovsdb, connect
from ovs_config.plan import BridgePlan, plan_bridge

PREFIX = "oc-"
LEFT = f"{PREFIX}left"
UPLINK = f"{LEFT}-up"


@pytest.fixture(scope="module")
def openvswitch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVSwitch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVS_RUNDIR", str(tmp_path_factory.mktemp("no-system-ovs")))
        running = ensure_running(tmp_path_factory.mktemp("run"))
    yield running
    running.stop()


@pytest.fixture
def ovsdb(openvswitch: OpenVSwitch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ovsdb]:
    monkeypatch.setattr(links, "ALIAS", "rtvnic test of ovs_config")
    with connect(openvswitch.db_socket) as ovsdb:
        yield ovsdb
        remove_all(ovsdb)


@pytest.fixture
def network() -> Iterator[Network]:
    """The interfaces that others make: uplinks and VMs' ports."""
    pairs = [(UPLINK, f"{PREFIX}middle-1"), (f"{PREFIX}vm1-nic", f"{PREFIX}vm1-peer")]
    with IPRoute() as ip:
        for near, far in pairs:
            ip.link("add", ifname=near, kind="veth", peer=far)
            for name in (near, far):
                links.mute_ipv6(name)
                ip.link("set", index=links.index_of(ip, name), state="up")
        yield two_hypervisors(prefix=PREFIX)
        for near, _ in pairs:
            ip.link("del", index=links.index_of(ip, near))


@pytest.fixture
def plan(network: Network, openvswitch: OpenVSwitch) -> BridgePlan:
    return plan_bridge(network, LEFT, openvswitch.datapath_type)


class Shell:
    """Runs the tools that an administrator would use, against the Open vSwitch under test."""

    def __init__(self, openvswitch: OpenVSwitch) -> None:
        self._environment = openvswitch.environment

    def __call__(self, command: str) -> str:
        done = subprocess.run(
            command, shell=True, env=self._environment, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout


@pytest.fixture
def shell(openvswitch: OpenVSwitch) -> Shell:
    return Shell(openvswitch)


def test_bridge_and_ports_are_as_planned(plan: BridgePlan, ovsdb: Ovsdb, shell: Shell) -> None:
    apply(plan, ovsdb)
    columns = shell(f"ovs-vsctl get Bridge {LEFT} fail_mode protocols datapath_type external_ids:rtvnic datapath_id")
    assert columns.split() == ["secure", "[OpenFlow13]", plan.datapath_type, LEFT, '"0000000000000001"']
    assert shell(f"ovs-vsctl get-controller {LEFT}").strip() == "tcp:127.0.0.1:6653"
    controller = shell(f"ovs-vsctl get Controller {LEFT} inactivity_probe max_backoff connection_mode")
    assert controller.split() == ["1000", "1000", "out-of-band"]
    ports = shell(f"ovs-ofctl -O OpenFlow13 dump-ports-desc {LEFT}")
    assert re.findall(r"(\d+)\((\S+)\)", ports) == [(str(port.number), port.interface) for port in plan.ports]


def test_queues_are_as_planned(plan: BridgePlan, ovsdb: Ovsdb, shell: Shell) -> None:
    apply(plan, ovsdb)
    classes = shell(f"tc class show dev {UPLINK}")
    found = re.findall(r"class htb (1:\S+) parent 1:fffe prio (\d) rate (\S+) ceil (\S+)", classes)
    assert sorted(found) == [
        ("1:1", "7", "1Mbit", "100Mbit"),
        ("1:4", "1", "6705Kbit", "100Mbit"),
        ("1:6", "0", "92294Kbit", "100Mbit"),
    ]
    queues = shell(f"ovs-ofctl -O OpenFlow13 queue-stats {LEFT}")
    assert re.findall(r"port 1 queue (\d)", queues) == ["0", "3", "5"]


def test_links_mtu_and_offloads_are_as_planned(plan: BridgePlan, ovsdb: Ovsdb, shell: Shell) -> None:
    apply(plan, ovsdb)
    for interface in (UPLINK, f"{LEFT}-edf", f"{LEFT}-shim"):
        assert "mtu 1508" in shell(f"ip link show {interface}"), interface
    assert "NO-CARRIER,BROADCAST,MULTICAST" in shell(f"ip link show {LEFT}-live")
    assert active_offloads(shell(f"ethtool -k {PREFIX}vm1-nic")) == []
    assert active_offloads(shell(f"ethtool -k {UPLINK}")), "only the ports of VMs were asked for"


def active_offloads(features: str) -> list[str]:
    """From the output of `ethtool -k`: checksum and segmentation offloads that are on and could be off."""
    lines = [line.strip() for line in features.splitlines() if "rx-checksumming" not in line]
    return [line for line in lines if re.search(r"(checksum|segmentation|gso|receive-offload).*: on$", line)]


@pytest.mark.parametrize("bridge", [LEFT, f"{PREFIX}middle"])
def test_applying_twice_changes_nothing(network: Network, bridge: str, ovsdb: Ovsdb, openvswitch: OpenVSwitch) -> None:
    with IPRoute() as ip:
        ip.link("add", ifname=f"{PREFIX}middle-2", kind="veth", peer=f"{PREFIX}far")
        try:
            plan = plan_bridge(network, bridge, openvswitch.datapath_type)
            assert apply(plan, ovsdb)
            before = ovsdb.db_get("Open_vSwitch", ".", "next_cfg").execute(check_error=True)
            assert apply(plan, ovsdb) == []
            assert ovsdb.db_get("Open_vSwitch", ".", "next_cfg").execute(check_error=True) == before
        finally:
            ip.link("del", index=links.index_of(ip, f"{PREFIX}middle-2"))


@pytest.mark.parametrize(
    ("damage", "reported"),
    [
        (f"tc filter del dev {UPLINK} parent 1: pref 1", [f"queue filter of {UPLINK}: TC 3: added"]),
        (f"ovs-vsctl del-port {PREFIX}vm1-nic", [f"port {PREFIX}vm1-nic: created"]),
        (f"ovs-vsctl set-fail-mode {LEFT} standalone", [f"bridge {LEFT}: fail_mode corrected"]),
        (f"ovs-vsctl remove qos $(ovs-vsctl get port {UPLINK} qos) queues 5", [f"queue 5 of {UPLINK}: created"]),
        (f"ovs-vsctl clear port {UPLINK} qos", [f"port {UPLINK}: qos corrected", "TC 5: added"]),
        (f"ip link del {LEFT}-edf", [f"veth pair {LEFT}-edf {LEFT}-shim: created"]),
        (f"ip link del {LEFT}-live", [f"tap {LEFT}-live: created"]),
        (f"ip link set {UPLINK} mtu 1500", [f"{UPLINK}: MTU raised to 1508"]),
        (f"ethtool -K {PREFIX}vm1-nic tx on", [f"{PREFIX}vm1-nic: offloads turned off"]),
    ],
)
def test_damage_is_repaired_and_reported(
    damage: str, reported: list[str], plan: BridgePlan, ovsdb: Ovsdb, shell: Shell
) -> None:
    apply(plan, ovsdb)
    shell(damage)
    changes = apply(plan, ovsdb)
    for text in reported:
        assert any(text in change for change in changes), changes
    assert apply(plan, ovsdb) == []
    with IPRoute() as ip:
        assert missing_filters(ip, plan) == set()


def test_lost_filters_are_found_and_added_alone(plan: BridgePlan, ovsdb: Ovsdb, shell: Shell) -> None:
    apply(plan, ovsdb)
    shell(f"tc filter del dev {UPLINK} parent 1:")
    with IPRoute() as ip:
        assert missing_filters(ip, plan) == planned_filters(plan)
        assert len(add_missing_filters(ip, plan)) == 6
        assert missing_filters(ip, plan) == set()


def test_a_new_plan_takes_away_what_the_old_one_had(
    plan: BridgePlan, ovsdb: Ovsdb, shell: Shell, openvswitch: OpenVSwitch
) -> None:
    apply(plan, ovsdb)
    baseline = plan_bridge(two_hypervisors(Scheduler.FIFO, prefix=PREFIX), LEFT, openvswitch.datapath_type)
    apply(baseline, ovsdb)
    assert shell(f"ovs-vsctl list-ports {LEFT}").split() == [UPLINK, f"{PREFIX}vm1-nic"]
    assert len(shell("ovs-vsctl --bare --columns=_uuid list Queue").split()) == 1
    assert re.findall(r"htb (\S+)", shell(f"tc class show dev {UPLINK}")) == ["1:fffe", "1:1"]
    assert "flowid" not in shell(f"tc filter show dev {UPLINK} parent 1:")
    assert apply(baseline, ovsdb) == []


def test_labelled_frames_are_counted_in_the_queue_of_their_traffic_class(
    plan: BridgePlan, ovsdb: Ovsdb, shell: Shell
) -> None:
    apply(plan, ovsdb)
    for traffic_class, count in ((0, 1), (3, 10), (5, 20), (7, 2)):
        send_labelled(UPLINK, traffic_class, count)
    queues = shell(f"ovs-ofctl -O OpenFlow13 queue-stats {LEFT}")
    assert re.findall(r"queue (\d): bytes=\d+, pkts=(\d+)", queues) == [("0", "3"), ("3", "10"), ("5", "20")]


def send_labelled(interface: str, traffic_class: int, count: int) -> None:
    """Frames with two labels whose other bits are all set, so that only the TC can tell them apart."""
    deadline_label = (0xFFFFF << 12 | traffic_class << 9 | 254).to_bytes(4, "big")
    channel_label = (0xFFFFF << 12 | 7 << 9 | 1 << 8 | 64).to_bytes(4, "big")
    frame = b"\2\0\0\0\0\2" + b"\2\0\0\0\0\1" + b"\x88\x47" + deadline_label + channel_label + bytes(50)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        for _ in range(count):
            raw.send(frame)


def test_remove_all_leaves_what_others_made(plan: BridgePlan, ovsdb: Ovsdb, shell: Shell) -> None:
    foreign = f"{PREFIX}foreign"
    shell(f"ovs-vsctl add-br {foreign} -- set bridge {foreign} datapath_type=netdev")
    shell(f"ip link add {PREFIX}dummy1 type veth peer name {PREFIX}dummy2 && ip link set {PREFIX}dummy1 alias mine")
    shell(
        f"ovs-vsctl add-port {foreign} {PREFIX}dummy1 -- set port {PREFIX}dummy1 qos=@q"
        " -- --id=@q create qos type=linux-htb queues:1=@r -- --id=@r create queue other_config:max-rate=1000000"
    )
    try:
        before = state(shell)
        apply(plan, ovsdb)
        assert remove_all(ovsdb)
        assert state(shell) == before
        assert remove_all(ovsdb) == []
    finally:
        shell(f"ovs-vsctl del-br {foreign} -- --all destroy qos -- --all destroy queue; ip link del {PREFIX}dummy1")


def state(shell: Shell) -> str:
    """All rows, interfaces and qdiscs, without what counts or changes by itself."""
    rows = "ovs-vsctl show; ovs-vsctl list qos; ovs-vsctl list queue"
    return shell(f"{rows}; ip -br link | grep -v ovs-netdev | cut -d' ' -f1 | sort; tc qdisc show dev {UPLINK}")


def test_a_bridge_of_the_same_name_is_not_taken_over(plan: BridgePlan, ovsdb: Ovsdb, shell: Shell) -> None:
    shell(f"ovs-vsctl add-br {LEFT}")
    try:
        with pytest.raises(CannotRun, match=f"ovs-vsctl del-br {LEFT}"):
            apply(plan, ovsdb)
        assert shell(f"ovs-vsctl get bridge {LEFT} fail_mode external_ids").split() == ["[]", "{}"]
    finally:
        shell(f"ovs-vsctl del-br {LEFT}")


def test_an_interface_that_does_not_exist_is_named(plan: BridgePlan, ovsdb: Ovsdb, shell: Shell) -> None:
    shell(f"ip link set {PREFIX}vm1-nic name {PREFIX}other")
    try:
        with pytest.raises(CannotRun, match=f"the interface {PREFIX}vm1-nic of {LEFT} does not exist"):
            apply(plan, ovsdb)
    finally:
        shell(f"ip link set {PREFIX}other name {PREFIX}vm1-nic")


def test_offloads_of_an_interface_in_the_namespace_of_a_vm(network: Network, shell: Shell) -> None:
    own = Path("/proc/thread-self/ns/net").readlink()
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; sleep 60"], stdout=subprocess.PIPE) as vm:
        try:
            assert vm.stdout and vm.stdout.readline() == b"ready\n"
            shell(f"ip link set {PREFIX}vm1-peer netns {vm.pid}")
            assert links.disable_offloads(f"{PREFIX}vm1-peer", vm.pid)
            assert active_offloads(shell(f"nsenter -t {vm.pid} -n ethtool -k {PREFIX}vm1-peer")) == []
            assert not links.disable_offloads(f"{PREFIX}vm1-peer", vm.pid)
        finally:
            vm.kill()
    assert Path("/proc/thread-self/ns/net").readlink() == own
