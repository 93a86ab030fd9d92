"""A topology file with `tls`: Open vSwitch proves its datapath ids to the controllers. Needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from support.examples import TOPOLOGIES
from support.networks import two_hypervisors
from support.up_program import UpProgram, ended

from controller.errors import CannotRun
from controller.model import Network
from ovs_config import links
from ovs_config.apply import apply, remove, remove_all
from ovs_config.openvswitch import OpenVSwitch, ensure_running
from ovs_config.ovsdb import connect
from ovs_config.plan import BridgePlan, plan_bridge
from ovs_config.waiting import wait_until
from rtvnic.__main__ import main

PATIENCE_S = 20.0
CHANNEL = "http://127.0.0.1:8181/v1/channels/video"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "net.yaml"
    made.write_text((TOPOLOGIES / "one_channel.yaml").read_text() + "tls: pki\n")
    return made


def channel_state() -> str:
    with build_opener(ProxyHandler({})).open(CHANNEL, timeout=PATIENCE_S) as answer:
        return str(json.load(answer)["state"])


def controller_of(bridge: str, run_dir: Path) -> str:
    environment = {**os.environ, "OVS_RUNDIR": str(run_dir / "ovs")}
    words = ["ovs-vsctl", "get-controller", bridge]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_network_with_certificates_works_from_end_to_end(file: Path, tmp_path: Path) -> None:
    assert main(["pki", str(file)]) == 0
    up = UpProgram(tmp_path / "run", file, tmp_path / "no-system-ovs")
    try:
        process = up.start()
        assert controller_of("left", tmp_path / "run") == "ssl:127.0.0.1:6653"
        assert channel_state() == "installed"
        assert ended(process, signal.SIGTERM)[0] == 0
        assert up.left() == []
    finally:
        up.close()


def test_without_the_certificates_the_cure_is_named(file: Path, tmp_path: Path) -> None:
    up = UpProgram(tmp_path / "run", file, tmp_path / "no-system-ovs")
    try:
        code, errors = ended(up.spawn())
        assert code == 2
        assert "rtvnic pki" in errors.splitlines()[-1]
        assert "Traceback" not in errors
    finally:
        up.close()


@pytest.fixture
def openvswitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenVSwitch]:
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path / "no-system-ovs"))
    monkeypatch.setattr(links, "ALIAS", "rtvnic test of TLS")
    running = ensure_running(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def network(tmp_path: Path) -> Network:
    whole = two_hypervisors(prefix="ot-")
    return replace(whole, tls_directory=tmp_path)


def ssl_row(openvswitch: OpenVSwitch) -> str:
    words = ["ovs-vsctl", "get-ssl"]
    return subprocess.run(words, env=openvswitch.environment, capture_output=True, text=True, check=True).stdout


def bridge_alone(
    network: Network, openvswitch: OpenVSwitch, bridge: str = "ot-left", is_lasting: bool = False
) -> BridgePlan:
    plan = plan_bridge(network, bridge, openvswitch.datapath_type, is_lasting)
    return replace(plan, ports=(), veth_pairs=(), taps=(), labelled=(), offloads_off=())


def test_the_tls_settings_are_made_and_go_again(network: Network, openvswitch: OpenVSwitch) -> None:
    with connect(openvswitch.db_socket) as ovsdb:
        plan = bridge_alone(network, openvswitch)
        assert "TLS settings: created" in apply(plan, ovsdb)
        assert apply(plan, ovsdb) == []
        assert f"{network.tls_directory}/openvswitch-key.pem" in ssl_row(openvswitch)
        remove_all(ovsdb)
        assert wait_until(lambda: "key.pem" not in ssl_row(openvswitch), PATIENCE_S)


def test_the_tls_settings_go_with_the_last_bridge_that_needs_them(network: Network, openvswitch: OpenVSwitch) -> None:
    left, right = (bridge_alone(network, openvswitch, bridge) for bridge in ("ot-left", "ot-right"))
    with connect(openvswitch.db_socket) as ovsdb:
        apply(left, ovsdb)
        apply(right, ovsdb)
        assert "TLS settings: removed" not in remove(left, ovsdb)
        assert "TLS settings: removed" not in remove(left, ovsdb), "it is gone already"
        assert "openvswitch-key.pem" in ssl_row(openvswitch)
        plain = replace(right, tls=None, controller_target="tcp:127.0.0.1:6653")
        assert "TLS settings: removed" in apply(plain, ovsdb)
        apply(right, ovsdb)
        assert "TLS settings: removed" in remove(right, ovsdb)


def test_one_open_vswitch_shows_the_certificate_of_one_lasting_bridge(
    network: Network, openvswitch: OpenVSwitch
) -> None:
    left, right = (bridge_alone(network, openvswitch, bridge, is_lasting=True) for bridge in ("ot-left", "ot-right"))
    with connect(openvswitch.db_socket) as ovsdb:
        apply(left, ovsdb)
        with pytest.raises(CannotRun, match=r"switch-ot-left-cert\.pem, of the bridge ot-left;.* ot-left --remove"):
            apply(right, ovsdb)
        assert "switch-ot-left-key.pem" in ssl_row(openvswitch)
        moved = replace(network, tls_directory=Path("/elsewhere"))
        apply(bridge_alone(moved, openvswitch, is_lasting=True), ovsdb)
        assert "/elsewhere/switch-ot-left-key.pem" in ssl_row(openvswitch)
        remove_all(ovsdb)


def test_anothers_tls_settings_are_never_changed(network: Network, openvswitch: OpenVSwitch) -> None:
    set_ssl = ["ovs-vsctl", "set-ssl", "/their/key.pem", "/their/cert.pem", "/their/ca.pem"]
    subprocess.run(set_ssl, env=openvswitch.environment, check=True)
    before = ssl_row(openvswitch)
    with connect(openvswitch.db_socket) as ovsdb:
        with pytest.raises(CannotRun, match=r"ovs-vsctl set-ssl .*openvswitch-key\.pem"):
            apply(bridge_alone(network, openvswitch), ovsdb)
        remove_all(ovsdb)
    assert ssl_row(openvswitch) == before


def test_anothers_tls_settings_will_do_where_they_are_the_same(network: Network, openvswitch: OpenVSwitch) -> None:
    files = network.openvswitch_tls()
    assert files is not None
    set_ssl = ["ovs-vsctl", "set-ssl", str(files.key), str(files.certificate), str(files.authority)]
    subprocess.run(set_ssl, env=openvswitch.environment, check=True)
    with connect(openvswitch.db_socket) as ovsdb:
        assert not [change for change in apply(bridge_alone(network, openvswitch), ovsdb) if "TLS" in change]
        remove_all(ovsdb)
    assert str(files.key) in ssl_row(openvswitch)
