"""`rtvnic bridge` and `rtvnic controller --check` on an Open vSwitch that was there before. Needs root.

And `rtvnic up` and `rtvnic down`, which would take that bridge away.
"""

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

from bench.bridge import BRIDGE as BENCH_BRIDGE
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
        of_file = {"down": [], "doctor": [], "up": [str(file)]}.get(verb, [str(file), "--domain", "ob-left"])
        words = [sys.executable, "-m", "rtvnic", verb, *of_file, *options]
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


@pytest.mark.usefixtures("interfaces")
@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_bridge_in_service_is_not_swept_away(rtvnic: Rtvnic, openvswitch: OpenVSwitch, file: Path, verb: str) -> None:
    rtvnic("bridge")
    run_dir = file.parent / "run"
    run_dir.mkdir(exist_ok=True)
    daemons = {"ob-left.rest.sock", "store.sock", "store.db", "ob-left.counts.json"}
    for name in daemons:
        (run_dir / name).touch()
    code, _, complaint = rtvnic(verb)
    assert code == 2
    assert complaint.splitlines()[-1] == (
        "the bridge ob-left of `rtvnic bridge` is in service on this machine; "
        "have it go first: rtvnic bridge FILE --domain ob-left --remove"
    )
    assert {path.name for path in run_dir.iterdir()} == daemons
    assert rtvnic("bridge") == (0, "", ""), "nothing is missing of it"
    assert rtvnic("bridge", "--remove")[0] == 0
    assert rtvnic("down")[0] == 0
    assert not run_dir.exists()


@pytest.mark.usefixtures("interfaces")
def test_calibration_leaves_a_bridge_in_service_alone_and_takes_its_own_with_it(
    rtvnic: Rtvnic, openvswitch: OpenVSwitch
) -> None:
    """Also what it left when it was killed."""
    rtvnic("bridge")
    leftover = [f"external_ids:rtvnic={BENCH_BRIDGE}", "datapath_type=netdev"]
    openvswitch.run("ovs-vsctl", "add-br", BENCH_BRIDGE, "--", "set", "bridge", BENCH_BRIDGE, *leftover)
    code, _, complaint = rtvnic("doctor", "--calibrate", "--seconds", "1")
    assert code == 0, complaint
    assert bridges(openvswitch) == ["ob-left"]
    assert rtvnic("bridge") == (0, "", "")


@pytest.mark.usefixtures("interfaces")
def test_it_shows_the_certificate_of_its_own_name(rtvnic: Rtvnic, openvswitch: OpenVSwitch, file: Path) -> None:
    plain = file.read_text()
    file.write_text(plain + "tls: pki\n")
    pki = file.parent / "pki"
    missing = f"{pki}/switch-ob-left-key.pem does not exist; make it: rtvnic pki FILE --into {pki}\n"
    assert rtvnic("bridge") == (2, "", missing)
    assert bridges(openvswitch) == []
    subprocess.run([sys.executable, "-m", "rtvnic", "pki", str(file)], capture_output=True, check=True)
    assert rtvnic("bridge")[0] == 0
    assert f"{pki}/switch-ob-left-key.pem" in openvswitch.run("ovs-vsctl", "get-ssl")
    file.write_text(plain)
    assert "TLS settings: removed" in rtvnic("bridge")[1], "no bridge needs them any more"
    assert "key.pem" not in openvswitch.run("ovs-vsctl", "get-ssl")
