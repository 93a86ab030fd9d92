"""`rtvnic bridge` and `rtvnic controller --check` on an Open vSwitch that was there before. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from support.http_server import unused_port

from ovs_config import links
from ovs_config.openvswitch import OpenVSwitch, ensure_running

UPLINK, VM = "ob-wire", "ob-vm"
FILE = """
version: 1
hypervisors:
  ob-left: {{uplink: {{rate: 100Mbps, interface: {uplink}}}, controller: {controller}}}
  ob-right: {{uplink: 100Mbps}}
vms: {{a: {{hypervisor: ob-left, ip: 10.0.0.1, interface: {vm}}}, b: {{hypervisor: ob-right, ip: 10.0.0.2}}}}
channels: {{far: {{from: a, to: b, deadline: 5ms, min_rate: 1Mbps}}}}
"""

Rtvnic = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def openvswitch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVSwitch]:
    """Takes the place of the system's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVS_RUNDIR", str(tmp_path_factory.mktemp("no-system-ovs")))
        running = ensure_running(tmp_path_factory.mktemp("ovs"))
    yield running
    running.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    ports = ", ".join(f"{name}_port: {unused_port()}" for name in ("openflow", "rest", "peering"))
    path.write_text(FILE.format(uplink=UPLINK, vm=VM, controller=f"{{{ports}}}"))
    return path


@pytest.fixture
def interfaces() -> Iterator[None]:
    """Those that a machine has before: its uplink, and a VM's port."""
    with IPRoute() as ip:
        for near in (UPLINK, VM):
            ip.link("add", ifname=near, kind="veth", peer=f"{near}-peer")
            for name in (near, f"{near}-peer"):
                links.mute_ipv6(name)
                ip.link("set", index=links.index_of(ip, name), state="up")
        yield
        for near in (UPLINK, VM):
            ip.link("del", index=links.index_of(ip, near))


@pytest.fixture
def rtvnic(openvswitch: OpenVSwitch, file: Path) -> Iterator[Rtvnic]:
    environment = {**openvswitch.environment, "RTVNIC_RUN_DIR": str(file.parent / "run")}

    def run(verb: str, *options: str) -> tuple[int, str, str]:
        words = [sys.executable, "-m", "rtvnic", verb, str(file), "--domain", "ob-left", *options]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    yield run
    run("bridge", "--remove")


def bridges(openvswitch: OpenVSwitch) -> list[str]:
    return openvswitch.run("ovs-vsctl", "list-br").split()


@pytest.mark.usefixtures("interfaces")
def test_a_bridge_is_made_kept_corrected_and_removed(rtvnic: Rtvnic, openvswitch: OpenVSwitch) -> None:
    openvswitch.run("ovs-vsctl", "add-br", "ob-other")
    code, changes, _ = rtvnic("bridge")
    assert code == 0
    assert {"bridge ob-left: created", "veth pair ob-left-edf ob-left-shim: created"} <= set(changes.splitlines())
    assert set(openvswitch.run("ovs-vsctl", "list-ports", "ob-left").split()) == {
        UPLINK, VM, "ob-left-edf", "ob-left-live"
    }  # fmt: skip
    assert rtvnic("bridge") == (0, "", "")
    openvswitch.run("ovs-vsctl", "del-port", VM)
    assert rtvnic("bridge") == (0, f"port {VM}: created\n", "")
    code, changes, _ = rtvnic("bridge", "--remove")
    assert code == 0 and "bridge ob-left: removed" in changes.splitlines()
    assert bridges(openvswitch) == ["ob-other"]
    openvswitch.run("ovs-vsctl", "del-br", "ob-other")
    left = os.listdir("/sys/class/net")
    assert {UPLINK, VM} <= set(left), "others made them"
    assert not {"ob-left-edf", "ob-left-shim", "ob-left-live"} & set(left)
    assert rtvnic("bridge", "--remove") == (0, "", "")


def test_an_interface_that_is_not_there_is_named(rtvnic: Rtvnic) -> None:
    code, _, complaint = rtvnic("bridge")
    assert code == 2
    assert complaint == f"the interface {UPLINK} of ob-left does not exist; create it first\n"


@pytest.mark.usefixtures("interfaces")
def test_the_checklist_of_a_start_follows_the_bridge(rtvnic: Rtvnic, openvswitch: OpenVSwitch) -> None:
    def states() -> dict[str, str]:
        return {line["what"]: line["state"] for line in json.loads(rtvnic("controller", "--check", "--json")[1])}

    before = states()
    assert before["Open vSwitch"] == before["interfaces"] == "fine" and before["bridge"] == "lacking"
    rtvnic("bridge")
    assert states() == before | {"bridge": "fine"}
    assert rtvnic("controller", "--check")[0] == 0, "a shim that does not run is no obstacle"
    openvswitch.run("ovs-vsctl", "set-controller", "ob-left", "tcp:127.0.0.1:1")
    assert states() == before
    rtvnic("bridge")
    assert states() == before | {"bridge": "fine"}
